"""The library: functions that tests tell apart, solutions that pass them, splits and names that give nothing away."""

from __future__ import annotations

import ast
import re
import sys
import types
from pathlib import Path

import pytest

from rarft.core.artifacts import read_manifest
from rarft.records.problems import load_problems, load_traces
from rarft.records.same_problem import near_identical
from rarft.rewards import verify
from rarft.rewards.problems import verify_problems
from rarft.testbed.config import TestbedConfig
from rarft.testbed.leaks import find_leaks, lexical_recall
from rarft.testbed.library.code import MODULE
from rarft.testbed.library.functions import FUNCTIONS, NAMES
from rarft.testbed.library.problems import generate
from rarft.testbed.library.themes import THEMES
from rarft.testbed.testbed import make_testbed

CONFIG = TestbedConfig(domain="library", seed=5, n_train=150, n_eval=100, n_corpus=320)


@pytest.fixture(scope="module")
def dealt():
    return generate(CONFIG)


@pytest.fixture(scope="module")
def made(dealt):
    return dealt[0]


@pytest.fixture
def passes(monkeypatch):
    """Whether a solution passes an item's tests with that item's library; all of it is our own code."""

    def run(solution: str, item) -> bool:
        module = types.ModuleType(MODULE)
        exec(item.columns["modules"][MODULE], module.__dict__)
        monkeypatch.setitem(sys.modules, MODULE, module)
        space: dict = {}
        try:
            exec(re.fullmatch(r"```python\n(.*)\n```", solution, re.DOTALL)[1], space)
            for test in item.columns["tests"]:
                exec(test, space)
        except (AssertionError, TypeError, ValueError, IndexError, AttributeError, KeyError):
            return False
        return True

    return run


def test_there_is_enough_of_everything():
    assert len(FUNCTIONS) >= 48 and len(THEMES) >= 24 and len(set(NAMES)) == len(NAMES) >= len(FUNCTIONS)
    assert all(len(set(wants)) == len(wants) >= 6 for wants in FUNCTIONS.values())
    assert all(len(texts) == 5 for texts in THEMES.values())


def test_each_solution_passes_its_tests_and_what_misleads_does_not(made, passes):
    for part in made:
        assert all(passes(item.solution, item) for item in made[part][:80])
    for item in made["eval"][:40]:
        alike = [t for t in made["corpus"] if t.place == item.place]
        assert alike and not any(passes(t.solution.replace(t.columns["argument"], "x"), item) for t in alike[:5])
    for item, swapped in zip(made["eval"][:40], made["swapped/eval"][:40], strict=True):
        assert item.columns["tests"] == swapped.columns["tests"] and item.question == swapped.question
        assert not passes(item.solution, swapped)


def test_a_precedent_shows_the_whole_call(made):
    for item in made["eval"][:50]:
        names = re.search(r"import (.*)\n", item.solution)[1]
        precedents = [t for t in made["corpus"] if t.structure == item.structure]
        assert precedents and all(f"import {names}\n" in t.solution for t in precedents)


def test_names_say_nothing_and_the_library_is_in_no_text(dealt):
    made, house, other = dealt
    assert house.names.keys() == other.names.keys() and set(house.names.values()) == set(other.names.values())
    assert all(house.names[key] != other.names[key] for key in house.names)
    wants = " ".join(text for texts in (*FUNCTIONS.values(), *THEMES.values()) for text in texts).lower()
    assert not set(house.names.values()) & set(re.findall("[a-z]+", wants))
    for item in (i for items in made.values() for i in items):
        assert not set(house.names.values()) & set(re.findall("[a-z]+", item.question))
        assert "lambda" not in item.solution and "return x" not in item.solution and "{" not in item.question


def test_tests_hold_literals_alone(made):
    for item in made["eval"]:
        for test in item.columns["tests"]:
            call = ast.parse(test).body[0].test
            assert call.left.func.id == item.columns["entry_point"] == "solve"
            ast.literal_eval(call.left.args[0])
            ast.literal_eval(call.comparators[0])


@pytest.mark.parametrize("seed", range(4))
def test_no_leak_under_any_seed(seed):
    assert find_leaks(generate(CONFIG.model_copy(update={"seed": seed}))[0]) == []


@pytest.mark.parametrize("seed", range(4))
def test_no_other_use_passes_the_tests_of_a_problem(seed):
    """Of all that the corpus shows, whatever it takes: a function's rival may be one for another kind of argument."""
    made, house, _ = generate(CONFIG.model_copy(update={"seed": seed}))
    space: dict = {}
    exec(house.source, space)
    uses = {item.structure for item in made["corpus"]}
    assert set(house.names) < uses
    for item in (*made["train"], *made["eval"], *made["eval-seen"]):
        cases = [ast.parse(test).body[0].test for test in item.columns["tests"]]
        inputs = [ast.literal_eval(case.left.args[0]) for case in cases]
        wanted = [ast.literal_eval(case.comparators[0]) for case in cases]

        def makes(use: str, inputs=inputs, wanted=wanted, k=item.columns["k"]) -> bool:
            try:
                values = inputs
                for function in (space[house.names[key]] for key in use.split("+")):
                    two = function.__code__.co_argcount == 2
                    values = [function(value, k) if two else function(value) for value in values]
                return values == wanted
            except (TypeError, ValueError, IndexError, AttributeError):
                return False

        assert [use for use in uses if makes(use)] == [item.structure], item.question


def test_looks_lead_nowhere_and_no_guard_blocks_a_precedent(made):
    assert lexical_recall(made) <= 0.1
    for item in made["eval"][:40]:
        for trace in made["corpus"]:
            assert not (trace.structure == item.structure and near_identical(item.question, trace.question))


def test_files_are_what_the_code_reward_takes(tmp_path: Path, have_sandbox):
    folder = make_testbed(CONFIG, tmp_path / "one")
    for part in ("eval", "swapped/eval"):
        problems, traces = load_problems(str(folder / part))[:12], load_traces(str(folder / part))
        own = {t.id: t.solution for t in traces}
        assert problems[0].answer is None and problems[0].extra["tests"]
        verdicts = verify_problems(problems, [own[p.id] for p in problems], "code")
        assert [v.reason for v in verdicts] == ["correct"] * 12
        others = [own[p.id] for p in problems[1:] + problems[:1]]
        assert all(v.reward == 0 for v in verify_problems(problems, others, "code"))
    text = (folder / "lib" / f"{MODULE}.py").read_text()
    assert load_problems(str(folder / "eval"))[0].extra["modules"] == {MODULE: text}
    again = make_testbed(CONFIG, tmp_path / "two")
    assert read_manifest(again)["digest"] == read_manifest(folder)["digest"]


@pytest.fixture
def have_sandbox():
    from rarft.rewards.sandbox import refusal

    if (why := refusal()) is not None:
        pytest.skip(why)
    assert verify([""], ["def f():\n    return 1"], name="code", extras=[{"tests": "assert f() == 1"}])[0].reward == 1
