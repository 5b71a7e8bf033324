"""The library as code: functions that the seed deals out, their compositions, their tests, and their names.

In the other house the same functions carry other names: a name that training has taught is there too, and does
something else.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rarft.testbed.library.functions import FUNCTIONS, NAMES
from rarft.testbed.library.themes import HELPERS, WORDS

MODULE = "hedgerow"
"""What the library is imported as."""
ENTRY_POINT = "solve"
TESTS, TRIES = 4, 50
K = range(2, 6)
"""What the second argument of a function can be."""


class Function(NamedTuple):
    """A function without a name."""

    takes: str
    """Kind of its argument: counts, names, text or n."""
    gives: str
    with_k: bool
    """Whether it takes a second argument, which the task states."""
    expression: str


class Library:
    """The functions by their keys, with what the seed puts into them. A *use* is a key, or two joined by `+`.

    Each use that is dealt out does something else on the values of its tests than all others.
    """

    def __init__(self, rng: random.Random) -> None:
        self.functions: dict[str, Function] = {}
        for header in FUNCTIONS:
            key, rest = header.split(" = ", 1)
            signature, rest = rest.split(": ", 1)
            takes, gives = signature.split(" -> ")
            expression, *options = rest.split(" | ")
            for name, values in zip("pq", options, strict=False):
                expression = expression.replace(f"{{{name}}}", rng.choice(values.split()))
            self.functions[key] = Function(takes.removesuffix(", k"), gives, takes.endswith(", k"), expression)
        self.uses = list(self.functions)
        self._compiled: dict[str, Any] = {}
        exec(self.source({key: key for key in self.functions}), self._compiled)

    def source(self, names: Mapping[str, str]) -> str:
        """The library's source under these names, in alphabetical order."""
        lines = {}
        for key, function in self.functions.items():
            arguments = "x, k" if function.with_k else "x"
            lines[names[key]] = f"def {names[key]}({arguments}):\n    return {function.expression}\n"
        return "\n\n".join(lines[name] for name in sorted(lines))

    def run(self, use: str, value: Any, k: int) -> Any:
        """What a use makes of a value."""
        for key in use.split("+"):
            function = self._compiled[key]
            value = function(value, k) if self.functions[key].with_k else function(value)
        return value

    def compositions(self, keys: Sequence[str], count: int, rng: random.Random) -> list[str]:
        """`count` uses of two of the functions, none of which does what one in use does, spread over the keys."""
        pairs = [
            (a, b)
            for a, b in itertools.permutations(keys, 2)
            if self.functions[a].gives == self.functions[b].takes
            and not self.functions[a].with_k
            and not self.functions[b].with_k
            and self._find_inputs(f"{a}+{b}", 0, self._alike(a), rng, tries=1)  # most that are no use of their own
        ]
        rng.shuffle(pairs)
        used = dict.fromkeys(keys, 0)
        chosen: list[str] = []
        while len(chosen) < count:
            if not pairs:
                raise RuntimeError(f"only {len(chosen)} of {count} compositions differ from all other uses")
            pair = min(pairs, key=lambda pair: used[pair[0]] + used[pair[1]])
            pairs.remove(pair)
            use = "+".join(pair)
            if not self._differs(use, random.Random(use)):
                continue
            for key in pair:
                used[key] += 1
            chosen.append(use)
            self.uses.append(use)
        return chosen

    def tests(self, use: str, k: int, rng: random.Random) -> list[str]:
        """Asserts with literal values, which no other use passes, nor the argument itself."""
        inputs = self._find_inputs(use, k, self.uses, rng, TRIES)
        if not inputs:
            raise RuntimeError(f"no tests tell {use} from another use of the library")
        return [f"assert {ENTRY_POINT}({value!r}) == {self.run(use, value, k)!r}" for value in inputs]

    def _differs(self, use: str, rng: random.Random) -> bool:
        """Whether tests can tell a use from all in use, and each of those from it, whatever k is."""
        return all(
            self._find_inputs(use, k, self.uses, rng, TRIES)
            and all(self._find_inputs(other, k, [use], rng, TRIES) for other in self.uses)
            for k in K
        )

    def _alike(self, key: str) -> list[str]:
        """The functions that take what this one takes."""
        return [other for other, function in self.functions.items() if function.takes == self.functions[key].takes]

    def _find_inputs(self, use: str, k: int, rivals: Sequence[str], rng: random.Random, tries: int) -> list[Any]:
        """Values on which no other use does what this one does; none if a few tries find none."""
        takes = self.functions[use.split("+")[0]].takes
        for _ in range(tries):
            inputs = [make_input(takes, rng) for _ in range(TESTS)]
            wanted = [self.run(use, value, k) for value in inputs]
            if wanted == inputs or len({repr(want) for want in wanted}) == 1 or len(set(map(repr, inputs))) < TESTS:
                continue
            if not any(self._gives(rival, inputs, k, wanted) for rival in rivals if rival != use):
                return inputs
        return []

    def _gives(self, use: str, inputs: Sequence[Any], k: int, wanted: Sequence[Any]) -> bool:
        """Whether a use makes the wanted values of these; one for another kind of argument may fail on them."""
        try:
            return all(self.run(use, value, k) == want for value, want in zip(inputs, wanted, strict=True))
        except (TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError):
            return False


def deal_names(keys: Sequence[str], rng: random.Random) -> tuple[dict[str, str], dict[str, str]]:
    """Function key -> name, in this house and in the other: the same names, each on another function."""
    names = rng.sample(NAMES, len(keys))
    shift = rng.randrange(1, len(keys))
    other = names[shift:] + names[:shift]
    return dict(zip(keys, names, strict=True)), dict(zip(keys, other, strict=True))


def make_input(kind: str, rng: random.Random) -> Any:
    """A value that a function is tried on."""
    if kind == "counts":
        return [rng.randint(2, 19) for _ in range(rng.randint(8, 10))]
    if kind == "names":
        return rng.sample(HELPERS, rng.randint(6, 8))
    if kind == "text":
        return " ".join(rng.sample(WORDS, rng.randint(2, 3)))
    return rng.randint(13, 199)
