import pytest

from rarft.rewards import extract_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So \boxed{5}.", "5"),
        (r"\boxed{4}, no: \boxed{5}", "5"),  # the last
        (r"\boxed{5} and then \boxed{6", "5"),  # the last complete
        (r"\boxed{5}. Actually the answer is 6.", "5"),  # a box goes before a phrase
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{x = \boxed{5}}", "x = {5}"),
        (r"\boxed{1 + \boxed{5", None),
        (r"\boxed{7 \boxed{5}", "5"),  # the outer is not complete
        (r"\fbox{5}", "5"),
        (r"\boxed {5}", "5"),
        (r"\boxed{\frac{1}{2}} m", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\{1, 2}", r"\{1, 2"),  # TeX: \{ is a character, so the box is complete
        (r"{ \boxed{5} } }", "5"),
        ("\\boxed{\n5\n}", "5"),
        (r"the answer is 4. \boxed{}", None),  # an empty last box is no answer
        (r"\boxed{4} \boxed{ }", None),
        ("The answer is 5.", "5"),
        ("the final answer is: 5", "5"),
        ("The answer is 1. The answer is 2.", "2"),
        ("Final Answer: $x = 5$", "x = 5"),
        ("**Answer:** 5", "5"),
        ("The answer is **5**.", "5"),
        ("The answer is\n\n$$\n\\frac{1}{2}\n$$", r"\frac{1}{2}"),
        (r"The answer is \[ \frac{1}{2} \]", r"\frac{1}{2}"),
        ("The answer is $5, because 2 + 3 = 5.", "5"),
        ("The answer is 5 apples.", "5"),
        ("The answer is 1,250 square feet", "1,250"),
        ("The answer is 5 or 6.", "5 or 6"),  # not the number 5
        ("The answer is 5 plus six", "5 plus six"),
        ("The answer is 5 million.", "5 million"),
        ("The answer is not 5.", "not 5"),
        ("The answer is (C).", "(C)"),
        ("The correct answer is B", "B"),
        ("The answer to the question is 12.5%.", "12.5%"),
        ("so 2 + 3 = 5\n#### 5", "5"),
        ("#### 1,200\n", "1,200"),
        ("##### 5", None),
        ("it is 5", None),
        ("answer", None),
        ("Nothing follows: the answer is", None),
        ("answers: many", None),
        ("", None),
        ("5", None),
        ("\\boxed", None),
        ("\\boxed{", None),
        ("boxed{5}", None),
    ],
)
def test_rules(text, answer):
    assert extract_answer(text) == answer


def test_only_the_end_of_a_very_long_completion_is_read():
    assert extract_answer(r"\boxed{5}" + "x" * 1000) == "5"
    assert extract_answer(r"\boxed{5}" + "x" * 1_000_000) is None
    assert extract_answer("x" * 1_000_000 + r"\boxed{5}") == "5"
