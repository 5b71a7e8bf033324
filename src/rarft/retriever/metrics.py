"""How good a ranking is: R@1, R@5, R@10, MRR and nDCG@10, each with its 95 % interval.

The metrics are trec_eval's, by pytrec_eval: R@k is its `success_k`, the share of problems with a relevant trace among
the first k (a problem may have many relevant traces, so recall in the strict sense would be small whatever the
retriever does). Intervals: Wilson's for R@k; a percentile bootstrap over problems for the means.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rarft.stats import bootstrap, wilson

METRICS = {"R@1": "success_1", "R@5": "success_5", "R@10": "success_10", "MRR": "recip_rank", "nDCG@10": "ndcg_cut_10"}


@dataclass(frozen=True)
class Score:
    """A mean over problems with its 95 % interval."""

    value: float
    low: float
    high: float


def score_rankings(
    relevant: Mapping[str, Collection[str]], rankings: Mapping[str, Sequence[str]], seed: int = 0
) -> dict[str, Score]:
    """Score rankings.

    Args:
        relevant: problem id -> ids of its relevant traces, at least one.
        rankings: problem id -> trace ids, best first, no id twice; a problem may be missing (it counts as 0).
        seed: of the bootstrap.

    Returns:
        `R@1`, `R@5`, `R@10`, `MRR`, `nDCG@10`.

    >>> found = score_rankings({"p1": ["t1"], "p2": ["t9"]}, {"p1": ["t1", "t2"], "p2": ["t1", "t9"]})
    >>> found["R@1"].value, found["R@5"].value, found["MRR"].value
    (0.5, 1.0, 0.75)
    """
    each = score_each(relevant, rankings)
    return {name: _interval(name, values, seed) for name, values in each.items()}


def score_each(relevant: Mapping[str, Collection[str]], rankings: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """Metric -> its value per problem, in the order of `relevant`."""
    import pytrec_eval

    measures = {"success.1,5,10", "recip_rank", "ndcg_cut.10"}
    run = {i: {t: float(-rank) for rank, t in enumerate(found)} for i, found in rankings.items()}
    judge = pytrec_eval.RelevanceEvaluator({i: dict.fromkeys(found, 1) for i, found in relevant.items()}, measures)
    found = judge.evaluate(run)
    return {
        name: np.array([found[i][theirs] if i in found else 0.0 for i in relevant]) for name, theirs in METRICS.items()
    }


def _interval(name: str, values: np.ndarray, seed: int) -> Score:
    mean = float(values.mean())
    if name.startswith("R@"):
        return Score(mean, *wilson(round(values.sum()), len(values)))
    found = bootstrap([{"": dict(zip(map(str, range(len(values))), values.tolist(), strict=True))}], seed=seed)
    return Score(mean, found.low, found.high)
