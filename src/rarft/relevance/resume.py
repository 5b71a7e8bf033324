"""Work on pairs that survives a kill, some problems at a time: what was computed is on disk before it counts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rarft.core.append_log import AppendLog
from rarft.core.errors import InputError
from rarft.core.progress import Progress
from rarft.core.stages import Work
from rarft.models.engines.base import Metered
from rarft.relevance.candidates import Pair

P = TypeVar("P")
Own = list[Pair]
"""The pairs of one problem."""


class Worker(Protocol[P]):
    """Computes rows with an engine."""

    engine: Metered

    def close(self) -> None:
        """Close the engine."""
        ...

    def prepare(self, own: Own) -> tuple[P, int]:
        """What the engine needs for a problem, and its tokens. Raises InputError where a prompt does not fit."""
        ...

    def compute(self, prepared: Sequence[P]) -> list[Any]:
        """What the engine gives for some problems; called from threads."""
        ...

    def row(self, own: Own, prepared: P, computed: Any) -> dict[str, Any]:
        """A problem's row, JSON values only."""
        ...


def by_problem(
    pairs: Iterable[Pair], make: Callable[[], Worker[P]], file: Path, what: str, total: int, work: Work
) -> Iterator[tuple[Own, dict[str, Any]]]:
    """The pairs of each problem with their row, in order: taken from `file`, or computed and appended to it.

    Several problems go into one call where the engine's `call_tokens` ask for it, and several calls run at once. A
    call's rows are on disk before the next ones are waited for.

    Args:
        pairs: those of one problem follow each other; gone through twice.
        make: makes the worker; not called where nothing is left to do.
        file: JSON lines, kept between runs.
        what: a word for the progress line.
        total: number of pairs.
        work: its results take the engine's throughput.

    Raises:
        InputError: `file` holds rows of other pairs.
    """
    with closing(AppendLog(file)) as log:
        done = {row["problem"]: row for call in log.rows() for row in call.get("rows", [{"problem": None}])}
        left = _left(pairs, done, file)
        first = next(left, None)
        if first is not None:
            before = sum(len(row["traces"]) for row in done.values())
            with closing(make()) as worker, Progress(what, total, done=before) as progress:
                for rows in _compute(worker, chain([first], left)):
                    log.append({"rows": rows})
                    done |= {row["problem"]: row for row in rows}
                    progress.advance(sum(len(row["traces"]) for row in rows))
                work.results |= worker.engine.throughput()
    for own in _problems(pairs):
        yield own, done[own[0].problem.id]


def _problems(pairs: Iterable[Pair]) -> Iterator[Own]:
    return (list(own) for _, own in groupby(pairs, key=lambda pair: pair.problem.id))


def _left(pairs: Iterable[Pair], done: dict[str, dict[str, Any]], file: Path) -> Iterator[Own]:
    """The problems without a row."""
    for own in _problems(pairs):
        row = done.get(own[0].problem.id)
        if None in done or (row is not None and row["traces"] != [pair.trace.id for pair in own]):
            raise InputError(f"{file}: holds work on other pairs; delete it to begin afresh")
        if row is None:
            yield own


def _compute(worker: Worker[P], problems: Iterable[Own]) -> Iterator[list[dict[str, Any]]]:
    """The rows of each call."""

    def compute(call: list[tuple[Own, P]]) -> list[Any]:
        return worker.compute([prepared for _, prepared in call])

    for call, computed in worker.engine.each(compute, _calls(worker, problems)):
        yield [
            {
                "problem": own[0].problem.id,
                "traces": [pair.trace.id for pair in own],
                **worker.row(own, prepared, value),
            }
            for (own, prepared), value in zip(call, computed, strict=True)
        ]


def _calls(worker: Worker[P], problems: Iterable[Own]) -> Iterator[list[tuple[Own, P]]]:
    """As many problems to a call as the engine wants."""
    call: list[tuple[Own, P]] = []
    tokens = 0
    for own in problems:
        prepared, more = worker.prepare(own)
        call.append((own, prepared))
        tokens += more
        if tokens >= worker.engine.call_tokens:
            yield call
            call, tokens = [], 0
    if call:
        yield call
