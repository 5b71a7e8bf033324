"""The headline as text for a terminal: every arm's avg@k with its 95 % interval, and R@1 of its retriever."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rarft.report.collect import Row, align, headline, load_runs, n_problems, systems_of
from rarft.stats import Interval


def percent(interval: Interval | None, *, signed: bool = False) -> str:
    """`12.3 [10.1, 14.8]`, in percent; with `signed`, the value gets its sign."""
    if interval is None:
        return ""
    value, low, high = (100 * number for number in (interval.value, interval.low, interval.high))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]" if signed else f"{value:.1f} [{low:.1f}, {high:.1f}]"


def headline_table(run: str | Path) -> str:
    """The table that `rarft run` ends with. Raises InputError where the folder is no run or has no evaluation."""
    systems = align(systems_of(load_runs([run])[0]))
    if not systems:
        return "no finished evaluation to report"
    rows = headline(systems)
    first, k = rows[0].label, rows[0].k
    lines: list[tuple[str, ...]] = [("", f"avg@{k}, %", f"above {first}", f"pass@{k}", f"maj@{k}", "R@1")]
    lines += [cells(row) for row in rows]
    note = f"{n_problems(systems)} problems, {k} samples each; 95 % intervals by bootstrap over problems"
    return f"{columns(lines)}\n{note}"


def cells(row: Row) -> tuple[str, ...]:
    """A headline row as text."""
    r1 = "" if row.r_at_1 is None else f"{row.r_at_1:.2f}"
    extra = [f"{100 * row.scores[metric].value:.1f}" for metric in ("pass", "maj")]
    return (row.label, percent(row.scores["avg"]), percent(row.gain, signed=True), *extra, r1)


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Text in aligned columns, the first to the left and the others to the right, with a rule under the head."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    shown = [
        "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    ]
    return "\n".join([shown[0], "-" * len(shown[0]), *shown[1:]])
