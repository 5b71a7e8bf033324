"""Plots as inline SVG that takes its colours from the page, so that it follows light and dark.

matplotlib draws; each colour it is given is a stand-in that becomes a CSS variable afterwards (`--s1` ... `--s7` for
series, `--ink`, `--faint`, `--rule`). Every plot is about 400 px wide, so its text stays readable on a phone; the
page sets several side by side where there is room. Left out: zooming and tooltips; the tables hold the numbers.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SERIES = 7
INK, FAINT, RULE = "#010101", "#020202", "#030303"
VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)", RULE: "var(--rule)"} | {
    f"#0000{number:02x}": f"var(--s{number})" for number in range(1, SERIES + 1)
}
MARKERS = "osD^vPX"


def colour(number: int) -> str:
    """Stand-in for the n-th series colour, counted from 0 and repeating."""
    return f"#0000{number % SERIES + 1:02x}"


def _figure(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["text.parse_math"] = False  # a `$` in the name of an arm or a reward is only a `$`
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(RULE)
    axes.tick_params(colors=FAINT, labelsize=8, width=0.6, length=3)
    axes.grid(True, color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Any, alt: str) -> str:
    """The figure as an <svg> element with a text alternative and no ids that could clash with another plot's."""
    import matplotlib

    out = io.StringIO()
    options = {"svg.fonttype": "none", "svg.hashsalt": alt, "font.family": "sans-serif", "font.size": 9}
    with matplotlib.rc_context(options):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    for stand_in, variable in VARIABLES.items():
        text = text.replace(stand_in, variable)
    text = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font: \1px system-ui, sans-serif", text)
    prefix = f"p{abs(hash_text(alt)) % 10**8}"
    text = re.sub(r'id="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'xlink:href="#([^"]+)"', rf'xlink:href="#{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert size is not None
    width = float(size[1]) * 4 / 3
    opening = f'<svg role="img" aria-label="{escape(alt)}" viewBox="0 0 {size[1]} {size[2]}" '
    opening += f'style="width: 100%; max-width: {width:.0f}px; height: auto" xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg">'
    return re.sub(r"<svg[^>]*>", lambda _: opening, text, count=1).strip()


def standalone(svg: str) -> str:
    """The plot as a file of its own: with the page's colours, light and dark."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    colours = style[: style.index("\n* {")].replace(":root", "svg")
    return svg.replace(">", f"><style>{colours}</style>", 1) + "\n"


def hash_text(text: str) -> int:
    """A number that depends on the text alone (`hash` changes from run to run)."""
    return zlib.crc32(text.encode())


def escape(text: str) -> str:
    """Text for an attribute."""
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def forest(
    rows: Sequence[tuple[str, float, float, float]], *, xlabel: str, alt: str, reference: float | None = None
) -> str:
    """Values with intervals, one row each, from the top: (label, value, low, high); percentages."""
    figure, axes = _figure(4.4, 0.65 + 0.36 * len(rows))
    for place, (_, value, low, high) in enumerate(rows):
        axes.plot([low, high], [place, place], color=colour(0), linewidth=2, solid_capstyle="round")
        axes.plot([value], [place], marker="o", markersize=6, color=colour(0))
    if reference is not None:
        axes.axvline(reference, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
    axes.tick_params(axis="y", colors=INK, length=0, labelsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_xlabel(xlabel, color=FAINT, fontsize=8)
    return _svg(figure, alt)


Line = tuple[Sequence[float], Sequence[float]]


def curves(series: Mapping[str, Line], *, xlabel: str, ylabel: str, alt: str, zero: bool = True) -> str:
    """Lines over steps. A legend appears with two or more; markers tell short series apart without colour."""
    figure, axes = _figure(4.4, 2.9 + 0.16 * max(0, len(series) - 2))
    for number, (label, (x, y)) in enumerate(series.items()):
        few = len(x) <= 25
        axes.plot(
            x, y, color=colour(number), linewidth=1.6, label=label, linestyle="-" if number < SERIES else "--",
            marker=MARKERS[number % len(MARKERS)] if few else None, markersize=4,
        )  # fmt: skip
    axes.set_xlabel(xlabel, color=FAINT, fontsize=8)
    axes.set_ylabel(ylabel, color=FAINT, fontsize=8)
    if zero:
        axes.set_ylim(bottom=0)
    if len(series) > 1:
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8, labelcolor=INK, handlelength=1.6)
    return _svg(figure, alt)


def context_ranges(problems: Sequence[tuple[Mapping[int, float], float | None]], *, alt: str) -> str:
    """The paper's figure 4: per problem the accuracy under each context (by rank), and without retrieval.

    Problems come sorted; values are percentages.
    """
    figure, axes = _figure(5.2, 3.0)
    marked: set[str] = set()

    def label(text: str) -> str | None:
        new = text not in marked
        marked.add(text)
        return text if new else None

    for place, (accuracy, baseline) in enumerate(problems):
        axes.plot([place] * 2, [min(accuracy.values()), max(accuracy.values())], color=RULE, linewidth=2)
        for rank, value in sorted(accuracy.items(), reverse=True):
            if rank > 1:
                axes.plot([place], [value], marker="o", markersize=3.5, color=colour(1), markerfacecolor="none",
                          linestyle="none", label=label("other contexts"))  # fmt: skip
        if baseline is not None:
            axes.plot([place - 0.35, place + 0.35], [baseline] * 2, color=colour(4), linewidth=1.6,
                      label=label("no retrieval"))  # fmt: skip
        axes.plot([place], [accuracy[1]], marker="o", markersize=5, color=colour(0), linestyle="none",
                  label=label("top-1 context"))  # fmt: skip
    axes.set_xlabel("problems, by accuracy under the top-1 context", color=FAINT, fontsize=8)
    axes.set_ylabel("accuracy, %", color=FAINT, fontsize=8)
    axes.set_ylim(-4, 104)
    axes.set_xticks([])
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8, labelcolor=INK, handlelength=1.2)
    return _svg(figure, alt)
