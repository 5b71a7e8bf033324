"""Tables of rows: JSONL, Parquet, CSV or the Hugging Face hub in, JSONL out. What a row means is not known here."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rarft.core.errors import InputError


def read_rows(path: str, on_bad: Any = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield `(row number from 1, values)` from a file or a hub dataset, streaming.

    Args:
        path: by its ending: .jsonl/.json (one object a line), .parquet, .csv; otherwise a hub id,
            `name[:config[:split]]`.
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


def count_rows(path: Path) -> int:
    """Number of rows of a file; of a Parquet file by its footer alone."""
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.read_metadata(path).num_rows)
    return sum(1 for _ in read_rows(str(path)))


def write_jsonl(path: Path, rows: Iterable[Any]) -> int:
    """Write mappings, or records that have `as_row()`, as JSON lines, whole or not at all; return how many."""
    count = 0
    aside = path.with_name(path.name + ".tmp")
    with aside.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(_plain(row), ensure_ascii=False) + "\n")
            count += 1
    os.replace(aside, path)
    return count


def _plain(row: Any) -> dict[str, Any]:
    return dict(row) if isinstance(row, Mapping) else row.as_row()


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

    dataset_id, *rest = name.split(":")
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
