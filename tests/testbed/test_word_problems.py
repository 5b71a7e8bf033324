"""The testbed: right sums, honest splits, files that the loaders take, and the same result for the same seed."""

from __future__ import annotations

import dataclasses
import random
import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rarft.core.artifacts import read_manifest
from rarft.core.errors import InputError
from rarft.records.problems import load_problems, load_traces
from rarft.testbed.config import PolicyInitConfig, TestbedConfig
from rarft.testbed.testbed import make_testbed
from rarft.testbed.word_problems.language import (
    FILLERS,
    NEUTRAL,
    NONSENSE,
    OPERATIONS,
    PATTERNS,
    SLOT,
    THEMES,
    WARM_UP,
    deal,
    words,
)
from rarft.testbed.word_problems.leaks import find_leaks, word_leak
from rarft.testbed.word_problems.problems import DIFFICULTIES, LINKS, compute, number_pool, numbers_only_accuracy
from rarft.testbed.word_problems.warmup import plain_words
from rarft.testbed.word_problems.write import generate

SMALL = TestbedConfig(
    seed=7,
    n_warmup=300,
    n_drills=50,
    n_garbled=80,
    n_train=200,
    n_eval=100,
    n_corpus=288,
    policy=PolicyInitConfig(hidden=32, layers=1, heads=2),
)


@pytest.fixture(scope="module")
def made():
    return generate(SMALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_testbed(SMALL, tmp_path_factory.mktemp("testbed") / "out")


def test_language_is_big_enough_and_every_role_has_words_of_its_own():
    assert len(THEMES) >= 24 and len({t.things for t in THEMES}) == len(THEMES)
    slots = {slot for op in OPERATIONS for text in PATTERNS[op] for slot in SLOT.findall(text)}
    assert slots == set(FILLERS)
    assert all(len(set(fillers)) == len(fillers) for fillers in FILLERS.values())
    assert all(text.count("{n}") == 1 for op in OPERATIONS for text in (*PATTERNS[op], *WARM_UP[op]))
    lexicons = deal(random.Random(3))
    for slot in slots - set(NEUTRAL):
        parts = [set(lexicons[role].fillers[slot]) for role in ("train", "eval", "corpus")]
        assert all(parts) and sum(map(len, parts)) == len(set.union(*parts)) == len(FILLERS[slot])
    assert words("{their} <stock> of {things} <grows> to {n}<aside>.") == ["of", "to"]


def test_solutions_compute_what_the_structure_says(made):
    for item in [i for items in made.values() for i in items]:
        told = [int(n) for n in re.findall(r"\d+", item.question)]
        steps = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)\.", item.solution)
        assert "".join(op for _, op, _, _ in steps) == item.structure
        plan = ", ".join({"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}[op] for op in item.structure)
        assert item.solution.startswith(f"Plan: {plan}. ")
        value = told[0]
        for (a, op, n, b), said in zip(steps, told[1:], strict=True):
            assert int(a) == value and int(n) == said
            value = {"+": value + said, "-": value - said, "*": value * said, "/": value / said}[op]
            assert value == int(b) and value > 0
        assert item.solution.endswith(f"\\boxed{{{item.answer}}}") and value == item.answer


def test_sentences_are_clean_english(made):
    for item in [i for items in made.values() for i in items]:
        assert "{" not in item.question and "  " not in item.question
        for sentence in re.split(r"(?<=[.?]) ", item.question):
            assert sentence[0].isupper() or sentence[0].isdigit()
            assert sentence[-1] in ".?"


def test_every_structure_and_split_is_there(made):
    for part in made:
        assert len({i.structure for i in made[part]}) == 16
    assert len({i.surface for items in made.values() for i in items}) >= 24
    assert max(Counter(i.structure for i in made["eval"]).values()) <= 2 * 100 / 16


@pytest.mark.parametrize("split", ["surface", "structure", "both"])
def test_no_leak_in_any_split(split):
    config = SMALL.model_copy(update={"split": split})
    assert find_leaks(generate(config), split) == []


def test_leaks_are_found(made):
    item = made["eval"][0]
    again = {**made, "train": [*made["train"], item]}
    assert any("repeats a question" in leak for leak in find_leaks(again, "surface"))
    assert any("known words" in leak for leak in find_leaks(again, "surface"))
    assert any("structure" in leak for leak in find_leaks(made, "both"))
    twin = next(i for i in made["corpus"] if i.surface.theme == item.surface.theme)
    told = dataclasses.replace(item, structure=twin.structure, question="Another one.")
    assert any("in the theme" in leak for leak in find_leaks({**made, "eval": [told]}, "surface"))
    without = [i for i in made["corpus"] if i.structure != "+*"]
    assert "no corpus trace has the structure +*" in find_leaks({**made, "corpus": without}, "surface")


def test_a_look_alike_is_there_for_every_problem_and_misleads(made):
    for part in ("train", "eval"):
        for item in made[part]:
            alike = [t for t in made["corpus"] if t.surface.theme == item.surface.theme]
            assert alike and all(t.structure != item.structure for t in alike)
            assert any(t.structure == item.structure for t in made["corpus"])


def test_words_and_numbers_say_little(made):
    leak = word_leak(made)
    assert 0.1 < leak["after_warmup"] <= 0.5 and leak["after_training"] <= 0.65
    names = tuple(sorted({i.structure for i in made["eval"]}))
    assert 1 / 16 <= numbers_only_accuracy(names, DIFFICULTIES["easy"]) < 0.14


@pytest.mark.parametrize(("depth", "count"), [(1, 4), (2, 16), (3, 16), (3, 64)])
def test_number_pools_hold_right_answers(depth, count):
    made = generate(SMALL.model_copy(update={"depth": depth, "n_structures": count, "n_corpus": 600}))
    names = tuple(sorted({i.structure for i in made["warmup"]}))
    assert len(names) == count
    grid, answers = number_pool(names, DIFFICULTIES["easy"])
    for row in range(0, len(grid), max(1, len(grid) // 20)):
        for column, name in enumerate(names):
            values = compute(name, int(grid[row][0]), [int(n) for n in grid[row][1:]])
            fits = values is not None and max(values) <= DIFFICULTIES["easy"].value
            assert answers[row, column] == (values[-1] if fits and values else 0)


def test_distractors_add_numbers_that_play_no_part():
    made = generate(SMALL.model_copy(update={"distractors": 1}))
    item = made["train"][0]
    assert len(re.findall(r"\d+", item.question)) == 4 and item.solution.count("=") == 2


def test_files_are_what_other_stages_read(folder: Path):
    problems = load_problems(str(folder / "eval"))
    traces = {t.id: t for part in ("warmup", "corpus") for t in load_traces(str(folder / part))}
    assert len(problems) == 100 and {"structure", "surface", "theme"} <= set(problems[0].extra)
    assert len(load_problems(str(folder / "train"))) == 200
    rows = pq.read_table(folder / "warmup" / "analogies.parquet").to_pylist()
    asked = {p.id: p for p in load_problems(str(folder / "warmup"))}
    kinds = Counter(p.kind for p in asked.values())
    assert kinds == {"arithmetic": 300, "sums": 50, "garbled": 80}
    drawn = [row for row in rows if row["problem_id"].startswith("warmup")]
    assert 0.3 < len(drawn) / 300 < 0.5
    for row in drawn:
        same = traces[row["trace_id"]].extra["structure"] == asked[row["problem_id"]].extra["structure"]
        assert row["rank"] == 1 and row["trace_id"] != row["problem_id"] and same == (row["score"] == 1.0)
    shown = {row["problem_id"]: traces[row["trace_id"]] for row in rows}
    for trace in traces.values():
        said = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)\.", trace.solution)
        assert all(eval(f"{a} {op} {b}") == int(c) for a, op, b, c in said) and said[-1][3] == trace.answer
        if trace.kind == "sums":
            assert len(said) == 6 and all(f"{a} {op} {b}" in trace.problem for a, op, b, _ in said)
    score = {row["problem_id"]: row["score"] for row in rows}
    odd = [t for t in traces.values() if t.kind == "garbled"]
    for trace in odd:
        if trace.id in shown:
            done, copied = (re.findall(r"\d+ ([-+*/])", t.solution) for t in (trace, shown[trace.id]))
            assert (done == copied) == (score[trace.id] == 1.0)
    told = [word for trace in odd for word in words(trace.problem.lower())]
    harmless = {*NONSENSE, *plain_words(), *(word for link in LINKS for word in words(link))}
    for trace in odd:
        _, *telling, _ = re.split(r"(?<=[.?]) ", trace.problem)
        assert {word for text in telling for word in words(text.lower())} <= harmless
    assert 0.25 < sum(word in NONSENSE for word in told) / len(told) < 0.7
    assert 0.45 < sum(score.get(t.id, 1.0) for t in odd) / len(odd) < 0.8
    results = read_manifest(folder)["results"]
    assert results["n_structures"] == 16 and results["n_surfaces"] == 42


def test_policy_loads_and_its_tokenizer_gives_texts_back(folder: Path):
    from rarft.models.loading import load_policy

    model, tokenizer = load_policy(str(folder / "policy-init"))
    assert model.config.vocab_size == len(tokenizer)
    known = set(tokenizer.get_vocab())
    for part, familiar in (("warmup", True), ("eval", False)):
        for problem in load_problems(str(folder / part))[:50]:
            ids = tokenizer(f"Problem: {problem.question}\nSolution:")["input_ids"]
            assert (tokenizer.unk_token_id not in ids) == familiar
            numbers = re.findall(r"\d+", problem.question)
            assert [t for t in tokenizer.convert_ids_to_tokens(ids) if t.isdigit()] == numbers
    text = "Plan: add, multiply. 12 + 5 = 17. 17 * 2 = 34. \\boxed{34}"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert not known & set(NONSENSE)
    assert {"Plan", "divide", "Maya", "Problem"} <= known


def test_same_seed_same_files(folder: Path, tmp_path: Path):
    again = make_testbed(SMALL, tmp_path / "again")
    other = make_testbed(SMALL.model_copy(update={"seed": 1}), tmp_path / "other")
    digest = read_manifest(folder)["digest"]
    assert read_manifest(again)["digest"] == digest
    assert read_manifest(other)["digest"] != digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_structures": 17}, "depth 2 has 16 structures"),
        ({"n_surfaces": 33}, "there are 32 themes"),
        ({"n_surfaces": 3}, "at least 4"),
        ({"warmup_same": 0.9}, "sum must not exceed 1"),
    ],
)
def test_impossible_sizes_are_one_clear_line(changes, message):
    with pytest.raises(InputError, match=message):
        generate(SMALL.model_copy(update=changes))
