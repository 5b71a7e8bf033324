"""Every score that follows from rollouts without sampling again.

`scores(rollouts)` is what `rarft evaluate` writes to scores.json; `problem_values` gives one number per problem, which
`stats.bootstrap` and `stats.paired_difference` turn into intervals. Nothing here runs a model or a verifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

import rarft.stats as stats
from rarft.core.artifacts import read_json
from rarft.evaluation import metrics
from rarft.records.rollouts import Rollout

Metric = Literal["avg", "pass", "maj"]
METRICS: tuple[Metric, ...] = ("avg", "pass", "maj")


Groups = dict[str, dict[str, list[Rollout]]]
"""Rollouts by benchmark and problem, in the order of samples."""


def read_scores(folder: Path) -> dict[str, Any]:
    """scores.json of an evaluation's folder. Raises InputError where it is damaged."""
    return read_json(dict[str, Any], folder / "scores.json", "make the folder again")


def grouped(rollouts: Sequence[Rollout]) -> Groups:
    """Rollouts by benchmark, then problem; contexts and samples in order, so subsets don't depend on row order."""
    groups: Groups = {}
    for row in sorted(rollouts, key=lambda row: (row.context, row.sample)):
        groups.setdefault(row.benchmark, {}).setdefault(row.problem_id, []).append(row)
    return groups


def samples_per_problem(groups: Groups) -> int:
    """The number of samples that every problem has at least."""
    return min(len(rows) for problems in groups.values() for rows in problems.values())


def value_of(rows: Sequence[Rollout], metric: Metric, k: int) -> float:
    """One problem's avg@k, pass@k or maj@k; avg uses all samples, which estimates avg@k for any k."""
    rewards = [row.reward for row in rows]
    if metric == "avg":
        return metrics.avg_at_k(rewards)
    if metric == "pass":
        return metrics.pass_at_k(len(rows), sum(reward >= 0.5 for reward in rewards), k)
    return metrics.maj_at_k([row.answer for row in rows], rewards, k)


def problem_values(
    rollouts: Sequence[Rollout] | Groups, metric: Metric = "avg", k: int | None = None
) -> dict[str, dict[str, float]]:
    """benchmark -> problem -> value. `k` defaults to the number of samples every problem has."""
    groups = rollouts if isinstance(rollouts, dict) else grouped(rollouts)
    if not groups:
        return {}
    k = samples_per_problem(groups) if k is None else k
    return {
        name: {key: value_of(rows, metric, k) for key, rows in problems.items()} for name, problems in groups.items()
    }


def scores(rollouts: Sequence[Rollout], *, k: int | None = None, seed: int = 0) -> dict[str, Any]:
    """What scores.json holds: `k`, and under `overall` and each of `benchmarks` the scores with intervals and shares.

    Overall is the mean over benchmarks. Keys `avg@k`, `pass@k`, `maj@k` stand for the `k` given beside them;
    `pass_curve` has pass@1, 2, 4, ... up to k. Raises ValueError on no rollouts.
    """
    groups = grouped(rollouts)
    if not groups:
        raise ValueError("scores of no rollouts")
    k = samples_per_problem(groups) if k is None else k
    out: dict[str, Any] = {"k": k, "overall": _block(groups, k, seed), "benchmarks": {}}
    for name in sorted(groups):
        out["benchmarks"][name] = _block({name: groups[name]}, k, seed)
    return out


def _block(groups: Groups, k: int, seed: int) -> dict[str, Any]:
    rows = [row for problems in groups.values() for problem in problems.values() for row in problem]
    per_problem = len(rows) / sum(len(problems) for problems in groups.values())
    n_samples = int(per_problem) if per_problem.is_integer() else per_problem
    block: dict[str, Any] = {}
    for metric in METRICS:
        values = problem_values(groups, metric, k)
        block[f"{metric}@k"] = stats.bootstrap([values], n_samples=n_samples, seed=seed).as_dict()
    sizes = sorted({2**power for power in range(12) if 2**power < k} | {k})
    curve = {size: problem_values(groups, "pass", size) for size in sizes}
    block["pass_curve"] = {
        str(size): float(np.mean([np.mean(list(problems.values())) for problems in values.values()]))
        for size, values in curve.items()
    }
    block["n_problems"] = sum(len(problems) for problems in groups.values())
    block["n_samples"] = n_samples
    block["share_extracted"] = float(np.mean([row.answer is not None for row in rows]))
    block["share_truncated"] = float(np.mean([row.truncated for row in rows]))
    block["share_timed_out"] = float(np.mean([row.reason == "timeout" for row in rows]))
    block["mean_tokens"] = float(np.mean([row.n_tokens for row in rows]))
    reasons = sorted({row.reason for row in rows})
    block["reasons"] = {reason: float(np.mean([row.reason == reason for row in rows])) for reason in reasons}
    return block
