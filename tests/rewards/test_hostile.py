import time

import pytest
from verify_corpus import hostile, ordinary

from rarft.rewards import extract_answer, verify

LIMIT = 3.0


@pytest.fixture(scope="module")
def corpus():
    return hostile()


def test_there_are_at_least_300_different_hostile_answers(corpus):
    assert len({row.completion for row in corpus}) >= 300


def test_taking_the_answer_out_of_any_text_is_quick(corpus):
    for row in corpus:
        started = time.process_time()
        extract_answer(row.completion)
        assert time.process_time() - started < 2, row.completion[:80]


@pytest.mark.parametrize("count", [1500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_hostile_answers_change_no_ordinary_score_and_earn_nothing(corpus, count):
    """Ordinary answers, of which it is known what they deserve, with the hostile ones spread among them."""
    rows = ordinary(count)
    every = len(rows) // len(corpus)
    for i, row in enumerate(corpus):
        rows.insert(i * (every + 1), row)
    started = time.monotonic()
    verdicts = verify([row.gold for row in rows], [row.completion for row in rows], timeout=LIMIT)
    elapsed = time.monotonic() - started
    expected = {"right": {"correct"}, "wrong": {"wrong"}, "none": {"no_answer"}}
    expected["hostile"] = {"wrong", "no_answer", "timeout", "error"}
    for row, verdict in zip(rows, verdicts, strict=True):
        assert verdict.reason in expected[row.kind], row
        assert verdict.reward == float(row.kind == "right")
    assert elapsed < 60 + LIMIT * sum(verdict.reason == "timeout" for verdict in verdicts)


def test_each_hostile_answer_is_scored_within_its_limit(corpus):
    verify(["1/2"], [r"\boxed{0.5}"])  # workers are up
    for row in corpus[::8]:
        started = time.monotonic()
        verdict = verify([row.gold], [row.completion], timeout=LIMIT)[0]
        assert verdict.reward == 0.0
        assert time.monotonic() - started < LIMIT + 6, row.completion[:80]  # and the time to start a worker, under load


def test_the_answer_that_hung_public_trainers():
    tower = r"\boxed{\dfrac{5^{\left(5^{\left(5^{\left(5^5\right)}\right)} - 4\right)} - 5}{16}}"
    started = time.monotonic()
    verdicts = verify(["5", r"\frac{1}{2}", r"\sqrt{2}", "x = 5"], [tower] * 4, timeout=LIMIT)
    assert [v.reward for v in verdicts] == [0.0] * 4 and {v.reason for v in verdicts} <= {"timeout", "wrong"}
    assert time.monotonic() - started < LIMIT + 6


def test_same_input_same_reward(corpus):
    rows = ordinary(200, seed=5) + corpus[::12]
    golds, texts = [row.gold for row in rows], [row.completion for row in rows]
    first = verify(golds, texts, timeout=LIMIT)
    alone = verify(golds[:200], texts[:200])
    assert first[:200] == alone
    backwards = verify(golds[::-1], texts[::-1], timeout=LIMIT)
    assert backwards[::-1] == first
