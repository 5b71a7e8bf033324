"""avg@k, pass@k, maj@k and their 95 % intervals: pure functions on rewards and answers.

A *problem value* is one number per problem: its mean reward, its pass@k or its maj@k. A system's score is the mean
of its problem values within a benchmark, and the mean of its benchmarks overall (the "mean" column of the paper's
tables). Everything random here is seeded; the same rollouts give the same figures.

Intervals are percentile bootstraps over problems. A problem is drawn together with all its samples, so the noise of
sampling is counted once, inside the spread of the problem values; drawing the samples again would count it twice
(Davison & Hinkley 1997, section 3.8). Seeds (whole training runs) are a level above: with S > 1 of them, S - 1 are
drawn with replacement, which makes the variance of the mean unbiased for few seeds (Rao & Wu 1988). Two systems are
compared on the differences of the problems both have.

Left out: tests of significance and corrections for many comparisons. A score of exactly 0 or 1 on every problem has
an interval of width zero: the bootstrap cannot see what no sample shows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction

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


def avg_at_k(rewards: Sequence[float]) -> float:
    """Mean reward of a problem's k samples (the paper's average@32 for k = 32)."""
    if not len(rewards):
        raise ValueError("avg@k of no samples")
    return float(np.mean(rewards))


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased estimate of P(at least one of k samples is right) from n samples (Chen et al. 2021, eq. 1)."""
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs 1 <= k <= {n} samples")
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} right answers among {n} samples")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def normal_answer(answer: str | None) -> str | None:
    """The form in which two answers count as the same vote: a number by its value, other text without spaces."""
    if answer is None:
        return None
    text = answer.strip().strip("$").replace("\\dfrac", "\\frac").replace("\\!", "").replace("\\,", "")
    text = "".join(text.split()).rstrip(".")
    if not text:
        return None
    try:
        return str(Fraction(text.replace(",", "")))
    except (ValueError, ZeroDivisionError):
        return text


def maj_at_k(
    answers: Sequence[str | None], rewards: Sequence[float], k: int, *, draws: int = 256, seed: int = 0
) -> float:
    """Chance that the most frequent answer of k samples is right; ties are broken evenly.

    A sample without an answer does not vote. Right answers (reward >= 0.5) are one vote whatever their spelling,
    because the verifier found each equal to the gold answer; wrong ones are told apart by `normal_answer`.
    With k below the number of samples it is the mean over `draws` random subsets of size k.
    """
    n = len(answers)
    if n != len(rewards):
        raise ValueError(f"{n} answers but {len(rewards)} rewards")
    if not 1 <= k <= n:
        raise ValueError(f"maj@{k} needs 1 <= k <= {n} samples")
    right = "\0right"
    votes = [right if reward >= 0.5 else normal_answer(answer) for answer, reward in zip(answers, rewards, strict=True)]

    def won(subset: Sequence[str | None]) -> float:
        counts = Counter(vote for vote in subset if vote is not None)
        if not counts:
            return 0.0
        most = max(counts.values())
        winners = [vote for vote, count in counts.items() if count == most]
        return (right in winners) / len(winners)

    if k == n:
        return won(votes)
    rng = np.random.default_rng(seed)
    return float(np.mean([won([votes[i] for i in rng.permutation(n)[:k]]) for _ in range(draws)]))


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
