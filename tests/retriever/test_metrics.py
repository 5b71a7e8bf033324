"""Metrics against values worked out by hand."""

import math

import pytest

from rarft.retriever.metrics import score_rankings

RELEVANT = {"a": ["x", "y"], "b": ["z"], "c": ["q"], "d": ["w"]}
RANKINGS = {"a": ["x", "u", "y"], "b": ["u", "z"], "c": [], "d": ["1", "2", "3", "4", "5", "w"]}


def test_values() -> None:
    scores = score_rankings(RELEVANT, RANKINGS)
    assert scores["R@1"].value == pytest.approx(1 / 4)
    assert scores["R@5"].value == pytest.approx(2 / 4)
    assert scores["R@10"].value == pytest.approx(3 / 4)
    assert scores["MRR"].value == pytest.approx((1 + 1 / 2 + 0 + 1 / 6) / 4)
    ndcg_a = (1 + 1 / math.log2(4)) / (1 + 1 / math.log2(3))
    assert scores["nDCG@10"].value == pytest.approx((ndcg_a + 1 / math.log2(3) + 0 + 1 / math.log2(7)) / 4)


def test_intervals_hold_the_value_and_narrow() -> None:
    few = score_rankings(RELEVANT, RANKINGS)
    many = score_rankings(
        {f"{i}{k}": v for i in range(25) for k, v in RELEVANT.items()},
        {f"{i}{k}": v for i in range(25) for k, v in RANKINGS.items()},
    )
    for name in few:
        assert few[name].low <= few[name].value <= few[name].high
        assert many[name].high - many[name].low < few[name].high - few[name].low
    # Wilson's interval for 25 of 100, from the textbook formula
    assert many["R@1"].low == pytest.approx(0.1755, abs=1e-3)
    assert many["R@1"].high == pytest.approx(0.3430, abs=1e-3)


def test_a_problem_without_ranking_counts_as_zero() -> None:
    assert score_rankings({"a": ["x"], "b": ["y"]}, {"a": ["x"]})["R@1"].value == 0.5
