"""analogies.parquet: for each problem the traces that retrieval found, best first.

Columns `problem_id, rank (from 1), trace_id, score`. A problem for which nothing was found has no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from rarft.core.artifacts import find_file
from rarft.core.errors import InputError
from rarft.records.problems import Trace
from rarft.records.rows import read_rows

ANALOGIES = "analogies.parquet"


class Analogy(NamedTuple):
    """One row."""

    problem_id: str
    rank: int
    trace_id: str
    score: float


def read_ranked(path: str) -> dict[str, list[str]]:
    """Problem id -> ids of its traces, best first.

    Args:
        path: the file, or the `rarft retrieve` folder that holds it.

    Raises:
        InputError: no such file, or a value is missing.
    """
    file = str(find_file(path, ANALOGIES))
    ranked: dict[str, list[tuple[int, str]]] = {}
    for place, row in read_rows(file):
        missing = [column for column in ("problem_id", "rank", "trace_id") if row.get(column) is None]
        if missing:
            raise InputError(f"{file}, row {place}: {missing[0]} is missing; make the file with `rarft retrieve`")
        ranked.setdefault(str(row["problem_id"]), []).append((int(row["rank"]), str(row["trace_id"])))
    return {problem: [trace for _, trace in sorted(rows)] for problem, rows in ranked.items()}


def read_analogies(path: str, traces: Mapping[str, Trace], traces_path: str) -> dict[str, list[Trace]]:
    """Problem id -> its traces, best first.

    Args:
        traces: the corpus by id, read from `traces_path`.

    Raises:
        InputError: as `read_ranked`, or a trace is not in the corpus.
    """
    ranked = read_ranked(path)
    for problem, ids in ranked.items():
        strange = next((i for i in ids if i not in traces), None)
        if strange is not None:
            raise InputError(f"{path}: trace {strange}, named for problem {problem}, is not in {traces_path}")
    return {problem: [traces[i] for i in ids] for problem, ids in ranked.items()}


def write_analogies(path: Path, rows: Iterable[Analogy]) -> None:
    """Write rows in the order given."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [("problem_id", pa.string()), ("rank", pa.int32()), ("trace_id", pa.string()), ("score", pa.float64())]
    )
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    pq.write_table(pa.table([list(column) for column in columns], schema=schema), path)
