"""The oracle: relevant where problem and trace have the same known structure. For the testbed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rarft.core.errors import InputError
from rarft.core.progress import track
from rarft.records.labels import Label
from rarft.relevance.candidates import Pair


def oracle_label(pairs: Iterable[Pair], column: str, total: int, write: Callable[[Label], None]) -> None:
    """Label pairs by the equality of a column that problems and traces both have; score 1.0 or 0.0.

    Raises:
        InputError: a problem or trace lacks the column.
    """
    for problem, trace in track(pairs, "labelling", total=total):
        for record in (problem, trace):
            if record.extra.get(column) is None:
                what = type(record).__name__.lower()
                raise InputError(
                    f"{what} {record.id}: no column `{column}`, which labeler oracle compares; "
                    f"name the right one with --structure-column, or use another labeler"
                )
        same = problem.extra[column] == trace.extra[column]
        rationale = f"{column} {'is' if same else 'differs:'} {trace.extra[column]}"
        write(Label(problem.id, trace.id, same, float(same), "oracle", rationale))
