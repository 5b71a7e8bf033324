r"""The math reward: is the final answer equal to the gold answer, as math-verify judges equality?

`shortcut` settles identical strings, plain numbers and option letters without a parser; `score` parses with math-verify
in a worker. math-verify is lenient in ways a policy can exploit, so on top of its judgement a few answers are refused:
a computation in place of a number, an equation to solve in place of its solution, several candidates joined by words.
docs/rewards.md lists the rules. Left out: proofs, free text, units as part of the answer.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rarft.rewards.base import Reward
from rarft.rewards.extract import last_box

if TYPE_CHECKING:
    from sympy import Basic

MAX_LENGTH = 400
"""Characters; a longer answer (and longer than four times the gold answer) is wrong unless identical to it."""
MAX_DEPTH = 8
"""Nested brackets; an answer deeper than this and deeper than the gold answer is wrong."""
MAX_OPERATORS = 40
"""Operators, relations and LaTeX commands; an answer with more than this and 3 times the gold answer's is wrong unless
identical to it. Of 17,854 gold answers of GSM8K, MATH, AMC and AIME none has more than 16."""

_OPERATOR = re.compile(r"\\(?!left|right|text|mathrm)[a-zA-Z]+|[-+*/^=<>|%!]")
_UNKNOWNS = re.compile(r"(?<![\\A-Za-z])[xyz]+(?![A-Za-z])")
_RELATION = re.compile(r"[=<>]|\\(?:[lg](?:eq?|t)|neq?|in|approx|to|mapsto)(?![a-zA-Z])")
_THOUSANDS = re.compile(r"(?<=[0-9])(?:\{,\}|,\\!|\\,|\\!)\s*(?=[0-9]{3}(?![0-9]))")
_WRAPPERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_NUMBER = re.compile(r"(?:\\?\$\s*)?([-+]?)([0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(\.[0-9]+)?")
_SIMPLE_FRACTION = re.compile(r"(-?)\\[dt]?frac\{(-?[0-9]{1,30})\}\{([0-9]{1,30})\}|(-?)([0-9]{1,30})/([0-9]{1,30})")
_ASSIGNED = re.compile(r"[a-df-hj-zA-DF-HJ-Z]\s*=\s*")
_BARE_FRACTION = re.compile(r"\\[dt]?frac\s*(\\pi)(?![a-zA-Z])")
_FONT = re.compile(r"\\(?:text|mathrm|mathbf|mathsf|mathit|boldsymbol)(?:bf|it|rm|sf|normal)?\s*\{([^{}]*)\}")
_CHOICE = re.compile(r"\(?([A-J])(?:\)?[.:]?|(?:\)[.:]?|[.:])\s*(?![.:)])(\S.*))", re.DOTALL)
_OPTION_LABEL = re.compile(r"\([A-J]\)|\b[A-J][).:]|\bor\b|\band\b|\bnot\b", re.IGNORECASE)
_TASK = re.compile(r"\\(?:i*int|oint|sum|prod|lim)(?![a-zA-Z])")
"""What is a task and no answer, unless the gold answer has it too."""
_COMPUTED = re.compile(
    r"\\(?:[dt]?binom|choose|gcd|det|log|ln|lg|max|min|sqrt|sin|cos|tan|cot|sec|csc|arc[a-z]+|[lr]?floor|[lr]?ceil)"
    r"(?![a-zA-Z])|lcm|vmatrix|\bmod(?![a-z])|(?<!\\)!"
)
"""What is no answer where the gold answer is a number; in part, the parser computes it and shows it no longer."""
_TEXT_GROUP = re.compile(r"\\(?:text\w*|mbox|mathrm)\s*\{([^{}]*)\}")
_HEDGE = re.compile(
    r"(?<![A-Za-z0-9^_/{.-])[0-9]|\b(?:or|and|not|either|neither|maybe|perhaps|but|if|unless|possibly)\b", re.IGNORECASE
)
_POWER = re.compile(r"\s*+(?:\^\s*+(?:[0-9]|\{[0-9]\})\s*+)?")
_APPROXIMATELY = re.compile(r"\\(?:approx|simeq|sim|cong)(?![a-zA-Z])")
_TO_COMPUTE = re.compile(r"[-+*/^!=]|\\[a-z]{3,}")
_FORMULA = re.compile(r"\$\$?([^$]++)\$|\\\[((?:(?!\\[\[\]]).)++)\\\]|\\\(((?:(?!\\[()]).)++)\\\)", re.DOTALL)
_SPACING = re.compile(r"\\left|\\right|\\[,;:! ]|[\s.,;:?]|(?<=\\)[dt](?=frac)")


@lru_cache(maxsize=4096)
def clean(text: str) -> str:
    r"""An answer without what carries no meaning: invisible characters, math delimiters, thousands separators that
    cannot be anything else (`{,}`, `,\!`, `\,`), spacing and punctuation at its end."""
    if not text.isascii():
        text = "".join(" " if c.isspace() else c for c in text if unicodedata.category(c) != "Cf")
        text = text.replace("\u2212", "-")
    text = text.strip()
    for left, right in _WRAPPERS:
        if text.startswith(left) and text.endswith(right) and len(text) > len(left) + len(right):
            inside = text[len(left) : -len(right)]
            if left not in inside and right not in inside:
                text = inside.strip()
    text = _THOUSANDS.sub("", text)
    text = _BARE_FRACTION.sub(r"\\frac{\1}", _trim_end(text))
    return text.removeprefix("\\approx").strip()


def _trim_end(text: str) -> str:
    r"""`text` without punctuation, spaces and spacing commands (`\,` `\ ` `\!`) at its end."""
    marks = " \t\r\n.,;:"
    end = len(text.rstrip(marks))
    while text.endswith(("\\!", "\\"), 0, end):
        slashes = end
        while slashes and text[slashes - 1] == "\\":
            slashes -= 1
        if text[end - 1] == "!":
            end -= 2
        elif (end - slashes) % 2:
            end -= 1
        else:  # a line break of LaTeX
            break
        while end and text[end - 1] in marks:
            end -= 1
    return text[:end]


@lru_cache(maxsize=4096)
def clean_gold(gold: str) -> str:
    """`clean` for a gold answer; a worked solution is reduced to its last box."""
    return clean(last_box(gold) or gold)


def plain_number(text: str) -> Decimal | None:
    """The value of a plain integer or decimal, thousands separators allowed; None for anything else.

    Only numbers on which exact comparison and math-verify's (rounded to 6 places, 15 digits) must agree.
    """
    match = _NUMBER.fullmatch(text) if len(text) <= 300 else None
    if match is None:
        return None
    sign, whole, fraction = match.group(1), match.group(2).replace(",", ""), match.group(3) or ""
    if fraction and (len(fraction) > 7 or len(whole) + len(fraction) > 15):
        return None
    value = Decimal(whole + fraction)
    return -value if sign == "-" else value


def exact_value(text: str) -> Fraction | None:
    r"""The value of a plain integer, `\frac{3}{4}` or `3/4`; None for anything else."""
    if match := _SIMPLE_FRACTION.fullmatch(text):
        sign, above, below = match.group(1, 2, 3) if match.group(2) else match.group(4, 5, 6)
        if int(below) == 0:
            return None
        return Fraction(int(above), int(below)) * (-1 if sign else 1)
    number = plain_number(text)
    return Fraction(number) if number is not None and "." not in text else None


def choice(text: str) -> str | None:
    r"""The letter of a multiple-choice answer: `B`, `(B)`, `\textbf{(B)}`, `B) 12`; None for anything else."""
    for _ in range(MAX_DEPTH):
        if "{" not in text:
            break
        text = _FONT.sub(r"\1", text)
    match = _CHOICE.fullmatch(text.replace("\\ ", " ").strip())
    if match is None or (match.group(2) and _OPTION_LABEL.search(match.group(2))):
        return None
    return match.group(1)


def _unknowns(text: str) -> set[str]:
    """Which of x, y and z occur as variables. With one that the gold answer has not, no side of an answer is right."""
    return set("".join(_UNKNOWNS.findall(text)))


def _depth(text: str) -> int:
    deepest = depth = 0
    for character in text:
        if character in "{([":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "})]":
            depth -= 1
    return deepest


class MathReward(Reward):
    """1 if the answer equals the gold answer, else 0."""

    uses = ("question",)

    def shortcut(self, gold: str, answer: str, extra: Mapping[str, Any]) -> float | None:
        """Identical strings, plain numbers, option letters, and answers too long, deep or involved to be one."""
        if len(answer) > 8 * MAX_LENGTH and len(answer) > 4 * len(gold):
            return 0.0
        expected, given = clean_gold(gold), clean(answer)
        if not given:
            return 0.0
        if given == expected:
            return 1.0
        target, exact = plain_number(expected), exact_value(expected)
        value = _ASSIGNED.sub("", given, count=1) if _ASSIGNED.match(given) else given  # x = 5 for 5
        if target is not None and (number := plain_number(value)) is not None:
            return float(number == target)
        if exact is not None and (ratio := exact_value(value)) is not None:
            return float(ratio == exact)
        if _TASK.search(given) and not _TASK.search(expected):
            return 0.0
        if _COMPUTED.search(given) and target is not None:
            return 0.0
        if len(expected) < 12 and (letter := choice(expected)) and choice(given) == letter:
            return 1.0
        deepest = max(MAX_DEPTH, _depth(expected))
        if len(given) > max(MAX_LENGTH, 4 * len(expected)) or _depth(given) > deepest or given.count("|") > 2 * deepest:
            return 0.0
        known = _unknowns(expected)
        if all(_unknowns(side) - known for side in _RELATION.split(given)):
            return 0.0
        if len(_OPERATOR.findall(given)) > max(MAX_OPERATORS, 3 * len(_OPERATOR.findall(expected))):
            return 0.0
        return None

    def plain_gold(self, gold: str) -> bool:
        """Plain numbers need no parser to be known as good."""
        return plain_number(clean_gold(gold)) is not None

    def warm_up(self) -> None:
        """Import math-verify and let its parser build its tables."""
        for gold, answer in ((r"\frac{1}{2}", "0.5"), ("(1, 2)", r"x=\sqrt{3}"), (r"x^2+1", r"\{1, 2\}")):
            self.score(gold, answer, {})

    def score(self, gold: str, answer: str, extra: Mapping[str, Any]) -> float:
        """1.0 or 0.0. ValueError for a gold answer that cannot be parsed, TooLarge for an astronomical answer."""
        from math_verify import verify

        from rarft.rewards import math_guard

        expected = parse(clean_gold(gold))
        if expected is None:
            raise ValueError(f"the gold answer {gold!r} cannot be parsed")
        text = clean(answer)
        given = parse(text)
        if given is None:
            return 0.0
        if not math_guard.small(expected):
            return 0.0  # only an identical answer can be right, and shortcut has seen that it is not
        math_guard.refuse_large(given)
        same = math_guard.same_equation(expected, given)
        literal = not same and math_guard.is_literal(expected)
        if literal and _COMPUTED.search(text) and not _COMPUTED.search(clean_gold(gold)):
            return 0.0
        if not (same or math_guard.is_answer(expected, given)) or _contradicts(text):
            return 0.0
        if not literal and _echoes(text, clean_gold(gold), str(extra.get("question") or "")):
            return 0.0
        if same:
            return 1.0
        if math_guard.differ(expected, given):
            return 0.0
        return float(verify(expected, given, timeout_seconds=None))

    def check_gold(self, gold: str, extra: Mapping[str, Any]) -> None:
        """ValueError if the gold answer is empty or math-verify cannot parse it."""
        text = clean_gold(gold)
        if not text:
            raise ValueError("the gold answer is empty")
        if len(text) > 8 * MAX_LENGTH:
            raise ValueError(f"the gold answer has {len(text)} characters")
        if parse(text) is None:
            raise ValueError(f"the gold answer {gold!r} cannot be parsed as mathematics")


@lru_cache(maxsize=2048)
def parse(text: str) -> "Basic | None":
    r"""`text` as a SymPy expression, by math-verify; None if it is no complete expression.

    math-verify drops a trailing `\text{...}` as a unit; where that would drop words that join candidates, or leave
    nothing that parses, nothing is dropped.
    """
    from math_verify import parse as math_verify_parse

    for units in (False,) if _joins(text) else (True, False):
        found = math_verify_parse(
            f"\\boxed{{{text}}}",
            _configs()[units],
            fallback_mode="no_fallback",
            extraction_mode="first_match",
            parsing_timeout=None,
        )
        if found:
            return found[0]
    return None


def _joins(text: str) -> bool:
    """Whether the words at the end of an answer hold more than a unit."""
    groups = list(_TEXT_GROUP.finditer(text))
    if not groups:
        return False
    first, last = groups[0], groups[-1]
    if _POWER.fullmatch(text, last.end()) is None:
        return False  # not at the end: math-verify keeps it
    return first is not last or (bool(_HEDGE.search(first.group(1))) and first.start() > 0)


@lru_cache(maxsize=1)
def _configs() -> "dict[bool, list[Any]]":
    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig
    from math_verify import LatexExtractionConfig

    usual = LatexExtractionConfig(boxed_match_priority=0)
    without_units = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all", equations=False
    )
    return {
        True: [usual],
        False: [LatexExtractionConfig(boxed_match_priority=0, normalization_config=without_units)],
    }


def _contradicts(answer: str) -> bool:
    r"""Whether an answer `a \approx b` gives two numbers that are not close, and so is two answers."""
    parts = [plain_number(clean(part)) for part in _APPROXIMATELY.split(answer)]
    numbers = [part for part in parts if part is not None]
    return any(abs(a - numbers[0]) * 100 > max(abs(a), abs(numbers[0])) for a in numbers)


def _echoes(answer: str, gold: str, question: str) -> bool:
    """Whether the answer is a whole formula of the question, has something left to do in it, and is not the gold one.

    Never where the question lists options.
    """
    if not question or not _TO_COMPUTE.search(answer.lstrip("-+")) or "(A)" in question:
        return False
    given, expected = _SPACING.sub("", answer), _SPACING.sub("", gold)
    return given != expected and any(_SPACING.sub("", formula) == given for formula in _formulas(question))


def _formulas(question: str) -> Iterable[str]:
    for match in _FORMULA.finditer(question):
        yield next(group for group in match.groups() if group)
