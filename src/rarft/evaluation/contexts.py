"""What each of a problem's top-k contexts does: variation (the paper's figure 4), ensembling, and diversity.

All of it is computed from rollouts sampled with `contexts="each"`: every retrieved trace in a prompt of its own, the
same number of samples each. Baseline rollouts (no retrieval) are optional. Nothing is sampled here.

The best of k measured accuracies is too high and the worst too low, since chance helps to choose them. So `variation`
also gives the spread that shuffling a problem's samples among its contexts leaves (`spread_by_chance`), and the
accuracy of the best context on samples that did not choose it (`best_held_out`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rarft.evaluation import metrics
from rarft.evaluation.rollouts import Rollout, grouped

Contexts = dict[tuple[str, str], dict[int, list[Rollout]]]
"""(benchmark, problem) -> rank of the context -> its samples."""


def by_context(rollouts: Sequence[Rollout]) -> Contexts:
    """Rollouts by problem and rank of the retrieved trace; those without a context (rank 0) are left out."""
    table: Contexts = {}
    for name, problems in grouped(rollouts).items():
        for problem, rows in problems.items():
            for row in rows:
                if row.context > 0:
                    table.setdefault((name, problem), {}).setdefault(row.context, []).append(row)
    return table


@dataclass(frozen=True)
class ProblemContexts:
    """One problem's mean reward under each of its contexts."""

    benchmark: str
    problem_id: str
    accuracy: dict[int, float]
    """Mean reward by rank."""
    trace_ids: dict[int, str]
    baseline: float | None
    """Mean reward without retrieval, where it was measured."""


def variation(
    rollouts: Sequence[Rollout], baseline: Sequence[Rollout] | None = None, *, seed: int = 0
) -> tuple[list[ProblemContexts], dict[str, Any]]:
    """Per-problem accuracy under each context, and a summary with intervals (dicts as `Interval.as_dict`).

    Summary: `top_1`, `mean`, `best`, `worst`, `spread` (best - worst), `spread_by_chance`, `best_held_out`, and with
    a baseline `baseline`, `top_1_minus_baseline` (paired) and `share_top_1_at_least_baseline`.
    Raises ValueError where no problem has two contexts.
    """
    table = {key: ranks for key, ranks in by_context(rollouts).items() if len(ranks) > 1 and 1 in ranks}
    if not table:
        raise ValueError("context variation needs rollouts of at least two contexts per problem (contexts=each)")
    plain: dict[tuple[str, str], float] = {}
    for name, problems in grouped(baseline or []).items():
        for problem, rows in problems.items():
            plain[name, problem] = metrics.avg_at_k([row.reward for row in rows])
    rng = np.random.default_rng(seed)
    found: list[ProblemContexts] = []
    values: dict[str, dict[str, dict[str, float]]] = {}

    def note(what: str, key: tuple[str, str], value: float) -> None:
        values.setdefault(what, {}).setdefault(key[0], {})[key[1]] = value

    for key, ranks in sorted(table.items()):
        rewards = {rank: np.array([row.reward for row in rows]) for rank, rows in sorted(ranks.items())}
        accuracy = {rank: float(array.mean()) for rank, array in rewards.items()}
        traces = {rank: rows[0].trace_ids[0] if rows[0].trace_ids else "" for rank, rows in ranks.items()}
        found.append(ProblemContexts(*key, accuracy, traces, plain.get(key)))
        low, high = min(accuracy.values()), max(accuracy.values())
        note("top_1", key, accuracy[1])
        note("mean", key, float(np.mean(list(accuracy.values()))))
        note("best", key, high)
        note("worst", key, low)
        note("spread", key, high - low)
        note("spread_by_chance", key, _shuffled_spread(list(rewards.values()), rng))
        if all(len(array) > 1 for array in rewards.values()):
            note("best_held_out", key, _held_out_best(list(rewards.values())))
        if key in plain:
            note("baseline", key, plain[key])
    summary: dict[str, Any] = {what: metrics.bootstrap([table]).as_dict() for what, table in values.items()}
    if "baseline" in values:
        gap = metrics.paired_difference([values["top_1"]], [values["baseline"]])
        summary["top_1_minus_baseline"] = gap.as_dict()
        compared = [row for row in found if row.baseline is not None]
        summary["share_top_1_at_least_baseline"] = float(
            np.mean([row.accuracy[1] >= (row.baseline or 0.0) for row in compared])
        )
    return found, summary


def _shuffled_spread(arrays: list[np.ndarray], rng: np.random.Generator, draws: int = 50) -> float:
    pool, cuts = np.concatenate(arrays), np.cumsum([len(array) for array in arrays])[:-1]
    spreads = []
    for _ in range(draws):
        means = [part.mean() for part in np.split(rng.permutation(pool), cuts)]
        spreads.append(max(means) - min(means))
    return float(np.mean(spreads))


def _held_out_best(arrays: list[np.ndarray]) -> float:
    """Choose the best context on half of the samples and score it on the other half; mean of both ways."""
    halves = [(array[0::2], array[1::2]) for array in arrays]
    ways = []
    for choose, measure in ((0, 1), (1, 0)):
        chosen = max(range(len(halves)), key=lambda i: (halves[i][choose].mean(), -i))
        ways.append(halves[chosen][measure].mean())
    return float(np.mean(ways))


def ensemble(rollouts: Sequence[Rollout], *, draws: int = 256, seed: int = 0) -> dict[str, Any]:
    """The same budget of samples spread over the top contexts, against all of it on the top one.

    With K contexts of n samples, m = n // K samples of each make a budget of k = m K. pass@k of the spread is exact,
    1 - prod_c C(n - right_c, m) / C(n, m); maj@k is the mean over `draws` random choices. Returns `k`, `contexts`, and
    for `avg`, `pass`, `maj` the dicts `spread`, `top_1` and `difference` (paired, spread - top 1).
    Raises ValueError where problems have fewer samples per context than contexts.
    """
    table = {key: ranks for key, ranks in by_context(rollouts).items() if len(ranks) > 1}
    if not table:
        raise ValueError("ensembling needs rollouts of at least two contexts per problem (contexts=each)")
    n_contexts = min(len(ranks) for ranks in table.values())
    n = min(len(rows) for ranks in table.values() for rows in ranks.values())
    m = n // n_contexts
    if m < 1:
        raise ValueError(f"{n} samples per context can't be spread over {n_contexts} contexts; sample more")
    k = m * n_contexts
    rng = np.random.default_rng(seed)
    values: dict[str, dict[str, dict[str, dict[str, float]]]] = {}

    def note(how: str, metric: str, key: tuple[str, str], value: float) -> None:
        values.setdefault(metric, {}).setdefault(how, {}).setdefault(key[0], {})[key[1]] = value

    for key, ranks in sorted(table.items()):
        kept = {rank: ranks[rank][:n] for rank in sorted(ranks)[:n_contexts]}
        note("spread", "avg", key, float(np.mean([row.reward for rows in kept.values() for row in rows])))
        missed = 1.0
        for rows in kept.values():
            right = sum(row.reward >= 0.5 for row in rows)
            missed *= math.comb(n - right, m) / math.comb(n, m)
        note("spread", "pass", key, 1.0 - missed)
        votes = []
        for _ in range(draws if m < n else 1):
            chosen = [rows[i] for rows in kept.values() for i in rng.permutation(n)[:m]]
            votes.append(metrics.maj_at_k([r.answer for r in chosen], [r.reward for r in chosen], k))
        note("spread", "maj", key, float(np.mean(votes)))
        top = kept[min(kept)]
        rewards, answers = [row.reward for row in top], [row.answer for row in top]
        note("top_1", "avg", key, metrics.avg_at_k(rewards))
        note("top_1", "pass", key, metrics.pass_at_k(n, sum(reward >= 0.5 for reward in rewards), k))
        note("top_1", "maj", key, metrics.maj_at_k(answers, rewards, k, draws=draws, seed=seed))
    out: dict[str, Any] = {"k": k, "contexts": n_contexts}
    for metric, ways in values.items():
        out[metric] = {how: metrics.bootstrap([table], n_samples=k).as_dict() for how, table in ways.items()}
        gap = metrics.paired_difference([ways["spread"]], [ways["top_1"]], n_samples=k)
        out[metric]["difference"] = gap.as_dict()
    return out


def diversity(
    retrieved: Mapping[str, Sequence[str]],
    *,
    embeddings: Mapping[str, np.ndarray] | None = None,
    patterns: Mapping[str, str] | None = None,
    rollouts: Sequence[Rollout] | None = None,
    solved_at: float = 0.5,
) -> dict[str, Any]:
    """How different the traces retrieved for a problem are, and whether they solve different problems.

    Args:
        retrieved: problem id -> trace ids, best first.
        embeddings: trace id -> unit vector; gives `embedding_distance`, the mean pairwise 1 - cosine.
        patterns: trace id -> structure or reasoning pattern; gives `distinct_patterns` per problem.
        rollouts: of `contexts="each"`; gives `solved_by`. A context solves a problem when its mean reward is at
            least `solved_at`. `solved_by` has the share of problems solved by the top context, by any, and by exactly
            one, the problems only the context of each rank solves (`only`), and the mean Jaccard distance of the
            ranks' sets of solved problems.

    Values are dicts of intervals over problems, but for `solved_by`, which holds shares and ids.
    """
    out: dict[str, Any] = {"problems": len(retrieved), "contexts": max(map(len, retrieved.values()), default=0)}
    several = {problem: list(ids) for problem, ids in retrieved.items() if len(ids) > 1}
    if embeddings is not None and several:
        distances = {}
        for problem, ids in several.items():
            vectors = np.stack([embeddings[key] for key in ids])
            upper = np.triu_indices(len(ids), 1)
            distances[problem] = float(np.mean(1.0 - (vectors @ vectors.T)[upper]))
        out["embedding_distance"] = metrics.bootstrap([{"all": distances}]).as_dict()
    if patterns is not None and several:
        counts = {problem: float(len({patterns[key] for key in ids})) for problem, ids in several.items()}
        out["distinct_patterns"] = metrics.bootstrap([{"all": counts}]).as_dict()
    if rollouts is not None:
        out["solved_by"] = _solved_by(by_context(rollouts), solved_at)
    return out


def _solved_by(table: Contexts, solved_at: float) -> dict[str, Any]:
    ranks = sorted({rank for contexts in table.values() for rank in contexts})
    solved: dict[int, set[tuple[str, str]]] = {rank: set() for rank in ranks}
    for key, contexts in table.items():
        for rank, rows in contexts.items():
            if np.mean([row.reward for row in rows]) >= solved_at:
                solved[rank].add(key)
    times = {key: [rank for rank in ranks if key in solved[rank]] for key in table}
    only = {rank: sorted(key[1] for key, by in times.items() if by == [rank]) for rank in ranks}
    jaccard = [
        1.0 - len(solved[a] & solved[b]) / len(solved[a] | solved[b])
        for i, a in enumerate(ranks)
        for b in ranks[i + 1 :]
        if solved[a] | solved[b]
    ]
    total = max(1, len(table))
    return {
        "share_solved": {str(rank): len(solved[rank]) / total for rank in ranks},
        "share_solved_by_any": sum(bool(by) for by in times.values()) / total,
        "share_solved_by_one": sum(len(by) == 1 for by in times.values()) / total,
        "only": {str(rank): ids for rank, ids in only.items()},
        "jaccard_distance": float(np.mean(jaccard)) if jaccard else None,
    }
