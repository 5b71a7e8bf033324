"""The oracle: relevant where problem and trace have the same known structure. For the testbed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rarft.core.errors import InputError
from rarft.core.progress import track
from rarft.core.stages import Work
from rarft.records.labels import Label
from rarft.relevance.candidates import Pair
from rarft.relevance.labelers.base import Labeler, Write


class Oracle(Labeler):
    """Labels pairs by the equality of a column that problems and traces both have; score 1.0 or 0.0."""

    def label(self, pairs: Iterable[Pair], total: int, work: Work, scratch: Path, write: Write) -> None:
        """As `Labeler.label`. Raises InputError where a problem or trace lacks the column."""
        column = self.setting.structure_column
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
