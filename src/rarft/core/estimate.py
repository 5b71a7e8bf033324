"""What a stage would do, counted before it runs: `rarft STAGE --dry-run` and `rarft run --dry-run` print the same.

Each stage declares `estimate(config, known) -> Estimate`. Rows come from files that are there, from the stages before
it in a recipe, or from the recipe's `sizes` for data that cannot be read now (a hub dataset without network). Rollouts
and tokens are upper bounds: every completion is taken to be as long as it may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Count = int | None
"""A number, or None where nobody knows yet."""
ADDED_UP = ("pairs", "calls", "rollouts", "tokens")
"""Counts that a recipe's dry run adds up over its stages."""


@dataclass(frozen=True)
class Sizes:
    """Rows that a path holds."""

    problems: Count = None
    traces: Count = None


@dataclass(frozen=True)
class Estimate:
    """What a stage would do."""

    counts: dict[str, Count] = field(default_factory=dict)
    """What is counted -> how many, such as `{"pairs": 1440}`."""
    makes: dict[str, Sizes] = field(default_factory=dict)
    """Rows that its output will hold, by path below it; "" is the output itself."""
    like: str | None = None
    """The model whose shape the output has, where it is a model."""
    notes: tuple[str, ...] = ()
    """Whole lines: money, memory, what to change."""


class Known:
    """Rows behind inputs: those that were told, else counted in the file.

    Args:
        count_rows: counts the rows of a file (`rarft.records.rows.count_rows`).
        sizes: rows of inputs that cannot be read now.
    """

    def __init__(self, count_rows: Callable[[Path], int], sizes: Mapping[str, int] | None = None) -> None:
        self._count_rows = count_rows
        self._sizes = {path: Sizes(count, count) for path, count in (sizes or {}).items()}
        self._like: dict[str, str] = {}

    def add(self, output: str, estimate: Estimate) -> None:
        """Tell what a stage will leave."""
        self._sizes |= {f"{output}/{path}" if path else output: sizes for path, sizes in estimate.makes.items()}
        if estimate.like is not None:
            self._like[output] = self.shaped_like(estimate.like)

    def shaped_like(self, model: str) -> str:
        """A model of the same shape that is not one that an earlier stage of the recipe will make."""
        return self._like.get(model, model)

    def is_coming(self, value: str | None) -> bool:
        """Whether an earlier stage of the recipe will make it."""
        return value is not None and (value in self._sizes or str(Path(value).parent) in self._sizes)

    def problems(self, value: str | None) -> Count:
        """Number of problems behind an input; a traces file serves as problems too."""
        return self._rows(value, "traces" if value is not None and Path(value).stem == "traces" else "problems")

    def traces(self, value: str | None) -> Count:
        """Number of traces behind an input."""
        return self._rows(value, "traces")

    def _rows(self, value: str | None, what: str) -> Count:
        if value is None:
            return 0
        path = Path(value)
        for name in (value, str(path.parent) if path.stem in ("problems", "traces") else value):
            if name in self._sizes:
                return self._sizes[name].problems if what == "problems" else self._sizes[name].traces
        if path.is_dir():
            path = next((path / f"{what}{end}" for end in (".jsonl", ".parquet") if (path / f"{what}{end}").is_file()),
                        path)  # fmt: skip
        if not path.is_file() or path.suffix not in (".jsonl", ".parquet", ".csv"):
            return None
        return self._count_rows(path)


def times(*factors: float | None) -> Count:
    """The product, rounded up; None where a factor is unknown."""
    return None if None in factors else math.ceil(math.prod(f for f in factors if f is not None))


def number(count: Count) -> str:
    """`1440` -> `1,440`; None -> `?`."""
    return "?" if count is None else f"{count:,}"
