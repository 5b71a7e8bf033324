"""The reward of this export as TRL calls it: `trl grpo --reward_funcs reward.reward`. The same serves Unsloth.

Answers are checked in processes of their own, each under a time limit; no signals, so it runs in a thread or a daemon.
The share of each reason (`reason/timeout`, `reason/error`, ...) goes to TRL's log; asynchronous GRPO, whose rewards
have no log, gets a warning on the console instead.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rarft.rewards import REASONS, verify


def reward(
    completions: Sequence[Any],
    reward_model: Sequence[Mapping[str, str]],
    extra_info: Sequence[Mapping[str, Any]],
    log_metric: Callable[[str, float], None] | None = None,
    **_: Any,
) -> list[float]:
    """Score completions, which are texts or lists of messages, against the columns of their rows."""
    texts = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
    verdicts = verify(
        [row["ground_truth"] for row in reward_model],
        texts,
        name=extra_info[0]["reward"],
        extras=[json.loads(row["columns"]) for row in extra_info],
    )
    if log_metric is not None:
        for reason in REASONS:
            share = sum(verdict.reason == reason for verdict in verdicts) / len(verdicts)
            log_metric(f"reason/{reason}", share)
    elif unscored := [verdict.reason for verdict in verdicts if verdict.reason in ("timeout", "error")]:
        logging.getLogger("rarft").warning(
            "reward: no verdict on %d of %d answers: %s", len(unscored), len(texts), unscored
        )
    return [verdict.reward for verdict in verdicts]
