"""The examples in docstrings and in the docs are run, and say what really comes out."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from rarft import IndexConfig, index
from rarft.records.problems import Trace
from rarft.records.rollouts import Rollout, write_rollouts

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "rarft"
MODULES = sorted(file for file in SOURCES.rglob("*.py") if re.search(r"^\s*>>> ", file.read_text(), re.MULTILINE))
PAGES = sorted(file for file in ROOT.glob("docs/*.md") if "\n>>> " in file.read_text())
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.FAIL_FAST


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(SOURCES)))
def test_examples_of_docstrings(file: Path) -> None:
    name = ".".join(file.relative_to(SOURCES.parent).with_suffix("").parts).removesuffix(".__init__")
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert tried and not failed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_pages(page: Path) -> None:
    if page.name == "rewards-code.md" and not shutil.which("bwrap"):
        pytest.skip("no bubblewrap here")
    failed, tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8", optionflags=FLAGS)
    assert tried and not failed


def test_public_functions_have_an_example() -> None:
    listed = re.findall(r"members: \[(.+)\]", (ROOT / "docs" / "api.md").read_text())
    modules = re.findall(r"^::: (\S+)", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    lacking = []
    for name, members in zip(modules, listed, strict=True):
        for member in members.split(", "):
            found = getattr(importlib.import_module(name), member)
            if callable(found) and not isinstance(found, type) and ">>> " not in (found.__doc__ or ""):
                lacking.append(f"{name}.{member}")
    assert not lacking


def python_blocks(page: str) -> str:
    return "\n".join(re.findall(r"^```python\n((?!>>>).+?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S))


def rows(path: str, *found: dict[str, str]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in found))


def test_the_api_page_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows("p.jsonl", {"id": "p1", "question": "What is 2 + 2?", "answer": "4", "structure": "sum"})
    rows(
        "t.jsonl",
        {"id": "t1", "problem": "Tom has 3 pens and gets 4. How many?", "solution": "3 + 4", "structure": "sum"},
        {"id": "t2", "problem": "Name a prime above ninety.", "solution": "97", "structure": "prime"},
    )
    exec(python_blocks("api.md"), {})
    assert (tmp_path / "runs" / "labels" / "labels.parquet").is_file()


def test_the_index_page_searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = [
        "How many ways are there to seat ten guests?",
        "Count the paths on a grid.",
        "How many ways to tile a hall?",
    ]
    rows("t.jsonl", *({"id": f"t{i}", "problem": problem, "solution": "count"} for i, problem in enumerate(told)))
    index(IndexConfig(traces="t.jsonl", retriever="minilm"), "runs/index")
    names: dict[str, Any] = {"traces": [Trace("t17", "How far is it?", "add")]}
    exec(python_blocks("index-and-retrieve.md"), names)
    assert names["found"].blocked == [0] and len(names["found"].hits) == 1
    assert len(names["index"]) == len(told)  # one was added and removed


def test_the_evaluation_page_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, reward in (("eval", 1.0), ("eval-bare", 0.0)):
        made = [Rollout("b", f"p{i}", 0, 0, [], "c", "1", reward, "correct", 1, False) for i in range(3)]
        (tmp_path / "runs" / folder).mkdir(parents=True)
        write_rollouts(tmp_path / "runs" / folder / "rollouts.parquet", made)
    exec(python_blocks("evaluate.md"), {})
    assert "value=1.0" in capsys.readouterr().out
