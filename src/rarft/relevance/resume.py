"""Work on pairs that survives a kill, a problem at a time: what was computed for one is on disk before it counts."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from rarft.core.append_log import AppendLog
from rarft.core.errors import InputError
from rarft.core.progress import Progress
from rarft.relevance.candidates import Pair


def by_problem(
    pairs: Iterable[Pair], compute: Callable[[list[Pair]], dict[str, Any]], file: Path, what: str, total: int
) -> Iterator[tuple[list[Pair], dict[str, Any]]]:
    """The pairs of each problem with their row: taken from `file`, or computed and appended to it.

    Args:
        pairs: those of one problem follow each other.
        compute: makes the row, JSON values only.
        file: JSON lines, kept between runs.
        what: a word for the progress line.
        total: number of pairs.

    Raises:
        InputError: `file` holds rows of other pairs.
    """
    log = AppendLog(file)
    try:
        logged = list(log.rows())
        with Progress(what, total, done=sum(len(row.get("traces", ())) for row in logged)) as progress:
            for number, (problem, group) in enumerate(groupby(pairs, key=lambda pair: pair.problem.id)):
                own = list(group)
                name = {"problem": problem, "traces": [pair.trace.id for pair in own]}
                if number < len(logged):
                    row = logged[number]
                    if {key: row.get(key) for key in name} != name:
                        raise InputError(f"{file}: holds work on other pairs; delete it to begin afresh")
                else:
                    row = name | compute(own)
                    log.append(row)
                    progress.advance(len(own))
                yield own, row
    finally:
        log.close()
