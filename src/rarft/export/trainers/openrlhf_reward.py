"""The reward of this export as OpenRLHF calls it: `--reward.remote_url reward.py`.

OpenRLHF hands over prompt and completion as one text. The prompt is cut off first: the demonstration in it ends in a
boxed answer of its own, which must not be taken for the policy's. Answers are checked in processes of their own, each
under a time limit; no signals, so it runs in a thread or an actor. Reasons go to the log (`reason_timeout`, ...).
"""

import json
from collections.abc import Sequence
from typing import Any

from rarft.rewards import REASONS, verify


def completion_of(query: str, prompt: str) -> str | None:
    """What follows the prompt, spaces not counted, which decoding may move; None if `query` does not start with it."""
    if query.startswith(prompt):
        return query[len(prompt) :]
    left = iter("".join(prompt.split()))
    wanted = next(left, None)
    for place, character in enumerate(query):
        if wanted is None:
            return query[place:]
        if character.isspace():
            continue
        if character != wanted:
            return None
        wanted = next(left, None)
    return "" if wanted is None else None


def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Score completions: `rewards` and `scores` as tensors (n,), and `extra_logs` with the share of each reason.

    A query that does not start with its prompt counts as `error` and earns nothing.
    """
    import torch

    rows = [json.loads(label) for label in labels]
    found = [completion_of(query, prompt) for query, prompt in zip(queries, prompts, strict=True)]
    for i, row in enumerate(rows):
        for token in row["special_tokens"]:
            found[i] = found[i] and found[i].replace(token, "")  # type: ignore[union-attr]
    verdicts = verify(
        [row["gold"] for row in rows],
        [text or "" for text in found],
        name=rows[0]["reward"],
        extras=[row["columns"] for row in rows],
    )
    rewards = torch.tensor([verdict.reward for verdict in verdicts])
    reasons = [verdict.reason if text is not None else "error" for verdict, text in zip(verdicts, found, strict=True)]
    logs = {f"reason_{reason}": torch.tensor([float(r == reason) for r in reasons]) for reason in REASONS}
    return {"rewards": rewards, "scores": rewards, "extra_logs": logs}
