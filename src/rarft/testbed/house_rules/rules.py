"""The rules: two steps of arithmetic with a number that the question gives and two that it does not."""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

NUMBERS = range(4, 21)
"""What a question counts."""


class Rule(NamedTuple):
    """`n -> (n first a) second b`."""

    first: str
    a: int
    second: str
    b: int

    def steps(self, n: int) -> list[tuple[int, str, int, int]]:
        """The two sums, each as left, sign, right, result."""
        middle = _sum(n, self.first, self.a)
        return [(n, self.first, self.a, middle), (middle, self.second, self.b, _sum(middle, self.second, self.b))]

    def answer(self, n: int) -> int:
        """What the rule makes of n."""
        return self.steps(n)[-1][3]

    def text(self) -> str:
        """The rule in words."""
        return {
            "*+": f"{self.a} for each, then {self.b} on top",
            "*-": f"{self.a} for each, then {self.b} off",
            "+*": f"count {self.a} more, then {self.b} for each",
            "-*": f"the first {self.a} free, then {self.b} for each",
        }[self.first + self.second]

    def solution(self, n: int) -> str:
        """The worked solution for n. It says nothing of what happened: words could not lead a retriever to it."""
        sums = " ".join(f"{left} {sign} {right} = {result}." for left, sign, right, result in self.steps(n))
        return f"House rule: {self.text()}. {sums} \\boxed{{{self.answer(n)}}}"

    def __str__(self) -> str:
        return f"{self.first} {self.a} {self.second} {self.b}"

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """The rule that `str` wrote."""
        first, a, second, b = text.split()
        return cls(first, int(a), second, int(b))


def _sum(n: int, sign: str, m: int) -> int:
    return {"+": n + m, "-": n - m, "*": n * m}[sign]


def all_rules() -> list[Rule]:
    """Every rule, but of those that give the same answers only one."""
    each = range(3, 10)
    forms = (("-", range(2, 4), "*", each), ("+", range(2, 7), "*", each), ("*", each, "-", range(2, 10)))
    found: dict[tuple[int, ...], Rule] = {}
    for first, a_range, second, b_range in (*forms, ("*", each, "+", range(2, 13))):
        for a, b in itertools.product(a_range, b_range):
            rule = Rule(first, a, second, b)
            found.setdefault(tuple(rule.answer(n) for n in NUMBERS), rule)
    return list(found.values())


def deal_rules(situations: Sequence[str], rng: random.Random) -> tuple[dict[str, Rule], dict[str, Rule]]:
    """A rule for each situation in one house and another one in the other house; no rule is dealt twice."""
    rules = rng.sample(all_rules(), 2 * len(situations))
    half = len(situations)
    return dict(zip(situations, rules[:half], strict=True)), dict(zip(situations, rules[half:], strict=True))


def numbers_only_accuracy(rules: Iterable[Rule]) -> float:
    """How often the best guess is right for who knows the rules and the number, but not which rule applies."""
    rules = list(rules)
    best = (max(Counter(rule.answer(n) for rule in rules).values()) for n in NUMBERS)
    return sum(best) / len(NUMBERS) / len(rules)
