"""Long work on pairs in units that are computed, kept on disk, and at worst lost by a kill, together.

A unit is whole problems, as many as fill a batch of the model. Where it ends depends on the pairs alone, so that the
same pairs are batched, and rounded, alike in every run.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from rarft.errors import InputError
from rarft.models.answers import AppendLog
from rarft.progress import Progress
from rarft.relevance.candidates import Pair


def in_units(
    pairs: Iterable[Pair],
    compute: Callable[[list[Pair]], dict[str, Any]],
    file: Path,
    *,
    cost: Callable[[list[Pair]], int],
    enough: int,
    what: str,
    total: int,
) -> Iterator[tuple[list[Pair], dict[str, Any]]]:
    """Each unit of pairs with its row: taken from `file`, or computed and appended to it.

    Args:
        pairs: those of one problem follow each other.
        compute: makes a unit's row, JSON values only.
        file: JSON lines, kept between runs.
        cost: of all pairs of a problem; a unit ends with the problem that brings its cost to `enough`.
        what: a word for the progress line.
        total: number of pairs.

    Raises:
        InputError: `file` holds rows of other pairs.
    """
    log = AppendLog(file)
    logged = list(log.rows())
    progress = Progress(what, total, done=sum(row["n_pairs"] for row in logged))
    try:
        for number, unit in enumerate(_units(pairs, cost, enough)):
            name = {"first": f"{unit[0].problem.id} {unit[0].trace.id}", "n_pairs": len(unit)}
            if number < len(logged):
                row = logged[number]
                if not name.items() <= row.items():
                    raise InputError(f"{file}: holds work on other pairs; delete it to begin afresh")
            else:
                row = name | compute(unit)
                log.append(row)
                progress.advance(len(unit))
            yield unit, row
    finally:
        progress.close()
        log.close()


def _units(pairs: Iterable[Pair], cost: Callable[[list[Pair]], int], enough: int) -> Iterator[list[Pair]]:
    unit: list[Pair] = []
    spent = 0
    for _, of_problem in groupby(pairs, key=lambda pair: pair.problem.id):
        group = list(of_problem)
        unit += group
        spent += cost(group)
        if spent >= enough:
            yield unit
            unit, spent = [], 0
    if unit:
        yield unit
