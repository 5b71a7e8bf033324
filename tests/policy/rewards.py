"""Rewards that random models earn now and then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rarft.rewards import Reward


class Capitals(Reward):
    """1 for a completion with a capital letter among its first four characters."""

    def extract(self, completion: str) -> str | None:
        return completion

    def shortcut(self, gold: str, answer: str, extra: Mapping[str, Any]) -> float | None:
        return float(any(c.isupper() for c in answer[:4]))

    def plain_gold(self, gold: str) -> bool:
        return True


class EvenLength(Capitals):
    """1 for a completion with an even number of characters: the samples of any model differ in it."""

    def shortcut(self, gold: str, answer: str, extra: Mapping[str, Any]) -> float | None:
        return float(len(answer) % 2 == 0)


class Nothing(Capitals):
    """0 for everything."""

    def shortcut(self, gold: str, answer: str, extra: Mapping[str, Any]) -> float | None:
        return 0.0
