"""The house rules: clean English, right sums, splits that keep their promises, precedents that no guard blocks."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path

import pytest

from rarft.core.artifacts import read_manifest
from rarft.core.errors import InputError
from rarft.records.problems import load_problems, load_traces
from rarft.records.same_problem import near_identical
from rarft.relevance.candidates import CandidateConfig, Candidates
from rarft.testbed.config import TestbedConfig
from rarft.testbed.house_rules.places import GUESTS, PLACES, QUESTION
from rarft.testbed.house_rules.problems import generate, guesses
from rarft.testbed.house_rules.situations import SITUATIONS
from rarft.testbed.leaks import find_leaks, lexical_recall
from rarft.testbed.testbed import make_testbed

CONFIG = TestbedConfig(domain="house-rules", seed=5)
NUMBER_WORDS = re.compile(
    r"\b(zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|once|twice)\b|\d", re.I
)


@pytest.fixture(scope="module")
def made():
    return generate(CONFIG)


def test_there_is_enough_to_tell_and_nothing_is_told_twice():
    assert len(SITUATIONS) >= 60 and len(PLACES) >= 24
    tellings = [telling for texts in SITUATIONS.values() for telling in texts]
    openings = [opening for texts in PLACES.values() for opening in texts]
    assert all(len(texts) >= 10 for texts in SITUATIONS.values()) and all(len(texts) == 4 for texts in PLACES.values())
    assert len(set(tellings)) == len(tellings) and len(set(openings)) == len(openings)
    assert all(name.split()[-1] in opening for name, texts in PLACES.items() for opening in texts)


def test_the_only_number_of_a_question_is_the_one_that_the_rule_is_about(made):
    texts = [text for of in (SITUATIONS, PLACES) for several in of.values() for text in several]
    assert not [t for t in texts if NUMBER_WORDS.search(t)]
    assert all(t.count("{n}") == 1 for several in SITUATIONS.values() for t in several)
    for item in (i for items in made.values() for i in items):
        assert re.findall(r"\d+", item.question) == [str(item.columns["number"])]


def test_sentences_are_whole(made):
    for item in (i for items in made.values() for i in items):
        assert "{" not in item.question and "  " not in item.question and item.question.endswith(" " + QUESTION)
        for sentence in re.split(r'(?<=[.?]) (?=[A-Z"])', item.question):
            assert sentence[0].isupper() or sentence[0] == '"' or sentence[0].isdigit()
    assert any(guest in item.question for item in made["train"] for guest in GUESTS)


def test_solutions_apply_the_rule_and_the_rule_alone_makes_the_answer(made):
    for item in (i for items in made.values() for i in items):
        said, (each, top, n, *sums) = item.solution, map(int, re.findall(r"\d+", item.solution))
        assert item.columns == {"number": n, "rule": f"* {each} + {top}"}
        assert sums == [each, n * each, n * each, top, n * each + top, n * each + top]
        assert said.endswith(f"= {item.answer}. \\boxed{{{item.answer}}}") and said.startswith("House rule: ")


@pytest.mark.parametrize("seed", range(4))
def test_no_leak_under_any_seed(seed):
    assert find_leaks(generate(CONFIG.model_copy(update={"seed": seed}))) == []


def test_leaks_are_found(made):
    def with_one(part: str, **changes):
        item = dataclasses.replace(made[part][0], question="Another one.", **changes)
        return find_leaks({**made, part: [item, *made[part]]})

    again = {**made, "train": [*made["train"], made["eval"][0]]}
    assert any("repeats a question" in leak for leak in find_leaks(again))
    assert any("evaluation knows" in leak for leak in find_leaks(again))
    assert any("in the words of train" in leak for leak in with_one("eval", tellings=made["train"][0].tellings))
    twin = next(i for i in made["corpus"] if i.structure == made["eval"][0].structure)
    assert any("at the place of a eval problem" in leak for leak in with_one("eval", place=twin.place))
    without = [i for i in made["corpus"] if i.structure != made["eval"][0].structure]
    assert any("no precedent" in leak for leak in find_leaks({**made, "corpus": without}))
    elsewhere = [i for i in made["corpus"] if i.place != made["eval"][0].place]
    assert any("no look-alike" in leak for leak in find_leaks({**made, "corpus": elsewhere}))
    known = [i for i in made["train"] if i.structure != made["eval-seen"][0].structure]
    assert any("training lacks" in leak for leak in find_leaks({**made, "train": known}))


def test_unseen_situations_have_rules_of_their_own_and_the_other_house_has_others(made):
    known = {i.columns["rule"] for i in made["train"]} | {i.columns["rule"] for i in made["eval-seen"]}
    assert not known & {i.columns["rule"] for i in made["eval"]}
    here = {i.structure: i.columns["rule"] for i in made["corpus"]}
    there = {i.structure: i.columns["rule"] for i in made["swapped/corpus"]}
    assert here.keys() == there.keys() == set(SITUATIONS) and not set(here.values()) & set(there.values())
    for part in ("eval", "eval-seen", "corpus"):
        swapped = made[f"swapped/{part}"]
        assert [i.question for i in swapped] == [i.question for i in made[part]]
        assert all(i.columns["rule"] == (there if i in swapped else here)[i.structure] for i in swapped)


def test_structures_share_each_part_evenly(made):
    for part in ("train", "eval", "eval-seen", "corpus"):
        counts = Counter(item.structure for item in made[part]).values()
        assert max(counts) - min(counts) <= 2
    assert {i.place for i in made["eval"]}.isdisjoint(i.place for i in made["train"])


def test_the_guard_against_leaked_answers_blocks_no_precedent_and_hardly_a_look_alike(made):
    for part in ("train", "eval", "eval-seen"):
        blocked = alike = 0
        for item in made[part][:40]:
            for trace in made["corpus"]:
                if trace.structure == item.structure:
                    assert not near_identical(item.question, trace.question)
                elif trace.place == item.place:
                    alike += 1
                    blocked += near_identical(item.question, trace.question)
        assert alike > 100 and blocked == 0


def test_labelling_offers_every_trace_as_a_candidate(made):
    problems = [item.problem(f"p{i}") for i, item in enumerate(made["train"][:30])]
    traces = [item.trace(f"t{i}") for i, item in enumerate(made["corpus"])]
    candidates = Candidates(problems, traces, CandidateConfig(per_problem=len(traces)), seed=0)
    assert sum(1 for _ in candidates) == 30 * len(traces)


def test_neither_looks_nor_numbers_lead_to_the_answer(made):
    assert lexical_recall(made) <= 0.1
    found = guesses(made)
    for part in ("eval", "swapped/eval", "swapped/eval-seen"):
        assert max(found[part][how] for how in ("majority", "number", "words")) <= 0.06
        assert found[part]["number_knowing_rules"] <= 0.15
    assert found["eval-seen"]["words"] > 0.3  # what is told in known words can be remembered


def test_files_are_what_other_stages_read(tmp_path: Path):
    small = CONFIG.model_copy(update={"n_train": 60, "n_eval": 40, "n_corpus": 402})
    folder = make_testbed(small, tmp_path / "one")
    for part, count in (
        ("train", 60),
        ("eval", 40),
        ("eval-seen", 40),
        ("swapped/eval", 40),
        ("swapped/eval-seen", 40),
    ):
        problems, traces = load_problems(str(folder / part)), load_traces(str(folder / part))
        assert len(problems) == count and [p.id for p in problems] == [t.id for t in traces]
        assert [p.question for p in problems] == [t.problem for t in traces]
        assert {"structure", "place", "rule", "number"} == set(problems[0].extra)
    asked = [load_problems(str(folder / part)) for part in ("eval", "swapped/eval")]
    assert [(p.id, p.question) for p in asked[0]] == [(p.id, p.question) for p in asked[1]]  # reports pair them
    corpora = [load_traces(str(folder / part)) for part in ("corpus", "swapped/corpus")]
    assert [t.problem for t in corpora[0]] == [t.problem for t in corpora[1]]
    assert all(a.solution != b.solution and a.id != b.id for a, b in zip(*corpora, strict=True))
    again = make_testbed(small, tmp_path / "two")
    other = make_testbed(small.model_copy(update={"seed": 1}), tmp_path / "three")
    assert read_manifest(again)["digest"] == read_manifest(folder)["digest"] != read_manifest(other)["digest"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 3}, "depth is an option of the word problems"),
        ({"n_corpus": 20_000}, "different problems were found"),
        ({"n_corpus": 20}, "n-corpus is 20"),
        ({"n_train": 5}, "n-train is 5"),
    ],
)
def test_impossible_wishes_are_one_clear_line(tmp_path: Path, changes, message):
    with pytest.raises(InputError, match=message):
        make_testbed(TestbedConfig(domain="house-rules", **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()
