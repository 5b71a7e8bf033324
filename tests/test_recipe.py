"""Recipes: typed, checked before anything runs, skipped where done, redone where changed."""

import json
import time
from pathlib import Path

import pytest

from rarft.cli import main
from rarft.core.artifacts import read_manifest
from rarft.core.errors import InputError
from rarft.core.stages import Work, find_stages
from rarft.recipe import plan_steps, read_recipe, run_recipe
from rarft.relevance.label import LabelConfig

RECIPE = """
name: small
output: {output}
seed: 3
inputs: {{per_problem: 4}}
stages:
  testbed: {{n_structures: 16, n_warmup: 30, n_train: 12, n_eval: 6, n_corpus: 64}}
  oracle:
    stage: label
    problems: ${{testbed}}/train
    traces: ${{testbed}}/corpus
    labeler: oracle
    candidates: {{per_problem: "${{per_problem}}"}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE.format(output=tmp_path / "run"))
    return path


def made(run: Path) -> dict[str, int]:
    return {p.parent.name: p.stat().st_mtime_ns for p in run.glob("*/manifest.json")}


def test_run_skips_what_is_done_and_redoes_what_changed(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["run", str(recipe)]) == 0
    first = made(run)
    assert set(first) == {"testbed", "oracle"}
    assert read_manifest(run / "oracle")["seed"] == 3  # the recipe's
    assert json.loads((run / "run.json").read_text())["order"] == ["testbed", "oracle"]
    time.sleep(0.01)
    assert main(["run", str(recipe)]) == 0
    assert made(run) == first and capsys.readouterr().err.count("done already") == 2
    assert main(["run", str(recipe), "--inputs.per_problem", "3"]) == 0
    second = made(run)
    assert second["testbed"] == first["testbed"] and second["oracle"] > first["oracle"]
    assert "candidates.per_problem was 4, is 3" in capsys.readouterr().err
    assert main(["run", str(recipe), "--testbed.n-train", "13", "--until", "testbed"]) == 0
    third = made(run)
    assert third["testbed"] > second["testbed"] and third["oracle"] == second["oracle"]
    assert main(["run", str(recipe), "--testbed.n-train", "13"]) == 0  # its input changed
    assert made(run)["oracle"] > third["oracle"]
    assert main(["run", str(recipe), "--testbed.n-train", "13", "--from", "oracle"]) == 0
    assert "oracle (redone, as asked)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("labeler: oracle", "labeller: oracle", "stage oracle: unknown key `labeller`; did you mean `labeler`?"),
        ("stage: label", "stage: lable", "no stage `lable`; did you mean `label`?"),
        ("{testbed}/train", "{tesbed}/train", "no input or earlier stage; did you mean `testbed`?"),
        ("seed: 3", "sede: 3", "unknown key `sede`; did you mean `seed`?"),
        ("per_problem: 4", "per_problem: four", "should be a valid integer"),
        ("problems: ${testbed}/train", "problems: nowhere.jsonl", "stage oracle: problems is nowhere.jsonl"),
        ("name: small", "name: [", "not a YAML file"),
        ("seed: 3", "seed: -1", "`seed`: Input should be greater than or equal to 0"),
        ("seed: 3", "seed: 3\nsizes: {x: -1}", "`sizes.x`: Input should be greater than or equal to 0"),
        ("name: small", "? [a]\n: b", "a key is a list or a mapping"),
        ("name: small", "name: small\nname: again", "key `name` stands twice; keep one"),
        ("per_problem: 4}", "per_problem: 4, testbed: x}", "would name an input too; give one of them another name"),
        ("  testbed: {", "  ../victim: {", "its name is a folder's; use letters"),
        ("  testbed: {", "  .: {", "its name is a folder's; use letters"),
        ("  testbed: {", "  /tmp/victim: {", "its name is a folder's; use letters"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(
    recipe: Path, tmp_path: Path, old: str, new: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = recipe.read_text()
    assert old in text
    recipe.write_text(text.replace(old, new))
    assert main(["run", str(recipe)]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert not (tmp_path / "run" / "testbed").exists()


PAIRS = """
name: pairs
output: {folder}/run
stages:
  one: {{stage: label, labeler: oracle, problems: {folder}/problems.jsonl, traces: {folder}/traces.jsonl}}
  two: {{stage: label, labeler: oracle, problems: {folder}/problems.jsonl, traces: {folder}/traces.jsonl}}
"""


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A recipe of two quick stages."""
    rows = [{"id": f"p{i}", "question": f"{i} and {i * 7}?", "answer": "1", "structure": i % 2} for i in range(4)]
    traces = [{"id": f"t{i}", "problem": f"Told {i * 3}.", "solution": "so", "structure": i % 2} for i in range(4)]
    for name, values in (("problems", rows), ("traces", traces)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in values))
    path = tmp_path / "pairs.yaml"
    path.write_text(PAIRS.format(folder=tmp_path))
    return path


def test_from_deletes_nothing_that_no_stage_made(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, victim = tmp_path / "run" / "one" / "mine.txt", tmp_path / "victim" / "mine.txt"
    for file in (mine, victim):
        file.parent.mkdir(parents=True)
        file.write_text("mine")
    assert main(["run", str(pairs), "--from", "one"]) == 2
    assert "not a finished stage" in capsys.readouterr().err
    for name in ("../victim", "../../victim", ".", "..", str(tmp_path / "victim"), ""):
        assert main(["run", str(pairs), "--from", name]) == 2
    assert mine.read_text() == victim.read_text() == "mine"


def test_a_redo_that_is_cut_off_keeps_old_results_and_goes_on(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    assert main(["run", str(pairs)]) == 0
    first = made(run)
    label = find_stages()["label"]
    function, calls = label.function, []

    def cut_off(config: LabelConfig, work: Work) -> None:
        calls.append(work.path.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        function(config, work)

    monkeypatch.setattr(label, "function", cut_off)
    time.sleep(0.01)
    assert main(["run", str(pairs), "--from", "one"]) == 130
    second = made(run)
    assert second["one"] > first["one"] and second["two"] == first["two"]  # the old one stays
    assert main(["run", str(pairs)]) == 0  # the same command without --from goes on
    third = made(run)
    assert third["one"] == second["one"] and third["two"] > second["two"]
    assert calls == [".one.partial", ".two.partial", ".two.partial"]
    assert main(["run", str(pairs)]) == 0 and made(run) == third


def test_references_keep_types_and_name_what_a_stage_needs(recipe: Path) -> None:
    testbed, oracle = plan_steps(read_recipe(recipe))
    assert oracle.needs == ("testbed",) and oracle.config.candidates.per_problem == 4
    assert oracle.config.problems == f"{testbed.output}/train"


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"from": 3, "left": 4}'], ids=range(5))
def test_a_damaged_note_of_what_to_redo_is_told(
    text: bytes, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "redo.json").write_bytes(text)
    assert main(["run", str(recipe)]) == 2
    assert "redo.json: damaged" in capsys.readouterr().err and not (tmp_path / "run" / "testbed").exists()


def test_unknown_stage_names(recipe: Path) -> None:
    with pytest.raises(InputError, match="did you mean `oracle`"):
        run_recipe(read_recipe(recipe), until="oracel")
    with pytest.raises(InputError, match=r"unknown flag `--orcale.seed`; did you mean `oracle`"):
        read_recipe(recipe, {"orcale.seed": 1})


def test_an_output_that_no_folder_can_have(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(recipe), "--output", "a\0b"]) == 2
    assert "cannot be written (" in capsys.readouterr().err
