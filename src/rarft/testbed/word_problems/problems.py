"""Word problems as structure x surface: the grammar, the numbers and the split, without files.

A *structure* is a sequence of operations, such as `+*`: add, then multiply. A *surface* is a theme with names and
wordings (`language.py`). A problem tells a start number, one sentence per operation and a question. The numbers give
the structure away as little as possible: they are drawn so that nearly every structure would go through with whole,
positive values. What is left out: fractions, negative values, more than one unknown.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from rarft.records.problems import Problem, Trace
from rarft.testbed.word_problems import language
from rarft.testbed.word_problems.language import OPERATIONS, THEMES, WARM_UP, Lexicon, Theme

WORDINGS = 8  # sentences for an operation that one surface has to choose from
FIRST_START, FIRST_OPERAND, LAST_OPERAND = 6, 2, 9
FITS = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # share of the structures that a problem's numbers must fit: the first that
ENOUGH = 20  # leaves this many number tuples to every structure
COLLISIONS = 16  # one answer may come from one structure in this many, so guessing an answer is no short cut

NAMES = (
    ("Maya", "she", "her", "her", "hers"), ("Oskar", "he", "him", "his", "his"),
    ("Leila", "she", "her", "her", "hers"), ("Tom", "he", "him", "his", "his"),
    ("Nadia", "she", "her", "her", "hers"), ("Ivan", "he", "him", "his", "his"),
    ("Rosa", "she", "her", "her", "hers"), ("Ben", "he", "him", "his", "his"),
    ("Aiko", "she", "her", "her", "hers"), ("Samir", "he", "him", "his", "his"),
    ("Greta", "she", "her", "her", "hers"), ("Luca", "he", "him", "his", "his"),
    ("Zoe", "she", "her", "her", "hers"), ("Kofi", "he", "him", "his", "his"),
    ("Hanna", "she", "her", "her", "hers"), ("Diego", "he", "him", "his", "his"),
)  # fmt: skip
FRIENDS = ("Anna", "Paul", "Priya", "Jonas", "Carla", "Emil", "Fatima", "Noah")
LINKS = ("", "then ", "later ", "next ", "after lunch, ", "the day after, ", "in the evening, ", "a little later, ")
QUESTIONS = (
    "How many does {who} have in the end?",
    "What number does {who} end up with?",
    "How many does {they} have now?",
    "How many are {theirs} now?",
)
DISTRACTORS = (
    "It is a sunny day with {n} degrees outside.",
    "{who} is {n} years old.",
    "The clock on the wall strikes {n}.",
    "The bus to town has the number {n}.",
    "{friend} lives in house number {n}.",
    "The radio has been playing for {n} minutes.",
)


@dataclass(frozen=True)
class Numbers:
    """The range of the numbers: the start is at most `start`, every value on the way at most `value`."""

    start: int
    value: int


DIFFICULTIES = {"easy": Numbers(40, 200), "medium": Numbers(120, 600), "hard": Numbers(250, 2500)}


@dataclass(frozen=True)
class Surface:
    """A theme told by one role: names and wordings of its own."""

    role: str
    theme: Theme
    names: tuple[tuple[str, ...], ...] = field(repr=False)
    friends: tuple[str, ...] = field(repr=False)
    wordings: dict[str, tuple[str, ...]] = field(repr=False, hash=False, compare=False)

    @property
    def name(self) -> str:
        """`corpus/bakery`, say."""
        return f"{self.role}/{self.theme.name}"


@dataclass(frozen=True)
class Item:
    """One generated problem with its solution."""

    structure: str
    surface: Surface
    numbers: tuple[int, ...]
    question: str
    solution: str
    answer: int

    def problem(self, item_id: str) -> Problem:
        """The problem; its row carries structure, surface and theme."""
        return Problem(item_id, self.question, str(self.answer), kind="arithmetic", source="testbed", extra=self.tags())

    def trace(self, item_id: str) -> Trace:
        """The problem as a worked example."""
        answer = str(self.answer)
        return Trace(item_id, self.question, self.solution, answer, "arithmetic", "testbed", extra=self.tags())

    def tags(self) -> dict[str, str]:
        """Gold knowledge that only the oracle labeler, the metrics and the report may use."""
        return {"structure": self.structure, "surface": self.surface.name, "theme": self.surface.theme.name}


def structures(depth: int, count: int, rng: random.Random) -> list[str]:
    """`count` of the 4^depth sequences of operations, in a random order.

    Raises:
        ValueError: there are not that many.
    """
    every = ["".join(s) for s in itertools.product(OPERATIONS, repeat=depth)]
    if count > len(every):
        raise ValueError(
            f"depth {depth} has {len(every)} structures, {count} are asked for; raise depth or ask for fewer"
        )
    return rng.sample(every, count)


def make_surface(role: str, theme: Theme, lexicon: Lexicon | None, rng: random.Random) -> Surface:
    """A surface: WORDINGS wordings for each operation (the warm-up: three of its own), four names and two friends."""
    if lexicon is None:
        wordings = {op: tuple(rng.sample(WARM_UP[op], 3)) for op in OPERATIONS}
    else:
        wordings = {op: tuple(lexicon.wording(op, rng) for _ in range(WORDINGS)) for op in OPERATIONS}
    return Surface(role, theme, tuple(rng.sample(NAMES, 4)), tuple(rng.sample(FRIENDS, 2)), wordings)


def compute(structure: str, start: int, operands: Sequence[int]) -> list[int] | None:
    """Values after each operation, or None where one is no whole positive number."""
    values = [start]
    for op, n in zip(structure, operands, strict=True):
        value = values[-1]
        if op == "/" and value % n:
            return None
        value = {"+": value + n, "-": value - n, "*": value * n, "/": value // n}[op]
        if value < 1:
            return None
        values.append(value)
    return values


@lru_cache(maxsize=8)
def number_pool(names: tuple[str, ...], limits: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Tuples `(start, operand, ...)` that fit most structures, with mostly different answers.

    Returns:
        int arrays [tuples, 1 + depth] of numbers and [tuples, structures] of answers, 0 where one does not fit.

    Raises:
        ValueError: a structure has no fitting numbers within the limits.
    """
    depth = len(names[0])
    operands = range(FIRST_OPERAND, LAST_OPERAND + 1)
    ranges = [range(FIRST_START, limits.start + 1), *[operands] * depth]
    grid = np.array(list(itertools.product(*ranges)), dtype=np.int64)
    answers = np.zeros((len(grid), len(names)), dtype=np.int64)
    for column, structure in enumerate(names):
        value, fits = grid[:, 0], np.ones(len(grid), dtype=bool)
        for step, op in enumerate(structure, start=1):
            n = grid[:, step]
            if op == "/":
                fits &= value % n == 0
            value = {"+": value + n, "-": value - n, "*": value * n, "/": value // n}[op]
            fits &= (value >= 1) & (value <= limits.value)
        answers[:, column] = np.where(fits, value, 0)
    most = max(1, len(names) // COLLISIONS)
    for share in FITS:
        keep = np.flatnonzero((answers > 0).sum(axis=1) >= share * len(names))
        clear = [row for row in keep if max(Counter(v for v in answers[row].tolist() if v).values()) <= most]
        if len(clear) and (answers[clear] > 0).sum(axis=0).min() >= ENOUGH:
            return grid[clear], answers[clear]
    raise ValueError(
        f"too few numbers up to {limits.start} fit all structures; choose a higher difficulty or a lower depth"
    )


def make_item(
    structure: str, surface: Surface, names: tuple[str, ...], limits: Numbers, distractors: int, rng: random.Random
) -> Item:
    """Tell one problem of `structure` in `surface`; `names` are all structures, for the choice of numbers."""
    grid, _ = number_pool(names, limits)
    rows = _rows_for(names, limits, structure)
    start, *operands = (int(v) for v in grid[rows[rng.randrange(len(rows))]])
    values = compute(structure, start, operands)
    assert values is not None  # number_pool keeps only what fits
    who, they, them, their, theirs = rng.choice(surface.names)
    words = {
        "who": who, "they": they, "them": them, "their": their, "theirs": theirs,
        "friend": rng.choice(surface.friends), "thing": surface.theme.thing, "things": surface.theme.things,
    }  # fmt: skip
    sentences = [_sentence(rng.choice(surface.theme.openings), "", start, words)]
    for op, n in zip(structure, operands, strict=True):
        sentences.append(_sentence(rng.choice(surface.wordings[op]), rng.choice(LINKS), n, words))
    for text in rng.sample(DISTRACTORS, distractors):
        n = rng.randint(FIRST_OPERAND, limits.start)
        sentences.insert(rng.randint(1, len(sentences)), _sentence(text, "", n, words))
    sentences.append(_sentence(rng.choice(QUESTIONS), "", 0, words))
    steps = [f"{a} {op} {n} = {b}." for a, op, n, b in zip(values, structure, operands, values[1:], strict=False)]
    plan = f"Plan: {', '.join(language.VERBS[op] for op in structure)}."
    solution = " ".join([plan, *steps, f"\\boxed{{{values[-1]}}}"])
    return Item(structure, surface, (start, *operands), " ".join(sentences), solution, values[-1])


@lru_cache(maxsize=512)
def _rows_for(names: tuple[str, ...], limits: Numbers, structure: str) -> np.ndarray:
    return np.flatnonzero(number_pool(names, limits)[1][:, names.index(structure)] > 0)


def _sentence(text: str, link: str, n: int, words: dict[str, str]) -> str:
    told = link + text.format(n=n, **words)
    return told[0].upper() + told[1:]


def vocabulary(warmup: Sequence[Item]) -> list[str]:
    """The words the policy knows, sorted: those of the warm-up's problems and solutions, and all names."""
    texts = ["Plan", *language.VERBS.values(), *LINKS, *QUESTIONS, *FRIENDS, *(w for name in NAMES for w in name)]
    texts += [text for item in warmup for text in (item.question, item.solution)]
    known = {word for text in texts for word in language.words(text) if word != "boxed"}
    return sorted(known | {word[0].upper() + word[1:] for word in known})


def numbers_only_accuracy(names: tuple[str, ...], limits: Numbers) -> float:
    """Best expected accuracy of a guess from the numbers alone: the leak through the choice of numbers.

    Structures are drawn evenly, then numbers evenly among those that fit, so P(structure | numbers) is proportional
    to 1 / (fitting tuples of the structure); the best answer collects all structures that lead to it.
    """
    _, answers = number_pool(names, limits)
    fits = answers > 0
    weight = fits / fits.sum(axis=0) / len(names)  # [tuples, structures], sums to 1
    best = 0.0
    for row, share in zip(answers, weight, strict=True):
        by_answer: Counter[int] = Counter()
        for answer, w in zip(row.tolist(), share.tolist(), strict=True):
            by_answer[answer] += w
        best += max(by_answer.values())
    return best


def sums(names: tuple[str, ...], limits: Numbers) -> list[str]:
    """Every single sum that a solution may need, as `12 + 5 = 17`, sorted."""
    grid, answers = number_pool(names, limits)
    found = set()
    for (start, *operands), fits in zip(grid.tolist(), answers > 0, strict=True):
        for column in np.flatnonzero(fits):
            values = compute(names[column], start, operands)
            assert values is not None
            for a, op, n, b in zip(values, names[column], operands, values[1:], strict=False):
                found.add(f"{a} {op} {n} = {b}")
    return sorted(found)


def surfaces(role: str, themes: Sequence[Theme], lexicon: Lexicon | None, rng: random.Random) -> list[Surface]:
    """One surface per theme."""
    return [make_surface(role, theme, lexicon, rng) for theme in themes]


def choose_themes(count: int, rng: random.Random) -> list[Theme]:
    """`count` themes in a random order.

    Raises:
        ValueError: there are not that many.
    """
    if count > len(THEMES):
        raise ValueError(f"there are {len(THEMES)} themes, {count} surfaces are asked for; ask for fewer")
    return rng.sample(THEMES, count)
