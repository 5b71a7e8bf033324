"""Intervals: one bootstrap for evaluation, audit and retriever metrics; Wilson's and Newcombe's for proportions.

Intervals of means are percentile bootstraps over problems. A problem is drawn together with all its samples, so the
noise of sampling is counted once, inside the spread of the problem values; drawing the samples again would count it
twice (Davison & Hinkley 1997, section 3.8). Seeds (whole training runs) are a level above: with S > 1 of them, S - 1
are drawn with replacement, which makes the variance of the mean unbiased for few seeds (Rao & Wu 1988). Two systems
are compared on the differences of the problems both have. Everything random is seeded.

Left out: tests of significance and corrections for many comparisons. A score of exactly 0 or 1 on every problem has
an interval of width zero: the bootstrap cannot see what no sample shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

ProblemValues = Mapping[str, float]
"""One number per problem id."""
Benchmarks = Mapping[str, ProblemValues]
"""Problem values by benchmark name."""

DRAWS = 4000
"""Bootstrap draws: the ends of a 95 % interval then move by about 2 % of its width from seed to seed."""


@dataclass(frozen=True)
class Interval:
    """A score with its 95 % interval, and how many problems, samples per problem and seeds stand behind it."""

    value: float
    low: float
    high: float
    n_problems: int
    n_samples: float
    n_seeds: int = 1

    def as_dict(self) -> dict[str, float]:
        """Plain numbers, for scores.json."""
        return asdict(self)


def bootstrap(
    seeds: Sequence[Benchmarks],
    *,
    n_samples: float = math.nan,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean over benchmarks of the mean over problems, with its percentile interval.

    Args:
        seeds: one entry per training seed (or a single one): benchmark -> problem -> value.
        n_samples: samples behind each problem value, handed through to the result.
        level: coverage of the interval.

    Where every seed has the same problems of a benchmark they are drawn once for all seeds (crossed); where a seed
    has problems of its own they are drawn within it (nested).
    Raises ValueError when there is nothing to average or the seeds name different benchmarks.

    >>> found = bootstrap([{"aime25": {"p1": 1.0, "p2": 0.5, "p3": 0.0}}])
    >>> found.value, found.n_problems, found.low <= found.value <= found.high
    (0.5, 3, True)
    """
    if not seeds or not seeds[0] or any(not values for run in seeds for values in run.values()):
        raise ValueError("an interval needs at least one problem in every benchmark")
    names = sorted(seeds[0])
    if any(sorted(run) != names for run in seeds):
        raise ValueError("every seed must have the same benchmarks")
    rng = np.random.default_rng(seed)
    n_seeds = len(seeds)
    means = np.zeros((draws, n_seeds))  # per draw and seed: mean over benchmarks
    value, n_problems = 0.0, set()
    for name in names:
        ids = sorted(seeds[0][name])
        n_problems |= {(name, key) for run in seeds for key in run[name]}
        value += float(np.mean([np.mean(list(run[name].values())) for run in seeds])) / len(names)
        if all(run[name].keys() == seeds[0][name].keys() for run in seeds):
            table = np.array([[run[name][key] for key in ids] for run in seeds])
            means += _resampled_means(table, draws, rng) / len(names)
        else:
            for column, run in enumerate(seeds):
                table = np.array([list(run[name].values())])
                means[:, column] += _resampled_means(table, draws, rng)[:, 0] / len(names)
    if n_seeds == 1:
        totals = means[:, 0]
    else:
        chosen = rng.integers(n_seeds, size=(draws, n_seeds - 1))
        totals = np.take_along_axis(means, chosen, axis=1).mean(axis=1)
    low, high = np.quantile(totals, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), len(n_problems), n_samples, n_seeds)


def _resampled_means(table: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Means of `draws` resamples of the columns (problems) of a (seeds, problems) table: (draws, seeds)."""
    n = table.shape[1]
    out = np.empty((draws, table.shape[0]))
    step = max(1, 4_000_000 // (n * table.shape[0]))
    for start in range(0, draws, step):
        columns = rng.integers(n, size=(min(step, draws - start), n))
        out[start : start + len(columns)] = table[:, columns].mean(axis=2).T
    return out


def shared(runs: Sequence[Benchmarks]) -> list[dict[str, dict[str, float]]]:
    """The runs cut down to the benchmarks and problems that all of them have."""
    names = set.intersection(*(set(run) for run in runs)) if runs else set()
    kept = {name: set.intersection(*(set(run[name]) for run in runs)) for name in sorted(names)}
    return [{name: {key: run[name][key] for key in sorted(ids)} for name, ids in kept.items() if ids} for run in runs]


def paired_difference(system: Sequence[Benchmarks], against: Sequence[Benchmarks], **options: float) -> Interval:
    """How much `system` scores above `against`, on the problems both have, with the interval of the difference.

    Entry i of both sequences is the same training seed, so differences are paired by seed and by problem.
    Keywords as in `bootstrap`. Raises ValueError when the numbers of seeds differ or no problem is shared.

    >>> ours, theirs = {"aime25": {"p1": 1.0, "p2": 0.5}}, {"aime25": {"p1": 0.5, "p2": 0.0, "p3": 1.0}}
    >>> found = paired_difference([ours], [theirs])
    >>> found.value, found.n_problems, found.low
    (0.5, 2, 0.5)
    """
    if len(system) != len(against):
        raise ValueError(f"{len(system)} seeds against {len(against)}: paired seeds are needed")
    differences: list[Benchmarks] = []
    for left, right in zip(system, against, strict=True):
        left, right = shared([left, right])
        if not left:
            raise ValueError("the two systems share no problem")
        differences.append({name: {key: left[name][key] - right[name][key] for key in left[name]} for name in left})
    return bootstrap(differences, **options)  # type: ignore[arg-type]


def bootstrap_statistic(
    statistic: Callable[[np.ndarray], float | None],
    groups: Sequence[np.ndarray],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """The percentile interval of any statistic of rows, whole groups (problems) being drawn.

    Args:
        statistic: takes indices of rows (repeats included); None where it is undefined on them.
        groups: the indices of each problem's rows.

    Returns:
        Its ends, or None where it is undefined on every draw.
    """
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(len(groups), size=len(groups)) for _ in range(draws))
    found = [value for of in drawn if (value := statistic(np.concatenate([groups[g] for g in of]))) is not None]
    if not found:
        return None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilson(count: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a proportion, by scipy.

    >>> low, high = wilson(8, 10)
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)
    """
    from scipy.stats import binomtest  # slow to import

    found = binomtest(count, n).proportion_ci(level, "wilson")
    return float(found.low), float(found.high)


def newcombe(count: int, n: int, base: int, n_base: int, level: float = 0.95) -> tuple[float, float]:
    """Newcombe's interval of the difference `count/n - base/n_base`, from both Wilson intervals (1998, method 10).

    >>> low, high = newcombe(56, 70, 48, 80)  # the example of his paper
    >>> round(low, 4), round(high, 4)
    (0.0524, 0.3339)
    """
    p, p0 = count / n, base / n_base
    (low, high), (low0, high0) = wilson(count, n, level), wilson(base, n_base, level)
    return p - p0 - math.hypot(p - low, high0 - p0), p - p0 + math.hypot(high - p, p0 - low0)


def balanced_threshold(scores: Sequence[float], relevant: Sequence[bool]) -> tuple[float, float]:
    """The score from which on to call something relevant, and its balanced accuracy; of equal ones the lowest.

    Balanced accuracy is (share of relevant ones kept + share of others left out) / 2.

    Args:
        scores, relevant: one of each for everything that was judged; both verdicts occur.

    >>> balanced_threshold([1.0, 2.0, 4.0, 8.0], [False, False, True, True])
    (3.0, 1.0)
    """
    distinct, place = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True)
    truth = np.asarray(relevant, dtype=bool)
    yes, no = (np.bincount(place[which], minlength=len(distinct)) for which in (truth, ~truth))
    kept = np.cumsum(yes[::-1])[::-1] / yes.sum()
    left_out = (np.cumsum(no) - no) / no.sum()
    accuracy = (kept + left_out) / 2
    best = int(np.argmax(accuracy))
    return float(distinct[: best + 1][-2:].mean()), float(accuracy[best])
