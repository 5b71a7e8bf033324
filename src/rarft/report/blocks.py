"""What the page is made of: sections of notes, figures, tables, problems and texts. The template knows no more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rarft.report.collect import number
from rarft.report.problems import Entry
from rarft.stats import Interval


@dataclass(frozen=True)
class Cell:
    """Text of a table cell, the value it sorts by, an interval in small print, and a CSS class."""

    text: str
    value: float | str | None = None
    interval: str = ""
    style: str = ""


@dataclass(frozen=True)
class Table:
    """A table; `head` names the columns."""

    caption: str
    head: list[str]
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Figure:
    """An inline SVG and what it shows."""

    svg: str
    caption: str


@dataclass
class Section:
    """A part of the page."""

    id: str
    title: str
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    problems: list[Entry] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    """(title, preformatted text), folded."""


def percent(value: float, *, signed: bool = False) -> str:
    """0.1234 -> 12.3"""
    return f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"


def score_cell(interval: Interval | None, *, signed: bool = False) -> Cell:
    """A percentage with its interval; a signed one is coloured where the interval leaves zero out."""
    if interval is None:
        return Cell("")
    ends = " to ".join(percent(end, signed=signed) for end in (interval.low, interval.high))
    style = ""
    if signed and interval.low > 0:
        style = "above"
    elif signed and interval.high < 0:
        style = "below"
    return Cell(percent(interval.value, signed=signed), interval.value, ends, style)


def metric_cell(value: Any) -> Cell:
    """A retriever's or audit's metric, bare or with its interval."""
    if value is None:
        return Cell("")
    if isinstance(value, str):
        return Cell(value, style="text")
    bare = number(value)
    text = f"{bare:,.0f}" if isinstance(value, int) else f"{bare:.3f}"
    if isinstance(value, dict) and "low" in value:
        return Cell(text, bare, f"{value['low']:.3f} to {value['high']:.3f}")
    return Cell(text, bare)
