"""The label file: one row per judged pair, written as it comes and read back in blocks.

Columns `problem_id, trace_id, relevant: bool, score: float, labeler: str, rationale: str`. Pairs that no answer could
be had for are not in it; they are listed in unjudged.jsonl.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from rarft.core.artifacts import find_file
from rarft.core.errors import InputError

ROW_GROUP = 8192
COLUMNS = ("problem_id", "trace_id", "relevant", "score", "labeler", "rationale")


class Label(NamedTuple):
    """One row of labels.parquet."""

    problem_id: str
    trace_id: str
    relevant: bool
    score: float
    """Graded, higher is better; its unit is the labeler's."""
    labeler: str
    rationale: str


class LabelWriter:
    """Writes labels.parquet row group by row group: memory holds one group, and equal rows make equal bytes."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = (pa.string(), pa.string(), pa.bool_(), pa.float64(), pa.string(), pa.string())
        self._schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Label] = []
        self.count = self.n_relevant = 0

    def write(self, label: Label) -> None:
        """Add a row."""
        self._rows.append(label)
        self.count += 1
        self.n_relevant += label.relevant
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        columns = list(zip(*self._rows, strict=True)) if self._rows else [()] * len(COLUMNS)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=ROW_GROUP)
        self._rows.clear()

    def __enter__(self) -> LabelWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None and (self._rows or not self.count):
            self._flush()
        self._writer.close()


def read_labels(path: str) -> Iterator[Label]:
    """Stream labels from a Parquet file or a `rarft label` folder.

    Raises:
        InputError: no such file, not Parquet, a column is missing, or a value is empty.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = find_file(path, "labels.parquet")
    try:
        table = pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise InputError(f"{file}: not a Parquet file ({error}); give the output of `rarft label`") from None
    missing = [name for name in COLUMNS[:4] if name not in table.schema_arrow.names]
    if missing:
        raise InputError(f"{file}: column `{missing[0]}` is missing; labels have {', '.join(COLUMNS)}")
    row = 0
    for batch in table.iter_batches(batch_size=ROW_GROUP):
        for values in batch.to_pylist():
            row += 1
            empty = [name for name in COLUMNS[:4] if values[name] is None]
            if empty:
                raise InputError(f"{file}, row {row}: {empty[0]} is empty; give it a value or drop the row")
            yield _label(values)


def _label(values: dict[str, Any]) -> Label:
    return Label(
        str(values["problem_id"]),
        str(values["trace_id"]),
        bool(values["relevant"]),
        float(values["score"]),
        str(values.get("labeler") or ""),
        str(values.get("rationale") or ""),
    )
