"""What counts as near-identical, and what does not."""

import pytest

from rarft.records.same_problem import near_duplicate_groups, near_identical
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
    import random

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


def test_groups_chain_near_duplicates() -> None:
    texts = [APPLES, AMC, APPLES.replace("12", "31"), "Find the area of the triangle.", AMC.replace(" ", "  ")]
    groups = near_duplicate_groups(texts)
    assert groups[0] == groups[2] and groups[1] == groups[4]
    assert len({groups[0], groups[1], groups[3]}) == 3


def test_groups_agree_with_all_pairs() -> None:
    import random

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
