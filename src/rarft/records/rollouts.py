"""Rollouts: one row per sampled completion, with its verdict.

Columns `problem_id, sample, trace_ids: list[str], completion, answer, reward`, and what else `Rollout` has; a file from
elsewhere needs the six. Those of training have `step` and `visit` too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rarft.records.rows import (
    TableWriter,
    boolean_of,
    integer_of,
    local_table,
    maybe_text,
    missing,
    number_of,
    parse_rows,
    text_of,
    texts_of,
)

ROLLOUTS = "rollouts.parquet"


@dataclass(frozen=True)
class Rollout:
    """One sampled completion and its verdict.

    `context` is 0 for a prompt without traces or with the top-k traces together, else the rank (from 1) of the
    single trace in the prompt. `sample` counts from 0 within a problem and context.
    """

    benchmark: str
    problem_id: str
    context: int
    sample: int
    trace_ids: list[str]
    completion: str
    answer: str | None
    reward: float
    reason: str
    n_tokens: int
    """Length of the completion in tokens."""
    truncated: bool
    n_prompt_tokens: int = 0
    step: int | None = None
    """Of training: the optimiser step that it was sampled for, from 1."""
    visit: int | None = None
    """Of training: the turn of its problem, from 0."""


class Rewarded(NamedTuple):
    """What a rollout says about its traces."""

    benchmark: str
    problem_id: str
    trace_ids: list[str]
    reward: float
    step: int | None


def write_rollouts(path: Path, rollouts: Iterable[Rollout], *, training: bool = False) -> int:
    """Write rollouts.parquet, the whole file or none of it, in the order given; return how many rows.

    Args:
        training: write the columns `step` and `visit`.
    """
    import pyarrow as pa

    text, number = pa.string(), pa.int32()
    columns = {
        "benchmark": text,
        "problem_id": text,
        "context": number,
        "sample": number,
        "trace_ids": pa.list_(text),
        "completion": text,
        "answer": text,
        "reward": pa.float64(),
        "reason": text,
        "n_tokens": number,
        "truncated": pa.bool_(),
        "n_prompt_tokens": number,
    } | ({"step": number, "visit": number} if training else {})
    with TableWriter[tuple[Any, ...]](path, columns) as out:
        for row in rollouts:
            out.write(tuple(getattr(row, name) for name in columns))
    return out.count


def read_rollouts(path: Path | str) -> list[Rollout]:
    """Read rollouts from a Parquet or JSONL file, or the folder of `rarft evaluate` or `rarft train` that holds it.

    Raises:
        InputError: names file, row, what is wrong and what to do.
    """
    return [rollout for _, rollout in parse_rows(local_table(str(path), ROLLOUTS), _parse)]


def read_rewards(path: Path | str) -> Iterator[Rewarded]:
    """`read_rollouts` without the texts, which may be more than memory holds.

    Raises:
        InputError: as `read_rollouts`.
    """
    without = ("completion", "answer", "reason")
    for _, rewarded in parse_rows(local_table(str(path), ROLLOUTS), _parse_reward, without):
        yield rewarded


def _parse_reward(values: dict[str, Any]) -> Rewarded:
    return Rewarded(
        maybe_text(values, "benchmark") or "problems",
        text_of(values, "problem_id"),
        texts_of(values, "trace_ids"),
        number_of(values, "reward"),
        integer_of(values, "step", 0) if values.get("step") is not None else None,
    )


def _parse(values: dict[str, Any]) -> Rollout:
    if "answer" not in values:
        raise ValueError(missing(values, "answer"))
    return Rollout(
        maybe_text(values, "benchmark") or "problems",
        text_of(values, "problem_id"),
        integer_of(values, "context", 0) if "context" in values else 0,
        integer_of(values, "sample", 0),
        texts_of(values, "trace_ids"),
        text_of(values, "completion", may_be_empty=True),
        maybe_text(values, "answer"),
        number_of(values, "reward"),
        maybe_text(values, "reason") or "",
        integer_of(values, "n_tokens", 0) if "n_tokens" in values else 0,
        boolean_of(values, "truncated") if "truncated" in values else False,
        integer_of(values, "n_prompt_tokens", 0) if "n_prompt_tokens" in values else 0,
        *(integer_of(values, name, 0) if values.get(name) is not None else None for name in ("step", "visit")),
    )
