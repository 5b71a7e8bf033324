"""The sections of the page that are about stages: training, retrievers, labels, cost, configuration.

Each `*_section` function gives a Section, or None where the runs hold nothing for it.
"""

from __future__ import annotations

from typing import Any

import yaml

from rarft.core.artifacts import read_json
from rarft.core.progress import format_seconds
from rarft.report import plots
from rarft.report.blocks import Cell, Figure, Section, Table, metric_cell
from rarft.report.collect import Run, StageOutput, read_log, retriever_rows

CURVES = [
    ("reward", "Reward in training", "reward, %"),
    ("eval_accuracy", "Accuracy on held-out problems, from step 0 on", "accuracy, %"),
    ("mean_length", "Length of completions", "tokens"),
    ("truncated", "Completions cut short", "share, %"),
    ("loss", "Loss of supervised stages", "nats per token"),
]
"""Key of log.jsonl, what it is called, and its unit."""
REASONS = ("correct", "wrong", "no_answer", "timeout", "error")


def training_section(runs: list[Run]) -> Section | None:
    """Curves of every train stage, and the share of each verification reason."""
    section = Section("training", "Training")
    logs = {
        f"{run.label}: {stage.name}" if len(runs) > 1 else stage.name: (stage, read_log(stage))
        for run in runs
        for stage in run.of("train")
    }
    for key, title, unit in CURVES:
        series: dict[str, plots.Line] = {}
        for name, (stage, rows) in logs.items():
            if key == "loss" and stage.config.get("algorithm") != "sft":
                continue  # the loss of a policy gradient says nothing about progress
            points = sorted((row["step"], row[key]) for row in rows if row.get(key) is not None)
            if len(points) > 1:
                scale = 100 if unit.endswith("%") else 1
                series[name] = smoothed(points, scale)
        if series:
            section.figures.append(Figure(plots.curves(series, xlabel="step", ylabel=unit, alt=title), title))
    for name, (_, rows) in logs.items():
        shares = _reason_shares(rows)
        if shares:
            figure = plots.curves(shares, xlabel="step", ylabel="share, %", alt=f"verification reasons, {name}")
            section.figures.append(Figure(figure, f"Verification reasons, {name}"))
    if section.figures:
        section.notes.append(f"Curves longer than {POINTS} steps are means over neighbouring steps.")
    return section if section.figures else None


POINTS = 60


def smoothed(points: list[tuple[float, float]], scale: float = 1) -> plots.Line:
    """At most `POINTS` points: means over as many neighbouring steps as that takes; the first stays as it is."""
    width = -(-len(points) // POINTS)
    groups = [points[:1], *(points[start : start + width] for start in range(1, len(points), width))]
    return (
        [sum(step for step, _ in group) / len(group) for group in groups],
        [scale * sum(value for _, value in group) / len(group) for group in groups],
    )


def _reason_shares(rows: list[dict[str, Any]]) -> dict[str, plots.Line]:
    series: dict[str, plots.Line] = {}
    for reason in REASONS:
        points = [(row["step"], row[f"reason/{reason}"]) for row in rows if f"reason/{reason}" in row]
        if len(points) > 1 and any(value for _, value in points):
            series[reason] = smoothed(points, 100)
    return series


def retriever_section(runs: list[Run]) -> Section | None:
    """The table of every evaluate-retriever stage."""
    section = Section("retrievers", "Retrievers")
    for run in runs:
        for stage in run.of("evaluate-retriever"):
            rows = retriever_rows(stage)
            if not rows:
                continue
            names = [name for name in rows[0] if name not in ("system", "queries", "n_queries")]
            head = ["retriever", *names]
            lines = [[Cell(row["system"]), *[metric_cell(row.get(name)) for name in names]] for row in rows]
            caption = f"Held-out labels, {stage.name}" + (f" of {run.label}" if len(runs) > 1 else "")
            section.tables.append(Table(caption, head, lines))
    return section if section.tables else None


def label_section(runs: list[Run]) -> Section | None:
    """What label stages counted, and the audits of labelers against each other."""
    section = Section("labels", "Labels and their audit")
    for run in runs:
        of = f" of {run.label}" if len(runs) > 1 else ""
        labels = [(stage, stage.manifest.get("results", {})) for stage in run.of("label")]
        if labels:
            names = sorted({name for _, results in labels for name in results if _is_plain(results[name])})
            head = ["stage", "labeler", *names]
            rows = [
                [Cell(stage.name), Cell(str(stage.config.get("labeler", "")), style="text"),
                 *[metric_cell(results.get(name)) for name in names]]
                for stage, results in labels
            ]  # fmt: skip
            section.tables.append(Table(f"Label stages{of}", head, rows))
        for stage in run.of("audit"):
            section.tables.extend(_audit_tables(stage, of))
    return section if section.tables else None


def _is_plain(value: Any) -> bool:
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


def _audit_tables(stage: StageOutput, of: str) -> list[Table]:
    path = stage.folder / "audit.json"
    if not path.is_file():
        return []
    found = read_json(dict[str, Any], path, "make the folder again")
    tables = []
    for title, rows in found.items():
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            head = list(rows[0])
            lines = [[metric_cell(row.get(name)) for name in head] for row in rows]
            tables.append(Table(f"{stage.name}{of}: {title}", [name.replace("_", " ") for name in head], lines))
    return tables


def ledger_section(runs: list[Run]) -> Section:
    """Time, tokens and memory of every stage."""
    section = Section("ledger", "Cost of every stage")
    for run in runs:
        rows = []
        total = {"wall_seconds": 0.0, "tokens_in": 0, "tokens_out": 0, "calls": 0}
        for stage in run.stages.values():
            ledger = stage.manifest["ledger"]
            for name in total:
                total[name] += ledger[name]
            rows.append([Cell(stage.name), Cell(stage.command, style="text"), *_ledger_cells(ledger),
                         Cell(f"{ledger['peak_memory_mb']:,.0f}", ledger["peak_memory_mb"]),
                         Cell(ledger["device"], style="text")])  # fmt: skip
        rows.append([Cell("all stages"), Cell("", style="text"), *_ledger_cells(total), Cell(""), Cell("")])
        head = ["stage", "command", "time", "tokens in", "tokens out", "calls", "peak MiB", "device"]
        section.tables.append(Table(run.label, head, rows))
    return section


def _ledger_cells(ledger: dict[str, Any]) -> list[Cell]:
    seconds = ledger["wall_seconds"]
    counts = [Cell(f"{ledger[name]:,}", ledger[name]) for name in ("tokens_in", "tokens_out", "calls")]
    return [Cell(format_seconds(seconds), seconds), *counts]


def config_section(runs: list[Run]) -> Section:
    """Versions, and every stage's full config."""
    section = Section("config", "Configuration and versions")
    for run in runs:
        of = f"{run.label}: " if len(runs) > 1 else ""
        versions: dict[str, str] = {}
        for stage in run.stages.values():
            versions |= stage.manifest["versions"]
        section.tables.append(
            Table(f"{of}versions", ["package", "version"],
                  [[Cell(name), Cell(version, style="text")] for name, version in sorted(versions.items())])
        )  # fmt: skip
        for stage in run.stages.values():
            text = yaml.safe_dump({"config": stage.config, "inputs": stage.manifest["inputs"]}, sort_keys=False)
            section.texts.append((f"{of}{stage.name} ({stage.command})", text))
    return section
