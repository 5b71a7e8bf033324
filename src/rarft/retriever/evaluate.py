"""How good a retriever is on labels, beside BM25, the untuned base model and random, in one table.

`rarft evaluate-retriever --problems P --traces T --labels L --retriever R --output DIR`

Works on any labels file, a foreign benchmark's too. Problems the retriever was trained on (known by their text) are
left out, and so are traces that the answer-leak guard would block. Unlabelled pairs count as not relevant, unless
`candidates = labelled`: then only a problem's labelled traces are ranked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from rarft.core.artifacts import write_json
from rarft.core.config import Config, Input, Seed
from rarft.core.errors import InputError
from rarft.core.estimate import Estimate, Known
from rarft.core.progress import log, track
from rarft.core.stages import Work, stage
from rarft.records.bm25 import BM25
from rarft.records.problems import Problem, Trace, load_problems, load_traces
from rarft.records.same_problem import near_identical
from rarft.retriever.encoder import Encoder, Kind, Part, fingerprint, load_encoder, read_settings, trace_text
from rarft.retriever.labels import Labels, read_labels
from rarft.retriever.maxsim import scores, top_traces
from rarft.retriever.metrics import METRICS, score_rankings

DEPTH = 100
CHUNK = 2048


class EvaluateRetrieverConfig(Config):
    """Measure a retriever on labels."""

    problems: Input
    """Problems: JSONL, Parquet, CSV, a `rarft prepare` folder, or a Hugging Face dataset id."""
    traces: Input
    """Traces, as problems."""
    labels: Input
    """A `rarft label` folder, or a Parquet or JSONL file with problem_id, trace_id, relevant, score."""
    retriever: Input
    """A `rarft train-retriever` folder, or any encoder's folder or id, or `minilm`."""
    base_model: str | None = None
    """The untuned model beside it; default what the retriever was trained from; none for an untuned retriever."""
    type: Kind | None = None
    """Of an untuned retriever only: multi-vector (where not given) or single-vector."""
    part: Part | None = None
    """Which part of a trace is encoded; default what the retriever was trained on, else both."""
    candidates: Literal["corpus", "labelled"] = "corpus"
    """Rank all traces, or only those that are labelled for the problem."""
    seen: bool = False
    """Keep problems that the retriever was trained on."""
    guard: bool = True
    """Leave out traces whose problem is near-identical to the query's."""
    baselines: bool = True
    """Measure BM25, the untuned base model and random too."""
    seed: Seed = 0
    """Seed of the random ranking and of the bootstrap."""


def estimate(config: EvaluateRetrieverConfig, known: Known) -> Estimate:
    """Problems to rank traces for, at most, and the traces."""
    return Estimate({"queries": known.problems(config.problems), "traces": known.traces(config.traces)})


@stage("evaluate-retriever", "R@k, MRR and nDCG on held-out labels", place=45, estimate=estimate, version=2)
def evaluate_retriever(config: EvaluateRetrieverConfig, work: Work) -> None:
    """Measure R@1, R@5, R@10, MRR and nDCG@10 with 95 % intervals.

    Writes `scores.json` (`retrievers`: name -> metric -> value, low, high; `n_problems`, `n_traces`, `candidates`) and
    prints the table.

    Raises:
        InputError: labels that fit no problem, no such model, or every problem was trained on.
    """
    problems, traces = load_problems(config.problems), load_traces(config.traces)
    labels = read_labels(config.labels, problems, traces)
    encoder = load_encoder(config.retriever, type=config.type, part=config.part)
    ids = np.unique(labels.problem[labels.relevant])
    if not config.seen:
        trained = set(encoder.settings.trained_on)
        fresh = [i for i in ids if fingerprint(problems[i].question) not in trained]
        if not fresh:
            raise InputError(f"{config.labels}: the retriever was trained on all of its problems; add --seen or others")
        ids = np.array(fresh)
    rankings = {"retriever": rank_by(encoder, problems, traces, labels, ids, config)}
    if config.baselines:
        settings = read_settings(config.retriever)
        base = config.base_model or (settings.base_model if settings else None)
        if base:
            untuned = load_encoder(
                base,
                type=encoder.settings.type,
                part=encoder.settings.part,
                query_tokens=encoder.settings.query_tokens,
                trace_tokens=encoder.settings.trace_tokens,
                fetch=config.base_model is not None,
            )
            rankings["untuned"] = rank_by(untuned, problems, traces, labels, ids, config)
        rankings["bm25"] = rank_by("bm25", problems, traces, labels, ids, config, encoder.settings.part)
        rankings["random"] = rank_by("random", problems, traces, labels, ids, config)
    gains = relevant_traces(labels, ids, problems, traces, config.guard)
    scores = {name: score_rankings(gains, found, config.seed) for name, found in rankings.items()}
    result: dict[str, Any] = {
        "n_problems": len(gains),
        "n_traces": len(traces),
        "candidates": config.candidates,
        "retrievers": {name: {m: asdict(s) for m, s in found.items()} for name, found in scores.items()},
    }
    write_json(work.path / "scores.json", result)
    work.results |= {name: found["R@1"].value for name, found in scores.items()}
    log(format_table(result))


def relevant_traces(
    labels: Labels, ids: np.ndarray, problems: Sequence[Problem], traces: Sequence[Trace], guard: bool
) -> dict[str, set[str]]:
    """Problem id -> ids of its relevant traces, less the blocked ones; problems with none left are left out."""
    mine = np.isin(labels.problem, ids) & labels.relevant
    found: dict[str, set[str]] = {}
    for p, t in zip(labels.problem[mine], labels.trace[mine], strict=True):
        if guard and near_identical(problems[p].question, traces[t].problem):
            continue
        found.setdefault(problems[p].id, set()).add(traces[t].id)
    if not found:
        raise InputError("every relevant trace is of a near-identical problem; use other labels or --no-guard")
    return found


def rank_by(
    retriever: Encoder | Literal["bm25", "random"],
    problems: Sequence[Problem],
    traces: Sequence[Trace],
    labels: Labels,
    ids: np.ndarray,
    config: EvaluateRetrieverConfig,
    part: Part = "both",
) -> dict[str, list[str]]:
    """Problem id -> ids of the first `DEPTH` traces, of the corpus or of the problem's labelled ones."""
    depth = min(len(traces), DEPTH + 50)
    labelled = config.candidates == "labelled"
    orders: Iterable[list[int]]
    if retriever == "bm25":
        bm25, most = BM25([trace_text(t, part) for t in traces]), len(traces) if labelled else depth
        orders = ([place for place, _ in bm25.top([problems[i].question], most)[0]] for i in ids)
    elif retriever == "random":
        rng = np.random.default_rng(config.seed)
        orders = (rng.permutation(len(traces)).tolist() for _ in ids)
    else:
        orders = _by_encoder(retriever, problems, traces, labels, ids, 0 if labelled else depth)
    rankings = {}
    for i, order in zip(ids, orders, strict=True):
        among = set(labels.trace[labels.problem == i].tolist()) if labelled else None
        question = problems[i].question
        kept: list[str] = []
        for t in order:
            if len(kept) == DEPTH:
                break
            if among is not None and t not in among:
                continue
            if not (config.guard and near_identical(question, traces[t].problem)):
                kept.append(traces[t].id)
        rankings[problems[i].id] = kept
    return rankings


def _by_encoder(
    encoder: Encoder,
    problems: Sequence[Problem],
    traces: Sequence[Trace],
    labels: Labels,
    ids: np.ndarray,
    depth: int,
) -> list[list[int]]:
    """Per problem the best `depth` traces, encoded in pieces; with depth 0 its labelled traces in their order."""
    queries = encoder.encode_problems([problems[i].question for i in ids])
    if depth:
        pieces = track(range(0, len(traces), CHUNK), f"ranking ({CHUNK} traces a step)")
        best, _ = top_traces(queries, (encoder.encode_traces(traces[at : at + CHUNK]) for at in pieces), depth)
        return [list(map(int, row)) for row in best]
    pool = np.unique(labels.trace[np.isin(labels.problem, ids)])
    vectors = dict(zip(pool.tolist(), encoder.encode_traces([traces[t] for t in pool]), strict=True))
    orders = []
    for i, query in zip(ids, queries, strict=True):
        own = np.unique(labels.trace[labels.problem == i])
        found = scores([query], [vectors[t] for t in own.tolist()])[0]
        orders.append(own[np.argsort(-found, kind="stable")].tolist())
    return orders


def format_table(result: dict[str, Any]) -> str:
    """The scores as a plain table: a row per retriever, `value [low, high]` per metric."""
    head = ["retriever", *METRICS]
    rows = [
        [name, *(f"{s['value']:.3f} [{s['low']:.3f}, {s['high']:.3f}]" for s in scores.values())]
        for name, scores in result["retrievers"].items()
    ]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]]
    return "\n".join([f"{result['n_problems']} problems, {result['n_traces']} traces", *lines])
