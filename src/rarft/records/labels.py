"""Labels: which trace helps which problem, one row per judged pair, written as they come and read back one at a time.

Columns `problem_id, trace_id, relevant: bool, score: float, labeler: str, rationale: str`, of which a file from
elsewhere needs the first three: its scores are then 1 and 0. Pairs that no answer could be had for are not in it; they
are listed in unjudged.jsonl.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rarft.records.rows import TableWriter, boolean_of, local_table, maybe_text, number_of, parse_rows, text_of

LABELS = "labels.parquet"


class Label(NamedTuple):
    """One row of labels.parquet."""

    problem_id: str
    trace_id: str
    relevant: bool
    score: float
    """Graded, higher is better; its unit is the labeler's."""
    labeler: str = ""
    rationale: str = ""


class LabelWriter(TableWriter[Label]):
    """Writes labels.parquet row by row."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        types = (pa.string(), pa.string(), pa.bool_(), pa.float64(), pa.string(), pa.string())
        super().__init__(path, dict(zip(Label._fields, types, strict=True)))
        self.n_relevant = 0

    def write(self, row: Label) -> None:
        """Add a row."""
        super().write(row)
        self.n_relevant += row.relevant


def read_labels(path: str, traces: Container[str] | None = None) -> Iterator[Label]:
    """Stream labels from a Parquet, JSONL or CSV file, or a `rarft label` folder.

    Args:
        traces: the ids that a row may name; any where not given.

    Raises:
        InputError: names file, row, what is wrong and what to do.
    """

    def parse(values: dict[str, Any]) -> Label:
        relevant = boolean_of(values, "relevant")
        found = Label(
            text_of(values, "problem_id"),
            text_of(values, "trace_id"),
            relevant,
            number_of(values, "score") if "score" in values else float(relevant),
            maybe_text(values, "labeler") or "",
            maybe_text(values, "rationale") or "",
        )
        if traces is not None and found.trace_id not in traces:
            raise ValueError(f"trace {found.trace_id[:60]!r} is not among the traces given; give the corpus it is from")
        return found

    for _, label in parse_rows(local_table(path, LABELS), parse):
        yield label
