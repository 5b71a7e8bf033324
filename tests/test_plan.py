"""One dry run: `rarft STAGE --dry-run` and `rarft run --dry-run` count the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rarft.cli import main
from rarft.core.stages import find_stages
from rarft.recipe import read_recipe
from rarft.records.problems import load_problems, load_traces

PARTS = {
    "label": "labeler: pass-rate, model: m, candidates: {per_problem: 3}",
    "train": "model: m, steps: 5, prompts_per_step: 4",
    "index": "retriever: bm25",
    "train-retriever": "labels: labels.parquet",
    "retrieve": "index: m, top_k: 2",
    "evaluate": "model: m, samples: 4",
    "prepare": "max_problems: 4",
    "audit": "labels: [labels.parquet, labels.parquet]",
    "evaluate-retriever": "labels: labels.parquet, retriever: m",
    "report": "runs: [m]",
    "reasoning-gym": "n_train: 4",
}


@pytest.mark.parametrize("stage", PARTS)
def test_both_dry_runs_count_the_same(
    stage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    (tmp_path / "labels.parquet").write_bytes(b"")
    for name, column in (("problems", "question"), ("traces", "problem")):
        rows = [
            {"id": f"{name}{i}", column: f"{name} {i} {'so on ' * i}", "answer": "1", "solution": "1"} for i in range(9)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = find_stages()[stage].config_type.model_fields
    options = ", ".join(f"{name}: {name}.jsonl" for name in ("problems", "traces") if name in fields)
    section = ", ".join(filter(None, (options, PARTS[stage])))
    (tmp_path / "recipe.yaml").write_text(f"name: r\noutput: run\nstages:\n  one: {{stage: {stage}, {section}}}\n")
    (tmp_path / "stage.yaml").write_text(f"{{{section}}}")
    assert main(["run", "recipe.yaml", "--dry-run"]) == 0
    walked = capsys.readouterr().out
    assert main([stage, "--config", "stage.yaml", "--dry-run"]) == 0
    alone = dict(re.findall(r"^([a-z ]+?)  +([\d,?]+)$", capsys.readouterr().out, re.M))
    assert alone and alone == {
        what: count for count, what in re.findall(r"([\d,?]+) ([a-z][a-z ]*)(?=,|\n)", walked.split("\n")[1] + "\n")
    }
    assert not (tmp_path / "run").exists()


RECIPES = Path(__file__).parents[1] / "recipes"
OURS = [*RECIPES.glob("*.yaml"), *RECIPES.with_name("benchmarks").glob("*.yaml")]


@pytest.mark.parametrize("recipe", sorted(OURS), ids=lambda path: path.stem)
def test_our_recipes_can_be_planned(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = main(["run", str(recipe), "--dry-run"]), capsys.readouterr()
    if recipe.with_name(f"{recipe.stem}_data.py").is_file():  # makes what is missing
        assert code == 2 and f"data/{recipe.stem}/train_problems.jsonl, and no such file" in said.err
    else:
        assert code == 0 and "in all: " in said.out
        assert " ".join(read_recipe(recipe).description.split()) in " ".join(said.out.split())


def test_mbpp_becomes_problems_and_traces(tmp_path: Path) -> None:
    """From rows as MBPP's own file has them, one of each split and one of the prompts, which no split has."""
    tests = ["assert twice(2) == 4", "assert twice(3) == 6"]
    rows = [
        {"task_id": task, "text": f"Write a program to double {task}.", "code": "def twice(n):\r\n  return 2 * n\r\n",
         "test_list": tests, "test_setup_code": "import math" if task == 600 else ""} for task in (10, 11, 600, 601)
    ]  # fmt: skip
    (tmp_path / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, str(RECIPES / "mbpp_data.py"), "--rows", "mbpp.jsonl", "--output", "out"]
    subprocess.run(command, cwd=tmp_path, check=True)
    (problem,) = load_problems(str(tmp_path / "out" / "train_problems.jsonl"))
    assert problem.question == "Write a program to double 601.\nIt must satisfy: assert twice(2) == 4"
    assert problem.extra["tests"] == "\n".join(tests)
    traces = load_traces(str(tmp_path / "out" / "train_traces.jsonl"))
    assert [trace.id for trace in traces] == ["mbpp-600", "mbpp-601"]
    assert traces[0].solution == "```python\ndef twice(n):\n  return 2 * n\n```"
    (held_out,) = load_problems(str(tmp_path / "out" / "test_problems.jsonl"))
    assert held_out.id == "mbpp-11"
