"""Metrics against enumeration by hand, against scipy's bootstrap, and by the coverage of simulated intervals."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap as scipy_bootstrap

from rarft import stats
from rarft.evaluation import metrics


@pytest.mark.parametrize(("n", "c"), [(5, 0), (5, 2), (6, 5), (7, 7), (1, 1)])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(n: int, c: int) -> None:
    right = [True] * c + [False] * (n - c)
    for k in range(1, n + 1):
        subsets = [any(subset) for subset in itertools.combinations(right, k)]
        assert metrics.pass_at_k(n, c, k) == pytest.approx(np.mean(subsets))


def test_pass_at_k_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    p, n, k = 0.3, 8, 3
    estimates = [metrics.pass_at_k(n, int(rng.binomial(n, p)), k) for _ in range(20_000)]
    assert np.mean(estimates) == pytest.approx(1 - (1 - p) ** k, abs=0.01)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 2, 0), (4, 2, 5), (4, 5, 2), (4, -1, 2)])
def test_pass_at_k_refuses_impossible_counts(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError):
        metrics.pass_at_k(n, c, k)


def enumerate_maj(answers: list[str | None], rewards: list[float], k: int) -> float:
    """Majority of every subset, ties shared; written without the code under test."""
    shares = []
    for subset in itertools.combinations(range(len(answers)), k):
        counts = Counter(answers[i] for i in subset if answers[i] is not None)
        top = [a for a, c in counts.items() if c == max(counts.values())] if counts else []
        right = [a for a in top if any(answers[i] == a and rewards[i] == 1 for i in subset)]
        shares.append(len(right) / len(top) if top else 0.0)
    return float(np.mean(shares))


@pytest.mark.parametrize("k", [1, 2, 3, 5, 6])
def test_maj_at_k_is_the_mean_over_subsets(k: int) -> None:
    answers: list[str | None] = ["4", "4", "7", "7", "9", None]
    rewards = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    value = metrics.maj_at_k(answers, rewards, k, draws=4000)
    assert value == pytest.approx(enumerate_maj(answers, rewards, k), abs=0.03)


def test_maj_at_k_joins_spellings_of_one_answer() -> None:
    assert metrics.maj_at_k(["1/2", "0.5", "3", "3"], [1, 1, 0, 0], 4) == 0.5
    assert metrics.maj_at_k(["1/2", "2", "4/2", "2.0"], [1, 0, 0, 0], 4) == 0.0
    assert metrics.maj_at_k(["1/2", "0.5", "3", "x"], [1, 1, 0, 0], 4) == 1.0
    assert metrics.maj_at_k([None, None], [0, 0], 2) == 0.0


def test_maj_at_1_and_pass_at_1_are_avg_at_k_when_all_answer() -> None:
    answers, rewards = ["1", "2", "3", "1"], [1.0, 0.0, 0.0, 1.0]
    assert metrics.pass_at_k(4, 2, 1) == metrics.avg_at_k(rewards) == 0.5
    assert metrics.maj_at_k(answers, rewards, 1, draws=4000) == pytest.approx(0.5, abs=0.03)


def test_interval_agrees_with_scipy() -> None:
    rng = np.random.default_rng(1)
    rewards = rng.random((60, 8)) < rng.beta(0.5, 1, size=(60, 1))
    values = rewards.mean(axis=1)
    ours = stats.bootstrap([{"b": {str(i): float(v) for i, v in enumerate(values)}}], draws=20_000)
    theirs = scipy_bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=2)
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.004)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.004)
    assert ours.n_problems == 60


def test_overall_is_the_mean_of_benchmarks_not_of_problems() -> None:
    run = {"small": {"a": 1.0, "b": 1.0}, "large": {str(i): 0.0 for i in range(50)}}
    assert stats.bootstrap([run]).value == 0.5


def coverage(n_seeds: int, seed_sd: float, trials: int = 300) -> float:
    """Share of simulated experiments whose interval holds the truth (0.4)."""
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(trials):
        difficulty = rng.normal(0, 0.2, size=40)
        runs = []
        for _ in range(n_seeds):
            p = np.clip(0.4 + difficulty + rng.normal(0, seed_sd), 0, 1)
            samples = rng.random((8, 40)) < p
            runs.append({"b": {str(i): float(v) for i, v in enumerate(samples.mean(axis=0))}})
        interval = stats.bootstrap(runs, draws=400)
        held += interval.low <= 0.4 <= interval.high
    return held / trials


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    assert 0.90 <= coverage(n_seeds=1, seed_sd=0.0) <= 0.985
    assert 0.90 <= coverage(n_seeds=8, seed_sd=0.1) <= 0.985


def test_seeds_that_differ_widen_the_interval() -> None:
    problems = [str(i) for i in range(100)]
    same = [{"b": {key: 0.5 for key in problems}} for _ in range(3)]
    apart = [{"b": {key: value for key in problems}} for value in (0.3, 0.5, 0.7)]
    assert stats.bootstrap(same).high - stats.bootstrap(same).low == pytest.approx(0)
    wide = stats.bootstrap(apart)
    assert wide.value == pytest.approx(0.5)
    assert (wide.low, wide.high) == (pytest.approx(0.3), pytest.approx(0.7))
    assert wide.n_seeds == 3


def test_variance_of_the_mean_over_few_seeds_is_unbiased() -> None:
    seeds = (0.2, 0.5, 0.6)
    rng_free = np.var(seeds, ddof=1) / 3  # the textbook variance of a mean of three
    runs = [{"b": {"x": value}} for value in seeds]
    means = [stats.bootstrap(runs, draws=1, seed=i).low for i in range(4000)]
    assert np.var(means) == pytest.approx(rng_free, rel=0.06)


def test_paired_difference_is_tighter_than_two_intervals() -> None:
    rng = np.random.default_rng(4)
    hard = rng.random(80)
    left = {"b": {str(i): float(min(1, v + 0.05)) for i, v in enumerate(hard)}}
    right = {"b": {str(i): float(v) for i, v in enumerate(hard)} | {"only here": 1.0}}
    gap = stats.paired_difference([left], [right])
    expected = np.mean([left["b"][str(i)] - v for i, v in enumerate(hard)])
    assert gap.value == pytest.approx(expected)
    assert gap.n_problems == 80
    assert 0 < gap.low < gap.high < 0.06
    assert stats.bootstrap([left]).low < stats.bootstrap([right]).high
    order = scipy_bootstrap(
        (np.array([left["b"][str(i)] - v for i, v in enumerate(hard)]),), np.mean, method="percentile", rng=1
    )
    assert gap.low == pytest.approx(order.confidence_interval.low, abs=0.002)


def test_seeds_with_problems_of_their_own_are_nested() -> None:
    rng = np.random.default_rng(5)
    runs = [{"b": {f"{seed}-{i}": float(v) for i, v in enumerate(rng.random(30))}} for seed in range(4)]
    interval = stats.bootstrap(runs)
    assert interval.n_problems == 120
    everything = [v for run in runs for v in run["b"].values()]
    assert interval.value == pytest.approx(np.mean(everything))
    assert interval.low < interval.value < interval.high


def test_refusals() -> None:
    with pytest.raises(ValueError, match="share no problem"):
        stats.paired_difference([{"b": {"x": 1.0}}], [{"b": {"y": 1.0}}])
    with pytest.raises(ValueError, match="paired seeds"):
        stats.paired_difference([{"b": {"x": 1.0}}], [])
    with pytest.raises(ValueError, match="at least one problem"):
        stats.bootstrap([{}])
    with pytest.raises(ValueError, match="same benchmarks"):
        stats.bootstrap([{"a": {"x": 1.0}}, {"b": {"x": 1.0}}])


def test_a_huge_exponent_is_a_vote_like_any_other() -> None:
    assert metrics.normal_answer("1e999999999") == "1e999999999"
    assert metrics.normal_answer("1e9_9_9_9_9_9_9_9_9") == "1e9_9_9_9_9_9_9_9_9"
    assert metrics.normal_answer("1e3") == metrics.normal_answer("1,000")


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=30))
def test_no_other_score_does_better(pairs: list[tuple[int, bool]]) -> None:
    scores, truth = [s / 10 for s, _ in pairs], [t for _, t in pairs]
    if len(set(truth)) < 2:
        return

    def accuracy(at: float) -> float:
        kept = [s >= at for s in scores]
        right = [sum(k == t for k, t in zip(kept, truth, strict=True) if t == which) / truth.count(which)
                 for which in (True, False)]  # fmt: skip
        return sum(right) / 2

    value, best = stats.balanced_threshold(scores, truth)
    assert best == pytest.approx(accuracy(value))
    assert all(accuracy(at) <= best + 1e-12 for at in np.linspace(-0.1, 1.1, 49))
