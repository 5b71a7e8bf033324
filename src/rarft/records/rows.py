"""Tables of rows: JSONL, Parquet, CSV or the Hugging Face hub in, JSONL or Parquet out; and cells, each of one type.

What a row means is not known here. Whatever is wrong with a file is an InputError of one line; what is wrong with one
row is a `BadRow` in its place, so that the caller may set it aside and go on. A row may have 64 MiB, and is the most
that is read at once of JSONL and CSV. Left out: compressed files, and JSON that is not one object a line.

The functions `text_of`, `number_of`, ... take a row and a column, and raise ValueError where the cell is not what the
column holds; `parse_rows` puts file and row before that.
"""

from __future__ import annotations

import csv
import json
import math
import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from textwrap import shorten
from types import TracebackType
from typing import Any, BinaryIO, Generic, NamedTuple, Self, TypeVar

from rarft.core.artifacts import looks_like_path
from rarft.core.config import nearest, shown
from rarft.core.errors import InputError

T = TypeVar("T")
Row = TypeVar("Row", bound=tuple[Any, ...])
SUFFIXES = (".jsonl", ".json", ".parquet", ".csv")
MOST_BYTES = 64 * 2**20
"""Longest line of a JSONL file, and longest row of a CSV file."""
DEEPEST = 64
"""Lists and objects within each other that a cell may have."""
PARQUET_BATCH = 1024
ROW_GROUP = 8192


class BadRow(NamedTuple):
    """Stands for a row that cannot be read."""

    reason: str
    """What is wrong, and what to do."""
    start: str
    """The beginning of its text."""


# Reading


def read_rows(path: str, without: Collection[str] = ()) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield `(row number from 1, values)` from a file or a hub dataset, streaming.

    Args:
        path: by its ending: .jsonl/.json (one object a line), .parquet, .csv; otherwise a hub id,
            `name[:config[:split]]`.
        without: columns of a Parquet file that are left unread.

    Raises:
        InputError: a file that cannot be read, or a bad row.
    """
    for row, values in scan_rows(path, without):
        if isinstance(values, BadRow):
            raise InputError(f"{path}, row {row}: {values.reason}")
        yield row, values


def parse_rows(
    path: str, parse: Callable[[dict[str, Any]], T], without: Collection[str] = ()
) -> Iterator[tuple[int, T]]:
    """`read_rows`, each row made into what it means; a ValueError of `parse` is an InputError with file and row."""
    for row, values in read_rows(path, without):
        try:
            found = parse(values)
        except ValueError as error:
            raise InputError(f"{path}, row {row}: {error}") from None
        yield row, found


def scan_rows(path: str, without: Collection[str] = ()) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """`read_rows` with a BadRow in the place of a row that cannot be read."""
    try:
        yield from _open(path, without)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check path and permissions") from None


def find_table(path: str, name: str) -> str:
    """`path` itself, or of a folder the table in it that is called `name`, or so but for the ending.

    Raises:
        InputError: the folder has none.
    """
    folder = Path(path)
    try:
        if not folder.is_dir():
            return path
        stem = Path(name).stem
        for candidate in (name, *(stem + suffix for suffix in SUFFIXES)):
            if (folder / candidate).is_file():
                return str(folder / candidate)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check path and permissions") from None
    raise InputError(f"{path}: no {name} in this folder; name the file")


def local_table(path: str, name: str) -> str:
    """`find_table` for what is never on the hub.

    Raises:
        InputError: no such file.
    """
    found = find_table(path, name)
    if not os.path.exists(found):
        raise InputError(f"{path}: no such file or folder; check the path")
    return found


def _open(path: str, without: Collection[str]) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """The reader for what `path` is. Raises OSError too."""
    suffix = Path(path).suffix.lower()
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
        if suffix in SUFFIXES or looks_like_path(path):
            raise InputError(f"{path}: no such file; check the path") from None
        return _read_hub(path)
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: a folder; name a file in it")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: a pipe or device; write the rows to a file first, as they are read more than once")
    if suffix == ".parquet":
        return _read_parquet(path, without)
    readers = {".jsonl": _read_jsonl, ".json": _read_jsonl, ".csv": _read_csv}
    if suffix not in readers:
        raise InputError(f"{path}: unknown kind of file; use {', '.join(SUFFIXES)}")
    return readers[suffix](path)


def _read_jsonl(path: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    with open(path, "rb") as lines:
        row = 0
        while raw := lines.readline(MOST_BYTES + 1):
            row += 1
            if len(raw) > MOST_BYTES:
                _skip_line(lines)
                yield row, BadRow(f"more than {MOST_BYTES >> 20} MiB in one line; write one object a line", _start(raw))
            elif raw.strip():
                try:
                    yield row, _json_row(raw.decode("utf-8-sig" if row == 1 else "utf-8"))
                except ValueError as error:
                    yield row, BadRow(_why_not_json(error), _start(raw))


def _skip_line(lines: BinaryIO) -> None:
    while (more := lines.readline(MOST_BYTES)) and not more.endswith(b"\n"):
        pass


def _start(raw: bytes) -> str:
    return raw[:1000].decode("utf-8", "replace").rstrip("\n")


def _json_row(line: str) -> dict[str, Any]:
    """The object that a line holds. Raises ValueError."""
    try:
        values = json.loads(line, object_pairs_hook=_object)
        if not isinstance(values, dict):
            raise ValueError(f"{_what(values)} where an object is needed; write one object a line")
        depth = _depth(values)
    except RecursionError:
        depth = DEEPEST + 1
    if depth > DEEPEST:
        raise ValueError(f"nested more than {DEEPEST} deep; write what is inside as text")
    if "\\u" in line and not _is_text(json.dumps(values, ensure_ascii=False)):
        raise ValueError("half of a surrogate pair (such as \\ud800), which is no character; write the text anew")
    return values


def _is_text(value: str) -> bool:
    """Whether it can be written: no half of a surrogate pair is in it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"key {_twice(key for key, _ in pairs)!r} twice in one object; keep one")
    return found


def _twice(names: Iterable[str]) -> str | None:
    """The first name that occurs more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _depth(value: Any) -> int:
    """How deep lists and objects stand in each other; stops counting beyond DEEPEST."""
    depth, level = 0, [value]
    while level and depth <= DEEPEST:
        level = [v for outer in level for v in (outer.values() if isinstance(outer, dict) else outer)]
        level = [v for v in level if isinstance(v, dict | list)]
        depth += 1
    return depth


def _why_not_json(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON ({error.msg} at column {error.colno}); mend or delete the line (one object a line)"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 ({error.reason}, byte {error.start + 1}); save the file as UTF-8"
    if "integer string conversion" in str(error):
        return "an integer of more than 4300 digits; write it as text"
    return str(error)


def _read_csv(path: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    csv.field_size_limit(MOST_BYTES)
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        size = 0

        def lines() -> Iterator[str]:
            nonlocal size
            while line := file.readline(MOST_BYTES + 1):
                size += len(line)
                if size > MOST_BYTES:
                    raise InputError(f"{path}: more than {MOST_BYTES >> 20} MiB in one row; is a quote left open?")
                yield line

        reader = csv.reader(lines(), strict=True)
        head: list[str] | None = None
        row = 0
        while True:
            size = 0
            try:
                cells, reason = next(reader), ""
            except StopIteration:
                return
            except csv.Error as error:
                cells, reason = [], f"broken CSV ({error}); mend the quotes or delete the row"
            if not cells and not reason:
                continue  # an empty line
            if not _is_text("".join(cells)):  # what is not UTF-8 is read as halves of surrogate pairs
                cells, reason = [], "not UTF-8; save the file as UTF-8"
            if head is None:
                if not reason and _twice(cells) is not None:
                    reason = f"column {_twice(cells)!r} twice; rename one"
                if reason:
                    raise InputError(f"{path}, head: {reason}")
                head = cells
                continue
            row += 1
            if not reason and len(cells) != len(head):
                reason = f"{len(cells)} fields where the head has {len(head)}; quote fields that hold a comma"
            yield row, BadRow(reason, ",".join(cells)[:1000]) if reason else dict(zip(head, cells, strict=True))


def _read_parquet(path: str, without: Collection[str]) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    import pyarrow
    import pyarrow.parquet as pq

    open(path, "rb").close()  # what Python says about permissions is plainer
    broken = (pyarrow.ArrowException, OSError, ValueError, OverflowError)
    try:
        table = pq.ParquetFile(path)
        names = table.schema_arrow.names
        columns = [name for name in names if name not in without] if without else None
        batches = table.iter_batches(batch_size=PARQUET_BATCH, columns=columns)
    except broken as error:
        raise InputError(f"{path}: not a Parquet file ({_first_line(error)}); write it again") from None
    if _twice(names) is not None:
        raise InputError(f"{path}: column {_twice(names)!r} twice; rename one")
    row = 0
    while True:
        try:
            rows = next(batches).to_pylist()
        except StopIteration:
            return
        except broken as error:
            raise InputError(
                f"{path}, after row {row}: cannot be read ({_first_line(error)}); write it again"
            ) from None
        for values in rows:
            row += 1
            yield row, values


def _read_hub(name: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Stream `name[:config[:split]]`, split `train` unless given."""
    from datasets import load_dataset

    dataset_id, *rest = name.split(":")
    config = rest[0] if rest and rest[0] else None
    split = rest[1] if len(rest) > 1 else "train"
    row = 0
    try:
        rows = iter(load_dataset(dataset_id, config, split=split, streaming=True))
    except Exception as error:
        raise InputError(
            f"{name}: no such file, and not readable as a Hugging Face dataset ({_first_line(error)}); check the name"
        ) from None
    while True:
        try:
            values = dict(next(rows))
        except StopIteration:
            return
        except Exception as error:
            raise InputError(f"{name}, after row {row}: {_first_line(error)}; try again, or download it") from None
        row += 1
        yield row, values


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


# Cells


def text_of(values: Mapping[str, Any], column: str, *, may_be_empty: bool = False) -> str:
    """Text that has to be there, or at least its cell."""
    found = maybe_text(values, column)
    if found is None and may_be_empty:
        found = values.get(column)
    if found is None:
        raise ValueError(missing(values, column))
    return found


def maybe_text(values: Mapping[str, Any], column: str) -> str | None:
    """Text as it stands, and numbers as text (2.0 as `2`); None for a cell that is empty or not there."""
    value = values.get(column)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or isinstance(value, str):
        return value if value and value.strip() else None
    number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    if number and not isinstance(value, bool):  # a bool is an int to Python
        return str(value)
    raise ValueError(f"column `{column}` holds {_what(value)}; give text, or leave the cell empty")


def number_of(values: Mapping[str, Any], column: str) -> float:
    """A finite number, or the text of one."""
    value = _there(values, column)
    try:
        found = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"column `{column}` holds {_what(value)}; give a finite number")
    return found


def integer_of(values: Mapping[str, Any], column: str, least: int) -> int:
    """A whole number from `least` up, or the text of one."""
    found = number_of(values, column)
    if not found.is_integer() or not least <= found < 2**31:
        raise ValueError(f"column `{column}` holds {_what(values[column])}; give a whole number, {least} or more")
    return int(found)


def boolean_of(values: Mapping[str, Any], column: str) -> bool:
    """True or false, 1 or 0, or the text of one of these, or yes or no."""
    value = _there(values, column)
    said = value.strip().lower() if isinstance(value, str) else value
    if said in (True, "true", "1", "yes"):
        return True
    if said in (False, "false", "0", "no"):
        return False
    raise ValueError(f"column `{column}` holds {_what(value)}; write true or false")


def texts_of(values: Mapping[str, Any], column: str) -> list[str]:
    """A list of texts, which may be empty."""
    value = values.get(column)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"column `{column}` holds {_what(value)}; give a list of texts")
    return value


def _there(values: Mapping[str, Any], column: str) -> Any:
    value = values.get(column)
    if value is None or value == "":
        raise ValueError(missing(values, column))
    return value


def missing(values: Mapping[str, Any], column: str) -> str:
    """What to say of a cell that has to have a value."""
    if column in values:
        return f"column `{column}` is empty; give it a value or drop the row"
    return f"column `{column}` is missing; {nearest_column(column, values)}"


def nearest_column(name: str, columns: Iterable[str]) -> str:
    """`nearest` for the columns of a file, whose names may hold anything."""
    return shorten(nearest(name, (shorten(str(column), 60) for column in columns)), 300)


def _what(value: Any) -> str:
    """A value as an error names it."""
    if isinstance(value, str | int | float):
        return shown(value)
    names = {list: "a list", dict: "an object", bytes: "bytes", Decimal: "a decimal number", type(None): "nothing"}
    return names.get(type(value), f"a {type(value).__name__}")


def plain_row(values: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON can have it: dates and times in ISO form, decimals and durations as text, NaN and infinities null.

    What is made of bytes (images, audio) or of other objects is left out.

    Raises:
        ValueError: nested more than `DEEPEST` deep.
    """
    return dict(_plain(values, 0))


_LEFT_OUT = object()


def _plain(value: Any, depth: int) -> Any:
    if depth > DEEPEST:
        raise ValueError(f"nested more than {DEEPEST} deep; write what is inside as text")
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal | timedelta):
        return str(value)
    if isinstance(value, Mapping):
        found = {str(key): _plain(item, depth + 1) for key, item in value.items()}
        return {key: item for key, item in found.items() if item is not _LEFT_OUT}
    if isinstance(value, list | tuple):
        return [item for item in (_plain(item, depth + 1) for item in value) if item is not _LEFT_OUT]
    return _LEFT_OUT


# Writing


def as_line(row: Any) -> str:
    """A mapping, or a record that has `as_row()`, as a line of JSONL, `?` for half of a surrogate pair."""
    values = row if isinstance(row, Mapping) else row.as_row()
    return _writable(json.dumps(values, ensure_ascii=False)) + "\n"


def _writable(value: Any) -> Any:
    """A text with `?` for each half of a surrogate pair, which models do write; anything else as it is."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def count_rows(path: Path) -> int:
    """Number of rows of a file; of a Parquet file by its footer alone."""
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.read_metadata(path).num_rows)
    return sum(1 for _ in read_rows(str(path)))


def write_jsonl(path: Path, rows: Iterable[Any]) -> int:
    """Write rows as `as_line` has it, the whole file or none of it; return how many."""
    count = 0
    aside = path.with_name(path.name + ".tmp")
    try:
        with aside.open("w", encoding="utf-8") as out:
            for row in rows:
                out.write(as_line(row))
                count += 1
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return count


class RejectsFile:
    """Rows that could not be used, each with its reason; made only when there is one."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self._file: Any = None

    def write(self, row: int, values: Any, reason: str) -> None:
        """Add a row."""
        if self._file is None:
            self._file = self.path.open("a", encoding="utf-8")
        self.count += 1
        self._file.write(json.dumps({"row": row, "reason": reason, "values": values}, default=str) + "\n")

    def close(self) -> None:
        """Close the file, if it was opened."""
        if self._file is not None:
            self._file.close()


class TableWriter(Generic[Row]):
    """Writes a Parquet file of rows, whole or not at all: memory holds one row group, and equal rows make equal bytes.

    Args:
        path: the file; written aside and moved there at the end of the `with`.
        columns: name -> Arrow type of each column, in the order of a row's fields.
    """

    def __init__(self, path: Path, columns: Mapping[str, Any]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path, self._aside = path, path.with_name(path.name + ".tmp")
        self._schema = pa.schema(list(columns.items()))
        self._writer = pq.ParquetWriter(self._aside, self._schema, compression="zstd")
        self._rows: list[Row] = []
        self.count = 0

    def write(self, row: Row) -> None:
        """Add a row."""
        self._rows.append(row)
        self.count += 1
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        columns = [list(map(_writable, column)) for column in zip(*self._rows, strict=True)] or [[]] * len(self._schema)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=ROW_GROUP)
        self._rows.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if kind is None:
                if self._rows or not self.count:
                    self._flush()
                self._writer.close()
                os.replace(self._aside, self._path)
        finally:
            self._writer.close()
            self._aside.unlink(missing_ok=True)
