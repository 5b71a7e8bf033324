"""Problems and traces: what they are, and their one reader.

Every row is checked on the way in; a bad one is an error that names file, row and remedy, or goes to a rejects file
where the caller asks for that. Which gold a problem needs is its reward's to say: `answer` for math, another column
elsewhere (`rarft.rewards.problems.check_problems`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from rarft.core.config import nearest
from rarft.core.errors import InputError
from rarft.records.rows import (
    BadRow,
    RejectsFile,
    find_table,
    maybe_text,
    missing,
    nearest_column,
    plain_row,
    scan_rows,
)


@dataclass(frozen=True)
class Problem:
    """A problem with its gold answer, where its reward wants one. `extra` keeps every other column of its row."""

    id: str
    question: str
    answer: str | None = None
    kind: str | None = None
    source: str | None = None
    extra: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def gold(self) -> str:
        """The gold answer as a reward takes it: empty where the reward reads another column."""
        return self.answer or ""

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


Record = TypeVar("Record", Problem, Trace)
REQUIRED: dict[type, tuple[str, ...]] = {Problem: ("id", "question"), Trace: ("id", "problem", "solution")}
CONTRACT: dict[type, tuple[str, ...]] = {
    record: tuple(f.name for f in fields(record) if f.name != "extra") for record in (Problem, Trace)
}
READ_BY_STAGES: dict[type, tuple[str, ...]] = {Problem: ("solution", "tests", "entry_point"), Trace: ()}
"""Columns beside the contract's that a stage or reward reads, so that they can be mapped too."""


def load_problems(
    path: str, columns: Mapping[str, str] | None = None, skip_bad_rows: Path | None = None
) -> list[Problem]:
    r"""Read problems: columns `id, question, answer?, kind?, source?`; a traces file serves as well.

    Args:
        path: JSONL, Parquet or CSV file, a folder that holds `problems.jsonl`, a hub id (`name[:config[:split]]`), or
            the name of a benchmark (`BENCHMARKS`).
        columns: our column name -> the file's. The file's own column of our name is then left out.
        skip_bad_rows: write unusable rows with the reason to this JSONL file instead of failing.

    Raises:
        InputError: names file, row, what is wrong and what to do.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     print('id,task,answer', '1,What is 2 + 2?,4', sep="\n", file=file, flush=True)
    ...     load_problems(file.name, {"question": "task"})
    [Problem(id='1', question='What is 2 + 2?', answer='4', kind=None, source=None, extra={})]
    """
    return list(iter_records(Problem, path, columns, skip_bad_rows))


def load_traces(path: str, columns: Mapping[str, str] | None = None, skip_bad_rows: Path | None = None) -> list[Trace]:
    r"""Read traces: columns `id, problem, solution, answer?, kind?, source?`. As `load_problems`.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
    ...     print('{"id": "t", "problem": "What is 2 + 2?", "solution": "2 + 2 = 4"}', file=file, flush=True)
    ...     load_traces(file.name)[0].solution
    '2 + 2 = 4'
    """
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
    for name, column in (columns or {}).items():
        if name not in CONTRACT[record] + READ_BY_STAGES[record]:
            raise InputError(
                f"{path}: column `{name}`, which is mapped to `{column}`, is none that {_plural(record)} have; "
                f"{nearest(name, CONTRACT[record] + READ_BY_STAGES[record])}"
            )
    source, known = find_records(path, f"{_plural(record)}.jsonl")
    mapping = known or columns or {}
    rejects = RejectsFile(skip_bad_rows) if skip_bad_rows is not None else None
    seen: dict[str, int] = {}
    there: dict[str, None] = {}
    try:
        for row, values in scan_rows(source):
            try:
                if isinstance(values, BadRow):
                    raise ValueError(values.reason)
                if mapping:
                    there.update(dict.fromkeys(values))
                found = parse_record(record, values, mapping, may_be_empty)
                if known:
                    found = replace(found, id=f"{path}-{found.id}")
                if check is not None:
                    check(found)
                if found.id in seen:
                    raise ValueError(f"id {found.id[:60]!r} was used in row {seen[found.id]} already; make ids unique")
            except ValueError as error:
                if rejects is None:
                    hint = "`rarft prepare` can map columns, and set bad rows aside with --skip-bad-rows"
                    raise InputError(f"{source}, row {row}: {error} ({hint})") from None
                rejects.write(row, values.start if isinstance(values, BadRow) else values, str(error))
                continue
            seen[found.id] = row
            yield found
    finally:
        if rejects is not None:
            rejects.close()
    for name, column in mapping.items():
        if there and column not in there:
            raise InputError(
                f"{source}: no row has column `{column}`, mapped to `{name}`; {nearest_column(column, there)}"
            )
    if not seen:
        what = "usable rows" if rejects is not None and rejects.count else "rows"
        raise InputError(f"{source}: no {what}; at least one {record.__name__.lower()} is needed")


def parse_record(
    record: type[Record],
    values: Mapping[str, Any],
    columns: Mapping[str, str],
    may_be_empty: Collection[str] = (),
) -> Record:
    """One row as a Problem or Trace.

    Raises:
        ValueError: a required column is missing or empty, or one holds no text; the message says what to do.
    """
    mapping: dict[str, str] = dict(columns)
    if record is Problem and "question" not in mapping and "question" not in values and "problem" in values:
        mapping["question"] = "problem"  # a traces file serves as problems that have solutions
    found: dict[str, Any] = {}
    for name in CONTRACT[record]:
        column = mapping.get(name, name)
        found[name] = maybe_text(values, column)
        if found[name] is None and name in REQUIRED[record]:
            if name not in may_be_empty:
                raise ValueError(missing(values, column))
            found[name] = ""
    taken = {*CONTRACT[record], *mapping, *mapping.values()}
    rest = {name: value for name, value in values.items() if name not in taken}
    rest |= {name: values[column] for name, column in mapping.items() if name not in found and column in values}
    return record(**found, extra=plain_row(rest))


def require_answers(problems: Iterable[Problem], where: str, why: str) -> None:
    """Raise InputError naming the first problem without an answer, the file `where`, and `why` it needs one."""
    for problem in problems:
        if problem.answer is None:
            raise InputError(f"{where}: problem {problem.id}: no answer, which {why} needs; give it one or drop it")


def find_records(path: str, name: str) -> tuple[str, Mapping[str, str]]:
    """The table that `path` stands for, and the columns of a benchmark known by its name (none for anything else).

    Args:
        name: what the table is called where `path` is a folder.

    Raises:
        InputError: a folder without it.
    """
    if path in BENCHMARKS and not os.path.exists(path):
        return BENCHMARKS[path]
    return find_table(path, name), {}


def _plural(record: type[Problem] | type[Trace]) -> str:
    return f"{record.__name__.lower()}s"


def _as_row(record: Problem | Trace) -> dict[str, Any]:
    known = CONTRACT[type(record)]
    row = {name: getattr(record, name) for name in known}
    return {k: v for k, v in row.items() if v is not None} | {k: v for k, v in record.extra.items() if k not in known}
