"""The reward of this export as verl calls it: `reward.custom_reward_function.path=reward.py`, name `compute_score`.

Answers are checked in processes of their own, each under a time limit; no signals, so it runs in a thread or an actor.
`reason_timeout`, `reason_error` and their sisters stand beside the score: verl logs their means at validation, and
keeps them with each rollout in training, where it logs no more than the score. So the 1st, 2nd, 4th, 8th ... timeout
and error of a reward worker are told as a warning, which Ray carries to the console.
"""

import itertools
import json
import logging
from collections.abc import Mapping
from typing import Any

from rarft.rewards import REASONS, verify

SEEN = {reason: itertools.count(1) for reason in ("timeout", "error")}
"""Reason -> how many of this process's answers ended so."""


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Mapping[str, Any] | None = None, **_: Any
) -> dict[str, float]:
    """Score one completion: `score`, and 1.0 under the reason that applies."""
    info = extra_info or {}
    columns = json.loads(info.get("columns") or "{}")
    [verdict] = verify([ground_truth], [solution_str], name=info.get("reward") or "math", extras=[columns])
    if verdict.reason in SEEN:
        count = next(SEEN[verdict.reason])
        if count & (count - 1) == 0:  # a power of two
            tell = "reward: %s for %d answers in this worker so far, the last one to problem %s"
            logging.getLogger("rarft").warning(tell, verdict.reason, count, info.get("problem_id"))
    return {"score": verdict.reward, **{f"reason_{reason}": float(verdict.reason == reason) for reason in REASONS}}
