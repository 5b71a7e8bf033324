"""The paper benchmark: its recipes are whole, its arms exist, and verdicts follow from intervals alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.paper.claims import CLAIMS, RETRIEVERS, TABLES, verdict  # noqa: E402
from rarft.recipe import plan_steps, read_recipe  # noqa: E402
from rarft.stats import Interval  # noqa: E402


def interval(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 10, 4)


@pytest.mark.parametrize(
    ("low", "high", "above", "below"),
    [
        (0.1, 0.2, "reproduced", "not reproduced"),
        (-0.2, -0.1, "not reproduced", "reproduced"),
        (-0.1, 0.2, "inconclusive", "inconclusive"),
        (0.0, 0.0, "inconclusive", "inconclusive"),
    ],
)
def test_verdicts(low: float, high: float, above: str, below: str) -> None:
    assert verdict(interval(low, high), +1) == above
    assert verdict(interval(low, high), -1) == below


def test_every_claim_and_table_names_an_arm_of_the_recipe() -> None:
    recipe = read_recipe(ROOT / "benchmarks/paper/cpu.yaml")
    arms = {arm.name for arm in recipe.arms}
    named = {name for claim in CLAIMS for name in (claim.left, claim.right)}
    named |= {name for rows in TABLES.values() for name, _ in rows}
    assert named == arms
    steps = {step.name: step for step in plan_steps(recipe)}
    assert {stage for stage, _ in RETRIEVERS.values()} <= set(steps)
    evaluated = {arm.evaluate for arm in recipe.arms}
    for name in evaluated:
        assert steps[name].config.problems == steps["score-base"].config.problems
        assert steps[name].config.samples == steps["score-base"].config.samples


def test_arms_of_a_pair_differ_in_retrieval_alone() -> None:
    steps = {step.name: step for step in plan_steps(read_recipe(ROOT / "benchmarks/paper/cpu.yaml"))}
    for plain, ours in [("grpo", "ra-grpo"), ("rloo", "ra-rloo"), ("dapo", "ra-dapo"), ("sft", "ra-sft")]:
        left, right = (steps[name].config.model_dump() for name in (plain, ours))
        assert {key for key in left if left[key] != right[key]} == {"retrieval"}


def test_tables_of_runs_that_have_nothing_yet(tmp_path: Path) -> None:
    seed = tmp_path / "seed-0"
    seed.mkdir()
    (seed / "run.json").write_text(json.dumps({"name": "paper-cpu", "seed": 0, "order": [], "arms": []}))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.paper", "--scale", "cpu", "--tables-only", "--seeds", "0", "--output",
         str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "not run" in (tmp_path / "results.md").read_text()
    results = json.loads((tmp_path / "results.json").read_text())
    assert {row["verdict"] for row in results["claims"]} == {"not run"}


def test_out_of_time_kills_what_runs_and_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.paper", "--scale", "cpu", "--seeds", "0", "--jobs", "1", "--minutes",
         "0.001", "--output", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 75, done.stderr
    assert "start the same command again" in done.stderr
