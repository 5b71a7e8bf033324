"""Problems and traces: what they are, and their one reader.

Every row is checked on the way in; a bad one is an error that names file, row and remedy, or goes to a rejects file
where the caller asks for that. Whether a gold answer can be verified is checked by `rarft prepare`, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from rarft.core.errors import InputError
from rarft.records.rows import RejectsFile, read_rows


@dataclass(frozen=True)
class Problem:
    """A problem with its gold answer. `extra` keeps every other column of its row."""

    id: str
    question: str
    answer: str
    kind: str | None = None
    source: str | None = None
    extra: dict[str, Any] = field(default_factory=dict, compare=False)

    def as_row(self) -> dict[str, Any]:
        """The columns that have a value, then the `extra` ones."""
        return _as_row(self)


@dataclass(frozen=True)
class Trace:
    """A worked example: a problem and its step-by-step solution. `extra` keeps every other column of its row."""

    id: str
    problem: str
    solution: str
    answer: str | None = None
    kind: str | None = None
    source: str | None = None
    extra: dict[str, Any] = field(default_factory=dict, compare=False)

    def as_row(self) -> dict[str, Any]:
        """The columns that have a value, then the `extra` ones."""
        return _as_row(self)


BENCHMARKS: dict[str, tuple[str, dict[str, str]]] = {
    "aime24": ("HuggingFaceH4/aime_2024", {"question": "problem"}),
    "aime25": ("MathArena/aime_2025", {"id": "problem_idx", "question": "problem"}),
    "hmmt25": ("MathArena/hmmt_feb_2025", {"id": "problem_idx", "question": "problem"}),
    "brumo25": ("MathArena/brumo_2025", {"id": "problem_idx", "question": "problem"}),
}
"""The paper's benchmarks: name -> hub id and columns. Their ids get the name in front, so they can be mixed."""


REQUIRED: dict[type, tuple[str, ...]] = {
    Problem: ("id", "question", "answer"),
    Trace: ("id", "problem", "solution"),
}
Record = TypeVar("Record", Problem, Trace)


def load_problems(
    path: str, columns: Mapping[str, str] | None = None, skip_bad_rows: Path | None = None
) -> list[Problem]:
    """Read problems: columns `id, question, answer, kind?, source?`; a traces file with answers serves as well.

    Args:
        path: JSONL, Parquet or CSV file, a folder that holds `problems.jsonl`, a hub id (`name[:config[:split]]`), or
            the name of a benchmark (`BENCHMARKS`).
        columns: our column name -> the file's.
        skip_bad_rows: write unusable rows with the reason to this JSONL file instead of failing.

    Raises:
        InputError: names file, row, what is wrong and what to do.
    """
    return list(iter_records(Problem, path, columns, skip_bad_rows))


def load_traces(path: str, columns: Mapping[str, str] | None = None, skip_bad_rows: Path | None = None) -> list[Trace]:
    """Read traces: columns `id, problem, solution, answer?, kind?, source?`. As `load_problems`."""
    return list(iter_records(Trace, path, columns, skip_bad_rows))


def iter_records(
    record: type[Record],
    path: str,
    columns: Mapping[str, str] | None = None,
    skip_bad_rows: Path | None = None,
    check: Callable[[Record], None] | None = None,
    may_be_empty: Collection[str] = (),
) -> Iterator[Record]:
    """Stream records of one type. Raises InputError as `load_problems`; a file with no rows is an error too.

    Args:
        check: a further check of each record, whose ValueError makes its row a bad one.
        may_be_empty: required columns that a row may lack all the same; their value is then the empty string.
    """
    source = _inside(path, "problems.jsonl" if record is Problem else "traces.jsonl")
    benchmark = is_benchmark(path)
    if benchmark:
        source, columns = BENCHMARKS[path]
    rejects = RejectsFile(skip_bad_rows)
    seen: dict[str, int] = {}
    try:
        for row, values in read_rows(source, on_bad=rejects.write if skip_bad_rows else None):
            try:
                found = parse_record(record, values, columns, may_be_empty)
                if benchmark:
                    found = replace(found, id=f"{path}-{found.id}")
                if check is not None:
                    check(found)
                if found.id in seen:
                    raise ValueError(f"id {found.id!r} was used in row {seen[found.id]} already; make ids unique")
            except ValueError as error:
                if skip_bad_rows is None:
                    raise InputError(f"{source}, row {row}: {error} (or pass --skip-bad-rows)") from None
                rejects.write(row, values, str(error))
                continue
            seen[found.id] = row
            yield found
    finally:
        rejects.close()
    if not seen:
        what = "usable rows" if rejects.count else "rows"
        raise InputError(f"{source}: no {what}; at least one {record.__name__.lower()} is needed")


def is_benchmark(path: str) -> bool:
    """Whether `path` is the name of a benchmark, and not also a file here."""
    return path in BENCHMARKS and not Path(path).exists()


def parse_record(
    record: type[Record],
    values: Mapping[str, Any],
    columns: Mapping[str, str] | None = None,
    may_be_empty: Collection[str] = (),
) -> Record:
    """One row as a Problem or Trace.

    Raises:
        ValueError: a required column is missing or empty; the message says what to do.
    """
    columns = dict(columns or {})
    if record is Problem and "question" not in columns and "question" not in values and "problem" in values:
        columns["question"] = "problem"  # a traces file serves as problems that have solutions
    known = [f.name for f in fields(record) if f.name != "extra"]
    rest = dict(values)
    found: dict[str, Any] = {}
    for name in known:
        column = columns.get(name, name)
        value = rest.pop(column, None)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        text = "" if value is None else str(value)
        required = name in REQUIRED[record]
        if required and name not in may_be_empty and not text.strip():
            state = "is empty" if column in values else "is missing"
            there = ", ".join(map(str, values))
            raise ValueError(f"column `{column}` {state}; give it a value, or map it with columns (there: {there})")
        found[name] = text if text.strip() else ("" if required else None)
    return record(**found, extra=rest)


def _inside(path: str, name: str) -> str:
    folder = Path(path)
    if not folder.is_dir():
        return path
    for candidate in (name, name.replace(".jsonl", ".parquet")):
        if (folder / candidate).is_file():
            return str(folder / candidate)
    raise InputError(f"{path}: no {name} in this folder; name the file")


def _as_row(record: Problem | Trace) -> dict[str, Any]:
    row = {f.name: getattr(record, f.name) for f in fields(record) if f.name != "extra"}
    return {k: v for k, v in row.items() if v is not None} | record.extra
