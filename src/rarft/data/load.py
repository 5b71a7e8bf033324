"""Problems and traces: what they are, and reading them from JSONL, Parquet, CSV or the Hugging Face hub.

Every row is checked on the way in; a bad one is an error that names file, row and remedy, or goes to a rejects file
where the caller asks for that. Whether a gold answer can be verified is checked by `rarft prepare`, not here.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from rarft.errors import InputError


@dataclass(frozen=True)
class Problem:
    """A problem with its gold answer. `extra` keeps every other column of its row."""

    id: str
    question: str
    answer: str
    kind: str | None = None
    source: str | None = None
    extra: dict[str, Any] = field(default_factory=dict, compare=False)


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


BENCHMARKS: dict[str, tuple[str, dict[str, str]]] = {
    "aime24": ("HuggingFaceH4/aime_2024", {"question": "problem"}),
    "aime25": ("MathArena/aime_2025", {"id": "problem_idx", "question": "problem"}),
    "hmmt25": ("MathArena/hmmt_feb_2025", {"id": "problem_idx", "question": "problem"}),
    "brumo25": ("MathArena/brumo_2025", {"id": "problem_idx", "question": "problem"}),
}
"""The paper's benchmarks: name -> hub id and columns. Their ids get the name in front, so they can be mixed."""


def with_answer(solution: str, answer: str | None) -> str:
    """A solution that ends in its answer: where it has no `\\boxed{}` and the answer is known, one is added.

    Many worked solutions (GSM8K's, say) only mention their result; a policy that learns from them, by imitation or as
    demonstrations, would not learn to give an answer that can be verified.
    """
    solution = solution.strip()
    if answer is None or "\\boxed" in solution:
        return solution
    return f"{solution}\nThe answer is \\boxed{{{answer}}}."


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
        columns = BENCHMARKS[path][1]
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


def read_rows(path: str, on_bad: Any = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield `(row number from 1, values)` from a file or a hub dataset, streaming.

    Args:
        path: by its ending: .jsonl/.json (one object a line), .parquet, .csv; otherwise a hub id.
        on_bad: called with `(row, raw text, reason)` for a row that cannot be read; without it that is an error.

    Raises:
        InputError: missing file, unknown ending, broken JSON on row N.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix in (".jsonl", ".json", ".parquet", ".csv") and not file.is_file():
        raise InputError(f"{path}: no such file; check the path")
    if suffix in (".jsonl", ".json"):
        yield from _read_jsonl(file, on_bad)
    elif suffix == ".parquet":
        yield from _read_parquet(file)
    elif suffix == ".csv":
        yield from _read_csv(file)
    elif file.is_file():
        raise InputError(f"{path}: unknown kind of file; use .jsonl, .parquet or .csv")
    elif file.is_dir():
        raise InputError(f"{path}: a folder; name a file in it")
    else:
        yield from _read_hub(path)


def write_jsonl(path: Path, rows: Iterable[Any]) -> int:
    """Write dataclasses or mappings as JSON lines, whole or not at all; return how many."""
    count = 0
    aside = path.with_name(path.name + ".tmp")
    with aside.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(to_row(row), ensure_ascii=False) + "\n")
            count += 1
    os.replace(aside, path)
    return count


def to_row(record: Any) -> dict[str, Any]:
    """A record as a flat row: its columns that have a value, then its `extra` columns."""
    if not isinstance(record, (Problem, Trace)):
        return dict(record)
    row = {f.name: getattr(record, f.name) for f in fields(record) if f.name != "extra"}
    return {k: v for k, v in row.items() if v is not None} | record.extra


class RejectsFile:
    """Rows that could not be used, each with its reason; made only when there is one."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.count = path, 0
        self._file: Any = None

    def write(self, row: int, values: Any, reason: str) -> None:
        """Add a row."""
        if self.path is None:
            return
        if self._file is None:
            self._file = self.path.open("a", encoding="utf-8")
        self.count += 1
        self._file.write(json.dumps({"row": row, "reason": reason, "values": values}, default=str) + "\n")

    def close(self) -> None:
        """Close the file, if it was opened."""
        if self._file is not None:
            self._file.close()


def _inside(path: str, name: str) -> str:
    folder = Path(path)
    if not folder.is_dir():
        return path
    for candidate in (name, name.replace(".jsonl", ".parquet")):
        if (folder / candidate).is_file():
            return str(folder / candidate)
    raise InputError(f"{path}: no {name} in this folder; name the file")


def _read_jsonl(file: Path, on_bad: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open("rb") as lines:
        for row, raw in enumerate(lines, start=1):
            if not raw.strip():
                continue
            try:
                values = json.loads(raw)
                if not isinstance(values, dict):
                    raise ValueError(f"a JSON {type(values).__name__} where an object is needed")
            except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
                reason = (
                    f"broken JSON ({error.msg} at column {error.colno})"
                    if isinstance(error, json.JSONDecodeError)
                    else f"not a row ({error})"
                )
                if on_bad is None:
                    raise InputError(f"{file}, row {row}: {reason}; mend or delete the line") from None
                on_bad(row, raw.decode("utf-8", "replace").rstrip("\n"), reason)
                continue
            yield row, values


def _read_parquet(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{file}: not a Parquet file ({error}); write it again") from None
    row = 0
    for batch in table.iter_batches():
        for values in batch.to_pylist():
            row += 1
            yield row, values


def _read_csv(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(sys.maxsize)
    with file.open(newline="", encoding="utf-8-sig") as lines:
        for row, values in enumerate(csv.DictReader(lines), start=1):
            yield row, {k: v for k, v in values.items() if k is not None}


def _read_hub(name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream `name[:config[:split]]`, split `train` unless given."""
    from datasets import load_dataset

    dataset_id, *rest = (BENCHMARKS[name][0] if name in BENCHMARKS else name).split(":")
    config = rest[0] if rest and rest[0] else None
    split = rest[1] if len(rest) > 1 else "train"
    try:
        rows = load_dataset(dataset_id, config, split=split, streaming=True)
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{name}: no such file, and not readable as a Hugging Face dataset ({first}); check the name"
        ) from None
    for row, values in enumerate(rows, start=1):
        yield row, dict(values)
