"""Labels from RL's rollouts: which traces of a run were followed by more reward, and what is told where none can be."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from rarft.cli import main
from rarft.records.rollouts import Rollout, write_rollouts
from rarft.relevance.labelers.pass_rate import probability_better
from rarft.relevance.labelers.rollouts import compare


def write(folder: Path, rollouts: list[Rollout]) -> list[str]:
    for name, rows in (
        ("problems", [{"id": f"p{i}", "question": f"question {i}", "answer": "1"} for i in range(4)]),
        ("traces", [{"id": f"t{i}", "problem": f"example {i}", "solution": "so"} for i in range(3)]),
    ):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_rollouts(folder / "rollouts.parquet", rollouts, training=True)
    return [
        *("label", "--labeler", "rollouts", "--rollouts", str(folder / "rollouts.parquet")),
        *("--problems", str(folder / "problems.jsonl"), "--traces", str(folder / "traces.jsonl")),
        *("--output", str(folder / "out")),
    ]


def rollout(problem: int, trace: int, sample: int, reward: float, step: int) -> Rollout:
    return Rollout(
        "problems", f"p{problem}", 0, sample, [f"t{trace}"], "text", "1", reward, "correct", 3, False, 9, step, step
    )


def read(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    rows = pq.read_table(folder / "out" / "labels.parquet").to_pylist()
    return {(row["problem_id"], row["trace_id"]): row for row in rows}


def test_the_trace_that_was_followed_by_more_reward_is_relevant_though_the_policy_improves(tmp_path: Path) -> None:
    """Trace 1 helps problems 0 to 2; it came early, when all rewards were low. Problem 3 only ever had trace 2."""
    rng = np.random.default_rng(0)
    rollouts = []
    for problem in range(4):
        for step in range(2):
            trace = 2 if problem == 3 else 1 - step if problem % 2 == 0 else step
            for sample in range(40):
                chance = 0.2 + 0.4 * step + (0.35 if trace == 1 else 0)
                rollouts.append(rollout(problem, trace, sample, float(rng.random() < chance), step + 1))
    assert main(write(tmp_path, rollouts)) == 0
    found = read(tmp_path)
    assert set(found) == {(f"p{p}", f"t{t}") for p in range(3) for t in range(2)}
    for (_, trace), row in found.items():
        assert row["relevant"] == (trace == "t1") and (row["score"] > 0) == (trace == "t1")
        assert row["labeler"] == "rollouts"


def test_the_texts_of_the_rollouts_are_not_read(tmp_path: Path) -> None:
    rows = [replace(rollout(0, i % 2, i, i % 2, 1), completion="x" * 2**20) for i in range(64)]
    command = write(tmp_path, rows)
    tracemalloc.start()
    try:
        assert main(command) == 0
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
    assert read(tmp_path)["p0", "t1"]["relevant"]


def test_compare_is_the_test_of_two_means_with_two_rewards_more_on_either_side() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.1, 1, 400), rng.normal(0, 1, 500)
    score, probability = compare(a, b, 5)
    assert score == pytest.approx(a.mean() - b.mean())
    assert probability == pytest.approx(1 - stats.ttest_ind(a, b, alternative="greater").pvalue, abs=5e-3)
    found = stats.ttest_ind([1, 1, 1, 0.1, 1.1], [0, 0, 0.1, 1.1]).statistic
    assert compare(np.ones(3), np.zeros(2), 1) == (1, pytest.approx(stats.norm.cdf(found)))
    assert compare(np.ones(3) / 10, np.zeros(2), 0.1) == pytest.approx((0.1, stats.norm.cdf(found)))
    assert compare(np.zeros(3), np.zeros(2), 1) == compare(np.zeros(3), np.zeros(2), 0) == (0, 0.5)


@pytest.mark.parametrize(
    "counts", [(1, 1, 0, 1), (1, 1, 0, 31), (2, 2, 0, 2), (3, 3, 0, 2), (6, 8, 3, 8), (5, 16, 9, 99)]
)
def test_right_and_wrong_are_compared_about_as_pass_rate_compares_them(counts: tuple[int, int, int, int]) -> None:
    """Uniform priors of both accuracies are a right and a wrong sample more."""
    right, n, others, n_others = counts
    _, probability = compare(np.arange(n) < right, np.arange(n_others) < others, 1)
    better = probability_better(right, n, others, n_others)
    assert better - 0.08 < probability < better + 0.01


def test_one_right_rollout_against_one_wrong_one_is_not_enough(tmp_path: Path) -> None:
    assert main(write(tmp_path, [rollout(0, i, i, float(i), 1) for i in range(2)])) == 0
    found = read(tmp_path)["p0", "t1"]
    assert found["score"] == 1 and not found["relevant"] and "with probability 0.760" in found["rationale"]


@pytest.mark.parametrize(
    "rollouts, told",
    [
        ([rollout(0, 0, i, 1.0, 1) for i in range(4)], "no problem was sampled with different traces"),
        ([rollout(0, t, 0, 1.0, 1) for t in (0, 7)], "trace t7 is not among the given traces"),
    ],
)
def test_rollouts_that_say_nothing_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rollouts: list[Rollout], told: str
) -> None:
    assert main(write(tmp_path, rollouts)) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_run_has_to_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = write(tmp_path, [])
    del command[3:5]
    assert main(command) == 2
    assert "give its folder with --rollouts" in capsys.readouterr().err
