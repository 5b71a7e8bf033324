"""What the house rules and the library have in common: who tells what, where, and in which words.

A *structure* is what a problem is about (a situation, a use of functions), a *place* where it happens. The corpus tells
a structure at one half of the places, and problems ask about it at the other half: a precedent never shares the place
of the problem, and what shares its place is always about something else. The tellings of a structure are dealt out to
*roles* (corpus, training, evaluation), so no two roles share a sentence. A third of the structures is *unseen*: the
corpus tells them, training does not.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rarft.core.errors import InputError
from rarft.records.problems import Problem, Trace
from rarft.records.rows import write_jsonl

ROLES = ("corpus", "train", "eval")
PARTS = {"train": "train", "eval": "eval", "eval-seen": "eval", "corpus": "corpus"}
"""Folder -> the role whose tellings and places it has."""
TRIES = 500


@dataclass(frozen=True)
class Item:
    """A problem with its solution."""

    question: str
    solution: str
    answer: str | None
    structure: str
    place: str
    tellings: tuple[str, ...]
    """The sentences that tell the structure, before names and numbers are put in."""
    kind: str
    columns: Mapping[str, Any]
    """Further columns of its row."""

    def problem(self, item_id: str) -> Problem:
        """The problem; its row carries `structure` and `place`, which only oracle, metrics and report may look at."""
        return Problem(item_id, self.question, self.answer, self.kind, "testbed", extra=self.tags())

    def trace(self, item_id: str) -> Trace:
        """The problem as a worked example."""
        return Trace(item_id, self.question, self.solution, self.answer, self.kind, "testbed", self.tags())

    def tags(self) -> dict[str, Any]:
        """The columns beside those that every problem has."""
        return {"structure": self.structure, "place": self.place, **self.columns}


@dataclass(frozen=True)
class Split:
    """Which structures are known, and where each is told by the corpus and asked by training and evaluation."""

    known: tuple[str, ...]
    unseen: tuple[str, ...]
    where: Mapping[str, Mapping[str, tuple[str, ...]]]
    """Role -> structure -> places."""

    def of(self, part: str) -> tuple[str, ...]:
        """The structures of a part."""
        return {"train": self.known, "eval-seen": self.known, "eval": self.unseen}.get(part, self.known + self.unseen)


def read_blocks(text: str) -> dict[str, tuple[str, ...]]:
    """Blocks between blank lines, as first line -> other lines."""
    blocks = (block.split("\n") for block in text.strip().split("\n\n"))
    return {first: tuple(lines) for first, *lines in blocks}


def split(known: Sequence[str], unseen: Sequence[str], places: Sequence[str], rng: random.Random) -> Split:
    """Deal the places: three fifths to training, the others to evaluation, half of each to what the corpus tells."""
    shuffled = rng.sample(places, len(places))
    cut = 3 * len(places) // 5
    where: dict[str, dict[str, tuple[str, ...]]] = {role: {} for role in ROLES}
    for structure in (*known, *unseen):
        told: list[str] = []
        for role, share in (("train", shuffled[:cut]), ("eval", shuffled[cut:])):
            mixed = rng.sample(share, len(share))
            where[role][structure] = tuple(mixed[: len(mixed) // 2])
            told += mixed[len(mixed) // 2 :]
        where["corpus"][structure] = tuple(rng.sample(told, len(told)))
    return Split(tuple(known), tuple(unseen), where)


def deal_tellings(
    tellings: Mapping[str, Sequence[str]], unseen: Sequence[str], rng: random.Random
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Role -> what is told -> its sentences: 4 : 3 : 3 to corpus, training and evaluation; without training, halves."""
    dealt: dict[str, dict[str, tuple[str, ...]]] = {role: {} for role in ROLES}
    for name, texts in tellings.items():
        mixed = rng.sample(texts, len(texts))
        first = len(mixed) // 2 if name in unseen else round(0.4 * len(mixed))
        second = first if name in unseen else first + (len(mixed) - first) // 2
        for role, chosen in zip(ROLES, (mixed[:first], mixed[first:second], mixed[second:]), strict=True):
            dealt[role][name] = tuple(chosen)
    return dealt


def fill(part: str, count: int, dealt: Split, make: Callable[[str, str, random.Random], Item], seed: int) -> list[Item]:
    """`count` items of one part, evenly over its structures and over its places.

    Args:
        make: structure, place and randomness -> an item.

    Raises:
        InputError: too few to have every structure, or more than there are that differ in more than their numbers.
    """
    structures, places = dealt.of(part), dealt.where[PARTS[part]]
    if part in ("train", "corpus") and count < len(structures):
        raise InputError(f"n-{part} is {count}; give {len(structures)} or more, one for each structure")
    rng = random.Random(f"{seed} {part}")  # one part's size does not change another part
    made: list[Item] = []
    seen: set[str] = set()
    at_place: Counter[str] = Counter()
    told_there: Counter[tuple[str, str]] = Counter()
    failed = 0
    while len(made) < count and failed < TRIES:
        structure = structures[len(made) % len(structures)]
        place = min(places[structure], key=lambda p: (told_there[structure, p], at_place[p], rng.random()))
        told_there[structure, place] += 1
        item = make(structure, place, rng)
        bare = re.sub(r"\d+", "#", item.question)
        failed = failed + 1 if bare in seen else 0
        if not failed:
            seen.add(bare)
            at_place[place] += 1
            made.append(item)
    if len(made) == count:
        return made
    raise InputError(f"{part}: only {len(made)} different problems were found, {count} are asked for; ask for fewer")


def write_parts(made: Mapping[str, Sequence[Item]], output: Path) -> dict[str, int]:
    """Write problems.jsonl and traces.jsonl of each part, of a corpus the traces alone; return the sizes.

    A question asked in another house keeps its id, so that a report can set its answers side by side.
    """
    for part, items in made.items():
        folder = output / part
        folder.mkdir(parents=True, exist_ok=True)
        corpus = part.endswith("corpus")
        prefix = part.replace("/", "-") if corpus else part.removeprefix("swapped/")
        ids = [f"{prefix}-{i:05d}" for i in range(len(items))]
        write_jsonl(folder / "traces.jsonl", (item.trace(i) for i, item in zip(ids, items, strict=True)))
        if not corpus:
            write_jsonl(folder / "problems.jsonl", (item.problem(i) for i, item in zip(ids, items, strict=True)))
    return {f"n_{part}": len(made[part]) for part in PARTS}
