"""The rules: so many coins for each, and so many on top.

All rules have this form, because any example raises the likelihood of a solution of its own form. With several forms
(the first ones free, some off) an example of the same form gained 1.6 nats a token and another one 0.9, whatever its
numbers were; with one form, what is left to gain is the rule itself.
"""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

NUMBERS = range(4, 21)
"""What a question counts."""
FOR_EACH, ON_TOP = range(2, 10), range(2, 21)


class Rule(NamedTuple):
    """`n -> n * each + top`."""

    each: int
    top: int

    def answer(self, n: int) -> int:
        """What the rule makes of n."""
        return n * self.each + self.top

    def solution(self, n: int) -> str:
        """The worked solution for n. It says nothing of what happened: words could not lead a retriever to it."""
        return (
            f"House rule: {self.each} for each, {self.top} on top. {n} * {self.each} = {n * self.each}. "
            f"{n * self.each} + {self.top} = {self.answer(n)}. \\boxed{{{self.answer(n)}}}"
        )

    def __str__(self) -> str:
        return f"* {self.each} + {self.top}"

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """The rule that `str` wrote."""
        _, each, _, top = text.split()
        return cls(int(each), int(top))


def deal_rules(situations: Sequence[str], rng: random.Random) -> tuple[dict[str, Rule], dict[str, Rule]]:
    """A rule for each situation in one house and another one in the other house; no rule is dealt twice."""
    every = [Rule(each, top) for each, top in itertools.product(FOR_EACH, ON_TOP)]
    rules = rng.sample(every, 2 * len(situations))
    half = len(situations)
    return dict(zip(situations, rules[:half], strict=True)), dict(zip(situations, rules[half:], strict=True))


def numbers_only_accuracy(rules: Iterable[Rule]) -> float:
    """How often the best guess is right for who knows the rules and the number, but not which rule applies."""
    rules = list(rules)
    best = (max(Counter(rule.answer(n) for rule in rules).values()) for n in NUMBERS)
    return sum(best) / len(NUMBERS) / len(rules)
