"""Rewards that do not end, or fail."""

import time
from collections.abc import Mapping
from typing import Any

from rarft.rewards import Reward


class Sleeps(Reward):
    def score(self, gold: str, answer: str, extra: Mapping[str, Any]) -> float:
        time.sleep(3600)
        return 1.0


class Raises(Reward):
    def score(self, gold: str, answer: str, extra: Mapping[str, Any]) -> float:
        raise ValueError("no gold")
