"""Scores from rollouts, against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rarft.evaluation.scores import problem_values, scores
from rarft.records.rollouts import Rollout


def rollout(problem: str, sample: int, answer: str | None, gold: str = "4", benchmark: str = "b", **more) -> Rollout:
    right = answer == gold
    reason = "correct" if right else ("wrong" if answer else "no_answer")
    defaults = {"context": 0, "trace_ids": [], "completion": f"so {answer}", "n_tokens": 10, "truncated": False}
    return Rollout(benchmark, problem, sample=sample, answer=answer, reward=float(right), reason=reason,
                   **(defaults | more))  # fmt: skip


@pytest.fixture
def rows() -> list[Rollout]:
    answers = {"p": ["4", "4", "1", None], "q": ["2", "2", "4", "2"], "r": [None] * 4}
    return [rollout(key, i, answer) for key, given in answers.items() for i, answer in enumerate(given)]


def test_scores_by_hand(rows: list[Rollout]) -> None:
    found = scores(rows)
    block = found["overall"]
    assert found["k"] == 4
    assert block["avg@k"]["value"] == pytest.approx((2 / 4 + 1 / 4 + 0) / 3)
    assert block["pass@k"]["value"] == pytest.approx(2 / 3)
    assert block["maj@k"]["value"] == pytest.approx(1 / 3)
    assert block["pass_curve"]["1"] == pytest.approx(block["avg@k"]["value"])
    assert block["share_extracted"] == pytest.approx(7 / 12)
    assert block["reasons"] == pytest.approx({"correct": 3 / 12, "no_answer": 5 / 12, "wrong": 4 / 12})
    for metric in ("avg@k", "pass@k", "maj@k"):
        entry = block[metric]
        assert entry["low"] <= entry["value"] <= entry["high"]
        assert (entry["n_problems"], entry["n_samples"]) == (3, 4)


def test_overall_weighs_benchmarks_alike(rows: list[Rollout]) -> None:
    other = [rollout("x", i, "4", benchmark="c") for i in range(4)]
    found = scores(rows + other)
    assert set(found["benchmarks"]) == {"b", "c"}
    assert found["benchmarks"]["c"]["avg@k"]["value"] == 1.0
    assert found["overall"]["avg@k"]["value"] == pytest.approx((0.25 + 1.0) / 2)


def test_row_order_does_not_matter(rows: list[Rollout]) -> None:
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    assert scores(shuffled, k=2) == scores(rows, k=2)


def test_k_below_the_samples(rows: list[Rollout]) -> None:
    assert problem_values(rows, "pass", 2)["b"]["p"] == pytest.approx(1 - 1 / 6)  # one pair of six has no right answer
    with pytest.raises(ValueError, match="needs 1 <= k"):
        scores(rows, k=5)
