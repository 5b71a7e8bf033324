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

import rarft.stats as stats
from rarft.evaluation import metrics
from rarft.evaluation.scores import grouped
from rarft.records.rollouts import Rollout

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
    spread_by_chance: float
    """Mean of best - worst when the samples are shuffled among the contexts."""
    best_held_out: float | None
    """Accuracy of the best context on samples that did not choose it; None with one sample per context."""
    baseline: float | None
    """Mean reward without retrieval, where it was measured."""

    def values(self) -> dict[str, float | None]:
        """What `summarise` averages, by name."""
        accuracies = list(self.accuracy.values())
        low, high = min(accuracies), max(accuracies)
        top = self.accuracy[1]
        return {
            "top_1": top,
            "mean": float(np.mean(accuracies)),
            "best": high,
            "best_held_out": self.best_held_out,
            "worst": low,
            "spread": high - low,
            "spread_by_chance": self.spread_by_chance,
            "spread_beyond_chance": high - low - self.spread_by_chance,
            "baseline": self.baseline,
            "top_1_minus_baseline": None if self.baseline is None else top - self.baseline,
            "top_1_at_least_baseline": None if self.baseline is None else float(top >= self.baseline),
        }


def variation(
    rollouts: Sequence[Rollout], baseline: Sequence[Rollout] | None = None, *, seed: int = 0
) -> list[ProblemContexts]:
    """Per-problem accuracy under each context, in order of problem ids.

    Args:
        rollouts: of `contexts="each"`.
        baseline: rollouts of the same problems without retrieval.

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
    for key, ranks in sorted(table.items()):
        rewards = {rank: np.array([row.reward for row in rows]) for rank, rows in sorted(ranks.items())}
        arrays = list(rewards.values())
        halves = all(len(array) > 1 for array in arrays)
        found.append(
            ProblemContexts(
                *key,
                accuracy={rank: float(array.mean()) for rank, array in rewards.items()},
                trace_ids={rank: rows[0].trace_ids[0] if rows[0].trace_ids else "" for rank, rows in ranks.items()},
                spread_by_chance=_shuffled_spread(arrays, rng),
                best_held_out=_held_out_best(arrays) if halves else None,
                baseline=plain.get(key),
            )
        )
    return found


def summarise(*seeds: Sequence[ProblemContexts]) -> dict[str, Any]:
    """Means over problems with intervals (dicts as `Interval.as_dict`), one argument per training seed.

    Keys are those of `ProblemContexts.values`, as far as every problem has them.
    """
    out: dict[str, Any] = {}
    for name in seeds[0][0].values():
        tables: list[dict[str, dict[str, float]]] = []
        for rows in seeds:
            table: dict[str, dict[str, float]] = {}
            for row in rows:
                value = row.values()[name]
                if value is not None:
                    table.setdefault(row.benchmark, {})[row.problem_id] = value
            tables.append(table)
        if all(tables):
            out[name] = stats.bootstrap(tables).as_dict()
    return out


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


def ensemble(*seeds: Sequence[Rollout], draws: int = 256, seed: int = 0) -> dict[str, Any] | None:
    """The same budget of samples spread over the top contexts, against all of it on the top one.

    With K contexts of n samples, m = n // K samples of each make a budget of k = m K. pass@k of the spread is exact,
    1 - prod_c C(n - right_c, m) / C(n, m); maj@k is the mean over `draws` random choices. One argument per training
    seed. Returns `k`, `contexts`, and for `avg`, `pass`, `maj` the dicts `spread`, `top_1` and `difference` (paired,
    spread - top 1); None where problems have fewer samples per context than contexts. Raises ValueError where no
    problem has two contexts.
    """
    found = [{key: ranks for key, ranks in by_context(rows).items() if len(ranks) > 1} for rows in seeds]
    if not all(found):
        raise ValueError("ensembling needs rollouts of at least two contexts per problem (contexts=each)")
    n_contexts = min(len(ranks) for table in found for ranks in table.values())
    n = min(len(rows) for table in found for ranks in table.values() for rows in ranks.values())
    m = n // n_contexts
    if m < 1:
        return None
    k = m * n_contexts
    tables = [_ensemble_values(table, n_contexts, n, m, draws, seed) for table in found]
    out: dict[str, Any] = {"k": k, "contexts": n_contexts}
    for metric in tables[0]:
        spread, top = ([table[metric][how] for table in tables] for how in ("spread", "top_1"))
        out[metric] = {
            "spread": stats.bootstrap(spread, n_samples=k).as_dict(),
            "top_1": stats.bootstrap(top, n_samples=k).as_dict(),
            "difference": stats.paired_difference(spread, top, n_samples=k).as_dict(),
        }
    return out


def _ensemble_values(
    table: Contexts, n_contexts: int, n: int, m: int, draws: int, seed: int
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """metric -> spread or top_1 -> benchmark -> problem -> value."""
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
    return values


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
        out["embedding_distance"] = stats.bootstrap([{"all": distances}]).as_dict()
    if patterns is not None and several:
        counts = {problem: float(len({patterns[key] for key in ids})) for problem, ids in several.items()}
        out["distinct_patterns"] = stats.bootstrap([{"all": counts}]).as_dict()
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
