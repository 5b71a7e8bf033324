"""What reads a completion where no limit holds takes time in proportion to its length, whatever it says.

Every pattern that a module of the room compiles is tried, the way the module uses it, on each pair of a beginning and
a piece repeated; so are the functions made of them. The slowest pairs are then timed at lengths from 1,000 to 64,000
characters: time grows as length to the power 1, where backtracking over a repeat would show 2.
"""

import ast
import importlib
import inspect
import math
import pkgutil
import re
import time

import pytest

import rarft.rewards
from rarft.rewards import code, extract, file, get_reward, math_reward

SIZES = [1000 * 2**k for k in range(7)]
BEGINNINGS = [
    "", "a", "5", "A", " ", "\n", "\\", "$", "(", "{", "^", "5\\,", "5 aaa ", "A) ", "the ", "the answer",
    "the answer to", "the answer to a", "the final ", "final answer ", "answer to be ", "because ", "####", "\\boxed",
    "\\boxed{", "<answer>", "\\[", "\\text", "\\text{", "\\frac", "\\i", "\\arc", "```",
]  # fmt: skip
PIECES = [
    " ", "\n", "\t ", "*", "_", "a", "xyz", "A", "5", "5,", "-", ".", ". ", ":", "=", "#", "^", "!", "é", "\u200b",
    "$", "$$", "`", "```", "\\", "\\\\", "\\!", "\\ ", "\\,", "{", "}", "{}", "(", ")", "|", "5 ", "5.5 ", "5 a",
    "aaa ", ", ", " because", "because ", "the ", "the answer", "the answer to", "the answer to a", "final answer ",
    "answer", "answer to be ", "is ", "####", "\\boxed", "\\boxed{", "\\boxed{5}", "\\fbox {", "<answer>",
    "</answer>", "\\[", "\\]", "\\(", "\\text", "\\text{", "\\mbox ", "\\frac", "\\frac{1}{2}", "\\i", "\\arc",
    "\\mathrm{A}", "A) ", "B.", "or ", "{,}", "\\approx", "lcm", "\n```", "\n ", "\r", "\t\n", "```x", "``` \t",
    "```python\n", " x\n",
]  # fmt: skip
ENDS = ["`!", "", "\n5"]


def modules():
    for found in pkgutil.iter_modules(rarft.rewards.__path__, "rarft.rewards."):
        yield importlib.import_module(found.name)


def uses(module):
    """(pattern's name, method) of every use of a compiled pattern in a module."""
    compiled = {name for name, value in vars(module).items() if isinstance(value, re.Pattern)}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in compiled:
            yield node.value.id, node.attr


def reader(pattern, method):
    if method == "sub":
        return lambda text: pattern.sub("", text)
    if method == "finditer":
        return lambda text: sum(1 for _ in pattern.finditer(text))
    return getattr(pattern, method)


def with_phrase(text):
    """A phrase before the text, or as far before its end as phrases are sought: the same branch at every length."""
    phrase = "the answer is "
    cut = max(0, len(text) + len(phrase) - extract.PHRASE_TAIL)
    return text[:cut] + phrase + text[cut:]


MATH, GYM = get_reward("math"), get_reward("reasoning-gym")
READERS = {
    f"{module.__name__}.{name}.{method}": reader(getattr(module, name), method)
    for module in modules()
    for name, method in sorted(set(uses(module)))
} | {
    "last_box": extract.last_box,
    "closing_phrase": lambda text: extract.closing_phrase(with_phrase(text)),
    "extract_answer": extract.extract_answer,
    "last_program": code.last_program,
    "gym's extract": GYM.extract,
    "file's answer": lambda text: file._answer(text, "math"),
    "clean": math_reward.clean.__wrapped__,
    "clean_gold": math_reward.clean_gold.__wrapped__,
    "choice": math_reward.choice,
    "unknowns": math_reward._unknowns,
    "depth": math_reward._depth,
    "plain_gold": MATH.plain_gold,
    "shortcut": lambda text: MATH.shortcut(text + " 1", text, {}),
    "echo": lambda text: math_reward._echoes("x+1", "2", text),
    "gym's shortcut": lambda text: GYM.shortcut("5", text, {}),
}


def seconds(read, beginning, piece, end, size, repeats=1):
    """Processor time, the least of `repeats` where it is short enough to be disturbed."""
    text = beginning + piece * ((size - len(beginning)) // len(piece)) + end
    least = math.inf
    for _ in range(repeats):
        started = time.process_time()
        read(text)
        least = min(least, time.process_time() - started)
        if least > 0.05:
            break
    return least


def exponent(read, case):
    """Of the power of the length by which time grows, from the largest lengths that end in a fraction of a second."""
    points = []
    for size in SIZES:
        taken = seconds(read, *case, size, repeats=3)
        points.append((math.log(size), math.log(max(taken, 2e-5))))  # less is the cost of the call
        if taken > 0.2 and len(points) > 1:
            break
    (x0, y0), (x1, y1) = points[max(0, len(points) - 4)], points[-1]
    return (y1 - y0) / (x1 - x0)


def grows_too_fast(read):
    """The case in which `read` is not of linear time, and how it grows; None if there is none."""
    cases = [
        (a, b, c) for a in BEGINNINGS for b in PIECES for c in ENDS[: 3 if a in ("", "the answer to", "```") else 1]
    ]
    slowest = sorted(cases, key=lambda case: -seconds(read, *case, SIZES[0]))[:4]
    for case in slowest:
        if all((found := exponent(read, case)) >= 1.5 for _ in range(3)):  # a busy machine may spoil one
            return case, found
    return None


@pytest.mark.parametrize("name", READERS)
def test_time_grows_with_length_and_no_faster(name):
    assert grows_too_fast(READERS[name]) is None


def test_the_measure_sees_what_is_not():
    tagged = reader(re.compile(r"<answer>(.*?)</answer>", re.DOTALL), "finditer")
    assert grows_too_fast(tagged) is not None
    phrase = re.compile(r"the answer(?:\s+to\s+[^.:\n]{1,80}?)?[\s*_]*(?:\bis\b|:)")
    assert exponent(reader(phrase, "finditer"), ("the answer to", " ", "")) >= 1.5


def test_no_pattern_escapes_the_measure():
    for module in modules():
        compiled = {name for name, value in vars(module).items() if isinstance(value, re.Pattern)}
        assert compiled == {name for name, _ in uses(module)}, module
        found = re.findall(r"\bre\.(?!compile|[A-Z])\w+", inspect.getsource(module))
        assert found == [], f"{module.__name__}: compile the pattern and give it a name, so that it is measured"


def test_what_took_an_hour():
    """32,768 characters: quadratic, this was over an hour."""
    assert extract.extract_answer("the answer to" + " " * 32_755) is None
    assert extract.extract_answer("the answer to" + " " * 20_000 + "it all  is **5**.") == "5"
    assert GYM.extract("<answer>" * 30_000) is None
