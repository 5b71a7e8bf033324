"""Problems and traces: loading, checking, cleaning."""

from rarft.data.load import (
    Problem,
    Trace,
    iter_records,
    load_problems,
    load_traces,
    read_rows,
    with_answer,
    write_jsonl,
)

__all__ = [
    "Problem",
    "Trace",
    "iter_records",
    "load_problems",
    "load_traces",
    "read_rows",
    "with_answer",
    "write_jsonl",
]
