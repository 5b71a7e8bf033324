"""How good the retriever is, on labels whose truth does not come from us or is known: CHAMP, the testbed, any labels.

    python benchmarks/retrieval/quality.py champ --champ v0.json            # 270 competition problems, cross-validated
    python benchmarks/retrieval/quality.py testbed --bed runs/quickstart/testbed   # unseen surfaces, oracle as truth
    python benchmarks/retrieval/quality.py labels --problems P --traces T --labels L  # cross-validated, labelled pairs

With `--fold-seed 1 --fold-seed 2` problems are dealt to the folds and arms are trained once for each seed; besides the
table of the first, each arm's R@1 less that of the first untuned row is printed, paired by problem and seed.

CHAMP (Mao et al., 2024): people annotated the concepts of each problem; a trace is relevant where it shares one. Its
file is `v0.json` of the package champ-dataset. Every fold trains on the pairs among its training problems only, and
ranks all other problems' solutions for its held-out problems. On the testbed an arm trains on the oracle's labels, or
on `--labels`, and is judged by the oracle's. Prints a table with a row per arm; `--out` keeps it as JSON.
"""

import argparse
import json
import random
import tempfile
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rarft.core.artifacts import read_manifest
from rarft.records import labels as label_files
from rarft.records.problems import Problem, Trace, load_problems, load_traces
from rarft.records.rows import write_jsonl
from rarft.records.same_problem import near_duplicate_groups
from rarft.retriever.config import TrainRetrieverConfig
from rarft.retriever.encoder import load_encoder
from rarft.retriever.evaluate import EvaluateRetrieverConfig, format_table, rank_by, relevant_traces
from rarft.retriever.labels import read_labels
from rarft.retriever.metrics import score_rankings
from rarft.retriever.train import train_retriever
from rarft.stats import paired_difference

UNTUNED = ["late interaction:", "single vector:type=single-vector"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["champ", "testbed", "labels"])
    parser.add_argument("--champ", type=Path, help="v0.json of the package champ-dataset")
    parser.add_argument("--problems"), parser.add_argument("--traces"), parser.add_argument("--labels")
    parser.add_argument("--base-model", default="minilm")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--fold-seed", type=int, action="append", help="of the deal and of training; repeatable")
    parser.add_argument("--per-problem", type=int, default=0, help="testbed: labelled traces per problem; 0: all")
    parser.add_argument("--bed", type=Path, default=Path("runs/quickstart/testbed"), help="testbed: its folder")
    parser.add_argument(
        "--arm", action="append", default=[], help="name:field=value,field=value of the training config"
    )
    parser.add_argument("--set", default="", help="field=value,... for every arm")
    parser.add_argument(
        "--untuned", action="append", help="name:field=value,... of an untuned row: part, trace_tokens, pool, type"
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    arms = named(args.arm)
    with tempfile.TemporaryDirectory() as folder:
        result = {"champ": champ, "testbed": testbed, "labels": labels}[args.data](args, arms, Path(folder))
    print(format_table(result))
    print(json.dumps({key: result[key] for key in ("cost", "above_untuned") if key in result}))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def parse(text: str) -> dict[str, str]:
    return dict(item.split("=", 1) for item in text.split(",") if item)


def named(arms: list[str]) -> dict[str, dict[str, str]]:
    return {name: parse(values) for name, _, values in (arm.partition(":") for arm in arms)}


def champ(args: argparse.Namespace, arms: dict, folder: Path) -> dict:
    data = json.loads(args.champ.read_text())["problems"]
    problems, traces, concepts = [], [], []
    for key, row in data.items():
        steps = "\n".join(step["_text"] for step in row["solution"]["steps"])
        problems.append(Problem(key, row["_text"], row["_answer"] or "-", source="champ"))
        traces.append(Trace(f"t-{key}", row["_text"], steps, row["_answer"] or "-", source="champ"))
        concepts.append({c for c in row["ch_list"] if c.startswith("C_")})
    rows = [
        {"problem_id": p.id, "trace_id": t.id, "relevant": bool(concepts[i] & concepts[j])}
        for i, p in enumerate(problems)
        for j, t in enumerate(traces)
        if i != j
    ]
    return cross_validate(args, arms, folder, problems, traces, rows)


def labels(args: argparse.Namespace, arms: dict, folder: Path) -> dict:
    rows = [label._asdict() for label in label_files.read_labels(args.labels)]
    labelled = {row["problem_id"] for row in rows}
    problems = [p for p in load_problems(args.problems) if p.id in labelled]
    return cross_validate(args, arms, folder, problems, load_traces(args.traces), rows)


def cross_validate(
    args: argparse.Namespace, arms: dict, folder: Path, problems: list, traces: list, rows: list
) -> dict:
    """Folds by problem, near-duplicates in one; rankings of all folds are scored together."""
    write_jsonl(folder / "problems.jsonl", problems)
    write_jsonl(folder / "traces.jsonl", traces)
    all_labels = read_labels(write(folder / "all.jsonl", rows), problems, traces)
    everyone = np.arange(len(problems))
    untuned: dict[str, dict] = {}
    baselines(args, untuned, problems, traces, all_labels, everyone)
    cost: dict[str, list] = {}
    runs: dict[int, dict[str, dict]] = {}
    for seed in args.fold_seed or [0]:
        rankings = runs[seed] = dict(untuned)
        for fold, (ids, kept) in enumerate(deal(problems, rows, args.folds, seed)):
            file = write(folder / f"fold{seed}-{fold}.jsonl", kept)
            for name, values in arms.items():
                config = training(args, {"seed": str(seed), **values}, folder, file, held_out=0.0)
                model = train_retriever(config, folder / f"{name}-{seed}-{fold}")
                cost.setdefault(name, []).append(read_manifest(model)["ledger"]["wall_seconds"])
                rank(args, rankings, name, str(model), problems, traces, all_labels, ids)
    result = table(next(iter(runs.values())), all_labels, everyone, problems, traces, cost)
    truth = relevant_traces(all_labels, everyone, problems, traces, guard=True)
    first = [{"R@1": first_hits(truth, found[next(iter(untuned))])} for found in runs.values()]
    above = {name: [{"R@1": first_hits(truth, found[name])} for found in runs.values()] for name in arms}
    return result | {"above_untuned": {name: paired_difference(of, first).as_dict() for name, of in above.items()}}


def deal(problems: list, rows: list, folds: int, seed: int) -> list[tuple[np.ndarray, list]]:
    """For each fold its problems, and the labels that know nothing of them."""
    groups = near_duplicate_groups([p.question for p in problems])
    order = sorted(set(groups))
    random.Random(seed).shuffle(order)
    fold_of = {group: at % folds for at, group in enumerate(order)}
    dealt = []
    for fold in range(folds):
        ids = [i for i, group in enumerate(groups) if fold_of[group] == fold]
        hidden = {name for i in ids for name in (problems[i].id, f"t-{problems[i].id}")}
        kept = [row for row in rows if row["problem_id"] not in hidden and row["trace_id"] not in hidden]
        dealt.append((np.array(ids), kept))
    return dealt


def first_hits(truth: dict, rankings: dict) -> dict[str, float]:
    """R@1 of each problem: 1 where its first trace is relevant."""
    return {i: float(bool(rankings.get(i)) and rankings[i][0] in relevant) for i, relevant in truth.items()}


def testbed(args: argparse.Namespace, arms: dict, folder: Path) -> dict:
    bed = args.bed
    problems = load_problems(str(bed / "train"))
    evaluation = load_problems(str(bed / "eval"))
    traces = load_traces(str(bed / "corpus"))
    rng = random.Random(0)

    def oracle(of: list[Problem], per_problem: int) -> list[dict]:
        return [
            {"problem_id": p.id, "trace_id": t.id, "relevant": p.extra["structure"] == t.extra["structure"]}
            for p in of
            for t in (rng.sample(traces, per_problem) if per_problem else traces)
        ]

    write_jsonl(folder / "problems.jsonl", problems)
    write_jsonl(folder / "traces.jsonl", traces)
    file = args.labels or write(folder / "labels.jsonl", oracle(problems, args.per_problem))
    truth = read_labels(write(folder / "truth.jsonl", oracle(evaluation, 0)), evaluation, traces)
    everyone = np.arange(len(evaluation))
    rankings: dict[str, dict] = {}
    cost: dict[str, list] = {}
    for name, values in arms.items():
        config = training(args, values, folder, file, held_out=0.0)
        model = train_retriever(config, folder / name)
        cost[name] = [read_manifest(model)["ledger"]["wall_seconds"]]
        started = time.monotonic()
        rank(args, rankings, name, str(model), evaluation, traces, truth, everyone)
        cost[name].append(time.monotonic() - started)
    baselines(args, rankings, evaluation, traces, truth, everyone)
    return table(rankings, truth, everyone, evaluation, traces, cost)


def training(
    args: argparse.Namespace, values: dict, folder: Path, labels: str, held_out: float
) -> TrainRetrieverConfig:
    fixed = {
        "problems": str(folder / "problems.jsonl"),
        "traces": str(folder / "traces.jsonl"),
        "labels": labels,
        "base_model": args.base_model,
        "held_out": held_out,
    }
    return TrainRetrieverConfig.model_validate({**fixed, **parse(args.set), **values})


def write(path: Path, rows: list[dict]) -> str:
    write_jsonl(path, rows)
    return str(path)


def baselines(
    args: argparse.Namespace, rankings: dict, problems: list, traces: list, labels: object, ids: object
) -> None:
    for name, values in named(args.untuned or UNTUNED).items():
        rank(args, rankings, f"untuned, {name}", args.base_model, problems, traces, labels, ids, values)
    for name in ("bm25", "random"):
        rank(args, rankings, name, name, problems, traces, labels, ids)


def rank(args, rankings, name, model, problems, traces, labels, ids, changes=None) -> None:  # type: ignore[no-untyped-def]
    started = time.monotonic()
    retriever = model
    if model not in ("bm25", "random"):
        values = {key: value for key, value in parse(args.set).items() if key in ("query_tokens", "trace_tokens")}
        values |= changes or {}
        pool = int(values.pop("pool", 1))
        retriever = load_encoder(model, **{k: int(v) if v.isdigit() else v for k, v in values.items()})
        retriever.encode_traces = partial(retriever.encode_traces, pool=pool)
    among: Any = "labelled" if args.data == "labels" else "corpus"
    config = EvaluateRetrieverConfig(problems="-", traces="-", labels="-", retriever="-", candidates=among)
    rankings.setdefault(name, {}).update(rank_by(retriever, problems, traces, labels, ids, config))
    print(f"{name}: ranked {len(ids)} in {time.monotonic() - started:.1f}s", flush=True)


def table(rankings: dict, labels, ids, problems: list, traces: list, cost: dict) -> dict:  # type: ignore[no-untyped-def]
    truth = relevant_traces(labels, ids, problems, traces, guard=True)
    scores = {name: score_rankings(truth, found) for name, found in rankings.items()}
    found = {name: {metric: asdict(s) for metric, s in by.items()} for name, by in scores.items()}
    return {"n_problems": len(truth), "n_traces": len(traces), "retrievers": found, "cost": cost}


if __name__ == "__main__":
    main()
