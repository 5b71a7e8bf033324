"""Analogies: which traces retrieval found for which problem.

Columns `problem_id, rank: int from 1, trace_id, score: float`, higher scores being better; a file from elsewhere needs
no scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rarft.core.errors import InputError
from rarft.records.problems import Trace
from rarft.records.rows import TableWriter, integer_of, local_table, number_of, parse_rows, text_of

T = TypeVar("T")
ANALOGIES = "analogies.parquet"


class Analogy(NamedTuple):
    """One row of analogies.parquet."""

    problem_id: str
    rank: int
    """1 is the best."""
    trace_id: str
    score: float
    """Mean MaxSim or cosine in [-1, 1]; of a bm25 index the BM25 score."""


def write_analogies(path: Path, rows: Iterable[Analogy]) -> int:
    """Write analogies.parquet, the whole file or none of it; return how many rows."""
    import pyarrow as pa

    types = (pa.string(), pa.int32(), pa.string(), pa.float64())
    with TableWriter[Analogy](path, dict(zip(Analogy._fields, types, strict=True))) as out:
        for row in rows:
            out.write(row)
    return out.count


def read_ranked(path: str) -> dict[str, list[str]]:
    """Problem id -> ids of its traces, best first.

    Args:
        path: Parquet, JSONL or CSV file, or a `rarft retrieve` folder.

    Raises:
        InputError: names file, row, what is wrong and what to do.
    """
    return _read(path, lambda trace_id: trace_id)


def read_analogies(path: str, traces: Mapping[str, Trace], traces_path: str) -> dict[str, list[Trace]]:
    """Problem id -> its traces, best first.

    Args:
        traces: the corpus by id, read from `traces_path`.

    Raises:
        InputError: as `read_ranked`, or a trace is not in the corpus.
    """

    def look_up(trace_id: str) -> Trace:
        if trace_id not in traces:
            raise ValueError(f"trace {trace_id[:60]!r} is not in {traces_path}; give the corpus that was searched")
        return traces[trace_id]

    return _read(path, look_up)


def _read(path: str, look_up: Callable[[str], T]) -> dict[str, list[T]]:
    def parse(values: dict[str, Any]) -> tuple[str, int, T]:
        if "score" in values:
            number_of(values, "score")
        return text_of(values, "problem_id"), integer_of(values, "rank", 1), look_up(text_of(values, "trace_id"))

    file = local_table(path, ANALOGIES)
    ranked: dict[str, dict[int, T]] = {}
    for row, (problem, rank, trace) in parse_rows(file, parse):
        own = ranked.setdefault(problem, {})
        if rank in own:
            raise InputError(
                f"{file}, row {row}: problem {problem[:60]!r} has a second trace of rank {rank}; give each its own"
            )
        own[rank] = trace
    return {problem: [own[rank] for rank in sorted(own)] for problem, own in ranked.items()}
