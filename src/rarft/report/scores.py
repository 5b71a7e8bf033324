"""The sections of the page that are about answers: headline, contexts, problems.

Each `*_section` function gives a Section, or None where the runs hold nothing for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rarft.evaluation.contexts import diversity, ensemble, summarise, variation
from rarft.records.rollouts import Rollout, read_rollouts
from rarft.report import plots
from rarft.report.blocks import Cell, Figure, Section, Table, metric_cell, percent, score_cell
from rarft.report.collect import Row, Run, StageOutput, System, differences, headline, n_problems, pooled
from rarft.report.problems import entries, trace_patterns
from rarft.stats import Interval, bootstrap


def summary(systems: Sequence[System], same: bool = True) -> str:
    """One sentence: the best arm against the first, over the seeds where there are several."""
    if len(systems) < 2:
        return ""
    rows = pooled([_named(system) for system in systems]) or (headline(systems) if same else [])
    if len(rows) < 2:
        return ""
    best = max(rows[1:], key=lambda row: row.scores["avg"].value)
    if best.gain is None:
        return ""
    unsure = "" if best.gain.low > 0 or best.gain.high < 0 else " The interval includes zero."
    return (
        f"{best.label} answers {percent(best.scores['avg'].value)} % of the samples right, "
        f"{percent(best.gain.value, signed=True)} points against {rows[0].label} "
        f"(95 % interval {percent(best.gain.low, signed=True)} to {percent(best.gain.high, signed=True)}).{unsure}"
    )


def headline_section(systems: list[System], runs: list[Run], same: bool, seed: int) -> Section | None:
    """Scores of every arm with intervals, gains, and the differences between all pairs.

    `same` says whether all systems answered the same problems.
    """
    if not systems:
        return None
    rows = headline(systems, seed=seed)
    together = pooled([_named(system) for system in systems], seed=seed) if len(runs) > 1 else []
    section = Section("headline", "Headline")
    first = rows[0]
    names = ", ".join(systems[0].groups)
    scope = "" if same else " in each run, others in every run"
    section.notes.append(
        f"{n_problems(systems)} problems ({names}){scope}, {first.k} samples each. Small print: 95 % intervals by "
        "bootstrap over problems, each drawn with all its samples. Gains are paired: the same problems on both sides."
    )
    shown = together or rows
    section.figures.append(
        Figure(
            plots.forest(
                [_forest_row(row) for row in shown],
                xlabel=f"avg@{first.k}, %",
                alt=f"avg@{first.k} of every arm with its 95 % interval",
                reference=100 * shown[0].scores["avg"].value,
            ),
            f"avg@{first.k} with 95 % interval; the dashed line is {shown[0].label}.",
        )
    )
    if together:
        section.tables.append(
            _score_table(together, f"Over {len(runs)} seeds: problems and seeds drawn again, gains paired by both")
        )
    section.tables.append(_score_table(rows, "Every arm" if not together else "Every arm, run by run"))
    section.tables.append(_answer_table(rows))
    benchmarks = list(systems[0].groups)
    if len(benchmarks) > 1:
        section.tables.append(_benchmark_table(systems, rows, benchmarks, seed))
    if same and 2 < len(systems) <= 12:
        grid = differences(systems, seed=seed)
        section.tables.append(
            Table(
                "Row minus column, in points of avg@k, paired by problem; coloured where the interval leaves zero out",
                ["", *[system.label for system in systems]],
                [
                    [Cell(system.label), *[score_cell(cell, signed=True) for cell in line]]
                    for system, line in zip(systems, grid, strict=True)
                ],
            )
        )
    return section


def _named(system: System) -> System:
    """The system under its arm's own name, without the run's."""
    return replace(system, name=system.name.removeprefix(f"{system.run.label}: "))


def _forest_row(row: Row) -> tuple[str, float, float, float]:
    score = row.scores["avg"]
    return row.label, 100 * score.value, 100 * score.low, 100 * score.high


def _score_table(rows: list[Row], caption: str) -> Table:
    k = rows[0].k
    head = ["arm", f"avg@{k}", "gain", f"pass@{k}", f"maj@{k}", "R@1", "decontamination"]
    lines = [
        [
            Cell(row.label),
            score_cell(row.scores["avg"]),
            score_cell(row.gain, signed=True),
            score_cell(row.scores["pass"]),
            score_cell(row.scores["maj"]),
            Cell("" if row.r_at_1 is None else f"{row.r_at_1:.2f}", row.r_at_1),
            Cell(decontamination(row), style="text"),
        ]
        for row in rows
    ]
    return Table(caption, head, lines)


def _answer_table(rows: list[Row]) -> Table:
    head = ["arm", "with an answer", "cut short", "verification timed out", "tokens, mean"]
    lines = [
        [
            Cell(row.label),
            *[Cell(f"{percent(row.shares[name])} %", row.shares[name]) for name in ("extracted", "truncated")],
            Cell(f"{percent(row.shares['timed out'])} %", row.shares["timed out"]),
            Cell(f"{row.shares['tokens']:.0f}", row.shares["tokens"]),
        ]
        for row in rows
    ]
    return Table("Completions", head, lines)


def decontamination(row: Row) -> str:
    """The benchmarks' status in a few words."""
    parts = []
    for name, check in row.decontamination.items():
        status = check.get("status", "unchecked")
        if status == "overlap":
            status = f"{check['overlapping']} of {check['checked']} overlap"
        parts.append(status if len(row.decontamination) == 1 else f"{name}: {status}")
    return "; ".join(parts)


def _benchmark_table(systems: list[System], rows: list[Row], benchmarks: list[str], seed: int) -> Table:
    lines = []
    for system, row in zip(systems, rows, strict=True):
        by_name = [score_cell(bootstrap([{name: system.values[name]}], seed=seed)) for name in benchmarks]
        lines.append([Cell(system.label), *by_name, score_cell(row.scores["avg"])])
    return Table("avg@k by benchmark; the last column is their mean", ["arm", *benchmarks, "mean"], lines)


def context_section(runs: list[Run], systems: list[System]) -> Section | None:
    """Accuracy under each of the top-k contexts (the paper's figure 4), ensembling over them, and their diversity."""
    section = Section("contexts", "Contexts")
    diverse: list[list[Cell]] = []
    for run in runs:
        for stage in run.of("evaluate"):
            if stage.config.get("contexts") != "each":
                continue
            rollouts = read_rollouts(stage.folder)
            bare = next((s for s in systems if s.run is run and not s.evaluation.config.get("analogies")), None)
            baseline = read_rollouts(bare.evaluation.folder) if bare else None
            try:
                problems = variation(rollouts, baseline)
                found = summarise(problems)
                spread = ensemble(rollouts)
            except ValueError as error:
                section.notes.append(f"{stage.name}: {error}.")
                continue
            ordered = sorted(problems, key=lambda row: (-row.accuracy[1], row.problem_id))
            step = max(1, len(ordered) // 40)
            points = [
                (
                    {rank: 100 * value for rank, value in row.accuracy.items()},
                    None if row.baseline is None else 100 * row.baseline,
                )
                for row in ordered[::step]
            ]
            alt = f"accuracy per problem under each context, {run.label} {stage.name}"
            caption = f"{stage.name}: every {step}. problem" if step > 1 else f"{stage.name}: every problem"
            section.figures.append(Figure(plots.context_ranges(points, alt=alt), caption))
            section.tables.append(_variation_table(stage, found, bare))
            if spread:
                section.tables.append(_ensemble_table(stage, spread))
            else:
                section.notes.append(f"{stage.name}: no ensembling, fewer samples per context than contexts.")
            of = f"{run.label}: " if len(runs) > 1 else ""
            diverse.append([Cell(f"{of}{stage.name}"), *_diversity_cells(stage, rollouts)])
    if diverse:
        head = ["evaluation", "distinct patterns", "top context", "any context", "exactly one", "Jaccard distance"]
        caption = (
            "Diversity: patterns among a problem's contexts, share of problems solved by them (half of the samples)"
        )
        section.tables.append(Table(caption, head, diverse))
    return section if section.figures or section.notes else None


def _diversity_cells(stage: StageOutput, rollouts: list[Rollout]) -> list[Cell]:
    retrieved: dict[str, dict[str, None]] = {}
    for row in sorted(rollouts, key=lambda row: row.context):
        retrieved.setdefault(row.problem_id, {}).update(dict.fromkeys(row.trace_ids))
    patterns = trace_patterns(stage)
    known = bool(patterns) and all(key in patterns for ids in retrieved.values() for key in ids)
    found = diversity(
        {key: list(ids) for key, ids in retrieved.items()}, patterns=patterns if known else None, rollouts=rollouts
    )
    solved = found["solved_by"]
    shares = [solved["share_solved"].get("1"), solved["share_solved_by_any"], solved["share_solved_by_one"]]
    return [
        metric_cell(found.get("distinct_patterns")),
        *[Cell("" if share is None else f"{percent(share)} %", share) for share in shares],
        metric_cell(solved["jaccard_distance"]),
    ]


VARIATION_ROWS = {
    "top_1": "top-1 context", "mean": "mean over contexts", "best": "best context, chosen on the same samples",
    "best_held_out": "best context, chosen on the other half of the samples", "worst": "worst context",
    "spread": "best minus worst",
    "spread_by_chance": "best minus worst if contexts made no difference",
    "baseline": "no retrieval", "top_1_minus_baseline": "top-1 minus no retrieval",
}  # fmt: skip


def _variation_table(stage: StageOutput, found: dict[str, Any], bare: System | None) -> Table:
    rows = [
        [Cell(text), score_cell(Interval(**found[key]), signed=key == "top_1_minus_baseline")]
        for key, text in VARIATION_ROWS.items()
        if key in found
    ]
    against = f"; no retrieval is {bare.label}" if bare else ""
    return Table(f"Context variation, {stage.name}{against}", ["accuracy of", "%"], rows)


def _ensemble_table(stage: StageOutput, found: dict[str, Any]) -> Table:
    k = found["k"]
    rows = [
        [
            Cell(f"{metric}@{k}"),
            score_cell(Interval(**found[metric]["spread"])),
            score_cell(Interval(**found[metric]["top_1"])),
            score_cell(Interval(**found[metric]["difference"]), signed=True),
        ]
        for metric in ("avg", "pass", "maj")
    ]
    caption = f"{k} samples spread over {found['contexts']} contexts, against all on the top one, {stage.name}"
    return Table(caption, ["metric", "spread", "top-1 only", "difference"], rows)


def problem_section(systems: list[System], max_problems: int, max_rollouts: int) -> Section | None:
    """Problems to browse."""
    found = entries(systems, max_problems=max_problems, max_rollouts=max_rollouts)
    if not found:
        return None
    note = (
        f"{len(found)} of {n_problems(systems)} problems: of each benchmark in turn, those on which the arms differ "
        "most. Open one to see which worked example each retriever brought, and what each arm wrote."
    )
    return Section("problems", "Problems", notes=[note], problems=found)
