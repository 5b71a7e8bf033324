"""The reward of this export as verl calls it: `reward.custom_reward_function.path=reward.py`, name `compute_score`.

Answers are checked in processes of their own, each under a time limit; no signals, so it runs in a thread or an actor.
`reason_timeout`, `reason_error` and their sisters stand beside the score in verl's extra reward information.
"""

import json
from collections.abc import Mapping
from typing import Any

from rarft.rewards import REASONS, verify


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Mapping[str, Any] | None = None, **_: Any
) -> dict[str, float]:
    """Score one completion: `score`, and 1.0 under the reason that applies."""
    info = extra_info or {}
    columns = json.loads(info.get("columns") or "{}")
    [verdict] = verify([ground_truth], [solution_str], name=info.get("reward") or "math", extras=[columns])
    return {"score": verdict.reward, **{f"reason_{reason}": float(verdict.reason == reason) for reason in REASONS}}
