"""The audit's measures against scikit-learn, and the stage on label files made for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from rarft.cli import main
from rarft.records.labels import Label, LabelWriter
from rarft.relevance.audit import compare, comparisons, kappa


def test_measures_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.random(50) < 0.4, rng.random(50) < 0.3
        scores = rng.integers(0, 6, 50).astype(float)  # with ties
        assert kappa(a, b) == pytest.approx(cohen_kappa_score(a, b))
        won, compared = comparisons(scores, b)
        assert won / compared == pytest.approx(roc_auc_score(b, scores))
    assert comparisons(np.zeros(3), np.array([True, True, True])) == (0, 0)
    assert kappa(np.array([True, True]), np.array([True, True])) is None


def make(path: Path, rows: list[Label]) -> str:
    with LabelWriter(path) as out:
        for row in rows:
            out.write(row)
    return str(path)


def noisy(seed: int, wrong: float, name: str, n_problems: int = 60) -> list[Label]:
    rng = np.random.default_rng(seed)
    rows = []
    for p in range(n_problems):
        for t in range(10):
            relevant = (t % 4 == 0) != (rng.random() < wrong)
            rows.append(Label(f"p{p}", f"t{t}", bool(relevant), float(relevant) + rng.normal() * 0.1, name, ""))
    return rows


def test_intervals_hold_the_truth_and_narrow_with_more_problems() -> None:
    wide = compare(noisy(0, 0, "a", 15), noisy(1, 0.2, "b", 15), 500, 0)["agreement"]
    narrow = compare(noisy(0, 0, "a", 240), noisy(1, 0.2, "b", 240), 500, 0)["agreement"]
    assert narrow["low"] < 0.8 < narrow["high"]
    assert narrow["high"] - narrow["low"] < (wide["high"] - wide["low"]) / 2


def test_auc_compares_pairs_of_one_problem_only() -> None:
    """Scores that rank every problem's pairs right, each on a scale of its own, as easy and hard ones have."""
    rows = noisy(0, 0, "a", 20)
    scaled = [row._replace(score=row.score + 10 * int(row.problem_id[1:])) for row in rows]
    found = compare(scaled, rows, 100, 0)
    assert found["auc_a_for_b"]["value"] == found["auc_b_for_a"]["value"] == 1.0


def test_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = make(tmp_path / "truth.parquet", noisy(0, 0.0, "pass-rate"))
    judge = make(tmp_path / "judge.parquet", noisy(1, 0.1, "judge"))
    coin = make(tmp_path / "coin.parquet", noisy(2, 0.5, "likelihood"))
    assert main(["audit", judge, truth, coin, "--resamples", "200", "--output", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out" / "audit.json").read_text())
    good, bad = result["comparisons"][0], result["comparisons"][2]
    assert good["n_pairs"] == 600 and good["n_problems"] == 60
    assert good["agreement"]["value"] == pytest.approx(0.9, abs=0.03) and good["kappa"]["value"] > 0.6
    assert good["auc_a_for_b"]["low"] > 0.8
    assert bad["kappa"]["low"] < 0 < bad["kappa"]["high"]
    assert bad["auc_b_for_a"]["low"] < 0.5 < bad["auc_b_for_a"]["high"]
    assert "| judge | pass-rate | 600 (60) |" in capsys.readouterr().out


def test_files_that_share_no_pair_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = make(tmp_path / "one.parquet", [Label("p", "t", True, 1.0, "judge", "")])
    two = make(tmp_path / "two.parquet", [Label("p", "other", True, 1.0, "oracle", "")])
    assert main(["audit", one, two, "--output", str(tmp_path / "out")]) == 2
    assert "share no pair" in capsys.readouterr().err
