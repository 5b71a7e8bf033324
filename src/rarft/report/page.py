"""The page of `rarft report`: reads the runs, gathers the sections and renders them by one Jinja template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape

import rarft
from rarft.core.errors import InputError
from rarft.report.collect import Run, System, align_runs, load_runs, systems_of
from rarft.report.scores import context_section, headline_section, problem_section, summary
from rarft.report.stages import config_section, label_section, ledger_section, retriever_section, training_section

HERE = Path(__file__).parent


def render(folders: Sequence[str], baseline: str, max_problems: int, max_rollouts: int, seed: int) -> str:
    """The page as HTML, of the runs in `folders`. Raises InputError as `load_runs` and `align_runs`."""
    runs = load_runs(folders)
    systems, same = align_runs([system for run in runs for system in _ordered(run, baseline)])
    if len(runs) > 1:
        systems = [_relabelled(system) for system in systems]
    found = [
        headline_section(systems, runs, same, seed),
        training_section(runs),
        retriever_section(runs),
        label_section(runs),
        context_section(runs, systems),
        problem_section(systems if same else [s for s in systems if s.run is runs[0]], max_problems, max_rollouts),
        ledger_section(runs),
        config_section(runs),
    ]
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=select_autoescape(["html", "j2"]), trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    first = runs[0].recipe
    return environment.get_template("page.html.j2").render(
        title=first.get("name", runs[0].label) if len(runs) == 1 else "Runs compared",
        description=first.get("description", "") if len(runs) == 1 else "",
        runs=runs,
        summary=summary(systems, same),
        sections=[section for section in found if section is not None],
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        js=(HERE / "page.js").read_text(encoding="utf-8"),
        version=rarft.__version__,
    )


def _ordered(run: Run, baseline: str) -> list[System]:
    systems = systems_of(run)
    if baseline and all(system.name != baseline for system in systems):
        names = ", ".join(system.name for system in systems)
        raise InputError(f"{run.folder}: no arm called {baseline!r} (there are: {names})")
    return sorted(systems, key=lambda system: system.name != baseline) if baseline else systems


def _relabelled(system: System) -> System:
    return replace(system, name=f"{system.run.label}: {system.name}")
