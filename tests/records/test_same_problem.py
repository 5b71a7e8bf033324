"""What counts as near-identical, and what does not."""

import random

import pytest

from rarft.records.same_problem import DuplicateIndex, near_duplicate_groups, near_identical
from rarft.testbed.word_problems.language import deal
from rarft.testbed.word_problems.problems import DIFFICULTIES, choose_themes, make_item, structures, surfaces

APPLES = "Tom has 12 apples. He gives 5 apples to his sister and buys 8 more. How many apples does Tom have now?"
AMC = r"Let $x$ and $y$ be real numbers with $x+y=\frac{7}{2}$ and $xy = 3$. Find the value of $x^2+y^2$."


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (APPLES, APPLES.upper() + "  "),
        (APPLES, APPLES.replace("12", "twelve").replace("5", "five")),
        # changed numbers
        (APPLES, APPLES.replace("12", "31").replace("5", "9").replace("8", "14")),
        # another name too
        (
            APPLES,
            "Ann has 30 apples. She gives 4 apples to her sister and buys 9 more. How many apples does Ann have now?",
        ),
        # paraphrases with the same numbers
        (APPLES, "Tom owns 12 apples, hands 5 of the apples to a sister, then buys another 8. How many are with Tom?"),
        (APPLES, "How many apples are left with Tom, who had 12 apples, bought 8 apples and gave 5 to his sister?"),
        # LaTeX spacing and spelling
        (AMC, AMC.replace("$x+y=", r"\(x \, + \; y\,=\quad ").replace(r"\frac", r"\dfrac").replace("{2}$", r"{2}\)")),
        (AMC, AMC.replace("$", "").replace("x^2+y^2", "{x^2} + {y^2}")),
        (r"Compute $\left(1{,}000 \cdot 3\right)$ exactly.", r"Compute $( 1000 \times 3 )$ exactly."),
    ],
)
def test_near_identical(a: str, b: str) -> None:
    assert near_identical(a, b)
    assert near_identical(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        # same structure and even the same numbers, told about other things
        (
            APPLES,
            "A library holds 12 books. It lends 5 of them to a school, then 8 arrive. What is the count at the end?",
        ),
        # same theme, other structure
        (APPLES, "Tom has 12 apples. He shares them among 4 friends, then doubles his part. How many apples are his?"),
        (AMC, r"Find the sum of all primes $p$ below $20$ for which $p^2+2$ is prime."),
        ("Find $x$.", "Find the area of the triangle."),
    ],
)
def test_other_problems_are_not(a: str, b: str) -> None:
    assert not near_identical(a, b)


def test_same_structure_on_another_surface_is_not_blocked() -> None:
    rng = random.Random(0)
    names = tuple(structures(2, 16, rng))
    themes = choose_themes(12, rng)
    limits = DIFFICULTIES["easy"]
    words = deal(rng)
    ours = [
        make_item(s, x, names, limits, 0, rng) for x in surfaces("eval", themes[:6], words["eval"], rng) for s in names
    ]
    theirs = [
        make_item(s, x, names, limits, 0, rng)
        for x in surfaces("corpus", themes[6:], words["corpus"], rng)
        for s in names
    ]
    blocked = sum(near_identical(a.question, b.question) for a in ours for b in theirs if a.structure == b.structure)
    assert blocked == 0


def test_what_a_question_says_of_its_answer_is_no_story() -> None:
    """Variables, LaTeX commands and the words of the task itself are shared by problems that are quite different."""
    pairs = [
        (
            r"What is the value of $x$ if $|x-1| = |x-2|$? Express your answer as a common fraction.",
            "Two dice are rolled. What is the expected number of 1's? Express your answer as a common fraction.",
        ),
        (
            r"Compute the ordered pair of positive integers $(x,y)$ such that \begin{align*} x^y+1=y^x+7 \end{align*}",
            "How many two-digit positive integers have at least one 7 as a digit?",
        ),
        (r"Find the slope of the line $2x + 3y = 6$.", r"Find the focus of the parabola $y = -3x^2 - 6x.$"),
    ]
    assert not any(near_identical(a, b) for a, b in pairs)


def test_numbers_are_not_run_together() -> None:
    a, b = r"Simplify $\frac{1}{23}$.", r"Simplify $\frac{12}{3}$."
    assert not near_identical(a, b, template_share=1) and near_identical(a, b)
    assert near_identical(r"Simplify $\dfrac12$.", r"Simplify $\frac{1}{2}$", template_share=1)


def random_statements(count: int) -> list[str]:
    """Statements of a few templates, words of some of which were changed."""
    rng = random.Random(0)
    words = [first + last for first in ("ri", "gar", "cir", "tri", "squa") for last in ("ver", "den", "cle", "me")]
    texts = []
    for _ in range(count // 5):
        base = [rng.choice(words) if rng.random() < 0.7 else str(rng.randrange(1000)) for _ in range(40)]
        texts.append(" ".join(base))
        for change in (1, 2, 4, 8):  # from nearly equal to rather different
            other = list(base)
            for at in rng.sample(range(len(other)), change):
                other[at] = rng.choice(words)
            texts.append(" ".join(other))
    return texts


def test_the_index_finds_what_comparing_all_pairs_finds() -> None:
    texts = random_statements(400)
    index = DuplicateIndex()
    found, expected = set(), set()
    for i, text in enumerate(texts):
        found |= {(int(match.key), i) for match in index.matches(text)}
        expected |= {(j, i) for j in range(i) if near_identical(texts[j], text)}
        index.add(str(i), text)
    assert len(expected) > 300 and found <= expected and len(found) >= 0.98 * len(expected)


def test_the_index_names_the_text_most_alike() -> None:
    index = DuplicateIndex()
    assert index.find_or_add("a", APPLES) is None and index.find_or_add("b", AMC) is None
    match = index.find_or_add("c", APPLES.upper())
    assert match == ("a", "text", 1.0)
    match = index.find_or_add("d", APPLES.replace("Tom", "Ann").replace("12", "7"))
    assert match is not None and (match.key, match.rule) == ("a", "template")
    match = index.find_or_add("e", "Of 12 apples, how many are left with Tom, whose sister gave 8 more and took 5?")
    assert match is not None and (match.key, match.rule) == ("a", "story") and match.similarity < 0.5
    assert len(index) == 2
    exact = DuplicateIndex(1)
    assert exact.find_or_add("a", APPLES) is None and exact.find_or_add("b", APPLES.replace("12", "7")) is None
    assert exact.find_or_add("c", APPLES + "  ") == ("a", "text", 1.0)


def test_groups_chain_near_duplicates() -> None:
    texts = [APPLES, AMC, APPLES.replace("12", "31"), "Find the area of the triangle.", AMC.replace(" ", "  ")]
    groups = near_duplicate_groups(texts)
    assert groups[0] == groups[2] and groups[1] == groups[4]
    assert len({groups[0], groups[1], groups[3]}) == 3


def test_groups_agree_with_all_pairs() -> None:
    rng = random.Random(1)
    names = tuple(structures(2, 16, rng))
    spots = surfaces("train", choose_themes(3, rng), deal(rng)["train"], rng)
    items = [make_item(rng.choice(names), rng.choice(spots), names, DIFFICULTIES["easy"], 0, rng) for _ in range(120)]
    texts = [item.question for item in items]
    groups = near_duplicate_groups(texts)
    missed = [
        (i, j)
        for i in range(len(texts))
        for j in range(i)
        if near_identical(texts[i], texts[j]) and groups[i] != groups[j]
    ]
    assert not missed
    assert len(set(groups)) > 1
