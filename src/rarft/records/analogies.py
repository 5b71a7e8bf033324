"""Analogies: which traces retrieval found for which problem.

Columns `problem_id, rank: int from 1, trace_id, score: float`, higher scores being better; a file from elsewhere needs
no scores.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from rarft.core.errors import InputError
from rarft.records.rows import TableWriter, integer_of, local_table, number_of, parse_rows, text_of

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


def read_analogies(path: str, traces: Container[str] | None = None) -> dict[str, list[str]]:
    """Problem id -> ids of its traces, best first.

    Args:
        path: Parquet, JSONL or CSV file, or a `rarft retrieve` folder.
        traces: the ids that a row may name; any where not given.

    Raises:
        InputError: names file, row, what is wrong and what to do.
    """

    def parse(values: dict[str, Any]) -> Analogy:
        found = Analogy(
            text_of(values, "problem_id"),
            integer_of(values, "rank", 1),
            text_of(values, "trace_id"),
            number_of(values, "score") if "score" in values else 0.0,
        )
        if traces is not None and found.trace_id not in traces:
            raise ValueError(f"trace {found.trace_id[:60]!r} is not among the traces given; give the corpus it is from")
        return found

    file = local_table(path, ANALOGIES)
    ranked: dict[str, dict[int, str]] = {}
    for row, analogy in parse_rows(file, parse):
        own = ranked.setdefault(analogy.problem_id, {})
        if analogy.rank in own:
            raise InputError(
                f"{file}, row {row}: problem {analogy.problem_id[:60]!r} has a second trace of rank {analogy.rank}; "
                "give each its own"
            )
        own[analogy.rank] = analogy.trace_id
    return {problem: [own[rank] for rank in sorted(own)] for problem, own in ranked.items()}
