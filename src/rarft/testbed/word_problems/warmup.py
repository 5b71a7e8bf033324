"""What the policy's warm-up consists of: word problems with and without demonstrations, and two kinds of exercise.

- *arithmetic*: word problems in the warm-up's surfaces; most without a demonstration, some with one of another
  structure, a few with one of the same. The words say what to do, so a demonstration is not needed.
- *sums*: several plain sums, without words: what the policy learns to calculate from.
- *garbled*: stories told in made-up words, each after a worked example of the same kind, which has the same
  structure in a share of the cases. The words say nothing; what the policy learns is that the example may be worth
  copying, and how often. The share sets how far it trusts examples before RL.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from rarft.records.analogies import ANALOGIES, Analogy, write_analogies
from rarft.records.problems import Problem, Trace
from rarft.records.rows import write_jsonl
from rarft.testbed.config import TestbedConfig
from rarft.testbed.word_problems.language import FILLERS, NONSENSE, OPERATIONS, PATTERNS, SLOT, WARM_UP, words
from rarft.testbed.word_problems.problems import LINKS, Item, Numbers, sums

FAMILIAR = 0.4  # share of a garbled story's words that the policy knows from elsewhere


def write_warmup(
    config: TestbedConfig, items: Sequence[Item], names: tuple[str, ...], limits: Numbers, folder: Path
) -> None:
    """Write problems.jsonl, traces.jsonl and analogies.parquet into `folder`.

    Args:
        items: the word problems; those after the first `n_warmup` are garbled.
        names: all structures, whose sums are drilled.
    """
    rng = random.Random(config.seed + 1)
    every = sums(names, limits)
    items, to_garble = items[: config.n_warmup], items[config.n_warmup :]
    problems = [item.problem(f"warmup-{i:05d}") for i, item in enumerate(items)]
    traces = [item.trace(f"warmup-{i:05d}") for i, item in enumerate(items)]
    rows = demonstrations(config, items, rng)
    twins = by_structure(to_garble)
    for i in range(config.n_drills):
        add(problems, traces, f"sums-{i:05d}", *drill(every, config.drill_sums, rng), "sums")
    for i, item in enumerate(to_garble):
        alike = rng.random() < config.garbled_same
        question = garble(item, rng)
        add(problems, traces, f"garbled-{i:05d}", question, item.solution, str(item.answer), "garbled")
        choice = rng.choice(twins[item.structure]) if alike else other(to_garble, item, rng)
        if choice != i:
            rows.append(row(f"garbled-{i:05d}", f"garbled-{choice:05d}", float(alike)))
    write_jsonl(folder / "problems.jsonl", problems)
    write_jsonl(folder / "traces.jsonl", traces)
    write_analogies(folder / ANALOGIES, rows)


def demonstrations(config: TestbedConfig, items: Sequence[Item], rng: random.Random) -> list[Analogy]:
    """Which word problem is shown with which other one, in the shares that the config gives."""
    same = by_structure(items)
    rows = []
    for i, item in enumerate(items):
        draw = rng.random()
        if draw < config.warmup_same:
            choice, score = rng.choice(same[item.structure]), 1.0
        elif draw < config.warmup_same + config.warmup_unrelated:
            choice, score = other(items, item, rng), 0.0
        else:
            continue
        if choice != i:
            rows.append(row(f"warmup-{i:05d}", f"warmup-{choice:05d}", score))
    return rows


def drill(every: Sequence[str], count: int, rng: random.Random) -> tuple[str, str, str]:
    """An exercise of `count` plain sums: question, solution, and the last result as its answer."""
    chosen = [rng.choice(every) for _ in range(count)]
    answer = chosen[-1].split(" = ")[1]
    question = f"Work out {', '.join(text.split(' = ')[0] for text in chosen)}."
    return question, " ".join([*(f"{text}." for text in chosen), f"\\boxed{{{answer}}}"]), answer


def garble(item: Item, rng: random.Random) -> str:
    """The question with its telling sentences in made-up words, whose number and order say nothing either.

    A sentence keeps its number and, for some of its words, has words that no operation owns.
    """
    opening, *told, asked = re.split(r"(?<=[.?]) ", item.question)
    plain = plain_words()

    def made_up() -> str:
        return rng.choice(plain) if rng.random() < FAMILIAR else rng.choice(NONSENSE)

    sentences = [re.sub("[A-Za-z]+", lambda word: word[0] if rng.random() < FAMILIAR else made_up(), opening)]
    for text in told:
        said = [made_up() for _ in range(rng.randint(3, 10))]
        said.insert(rng.randint(0, len(said)), re.findall("[0-9]+", text)[0])
        sentences.append(rng.choice(LINKS) + " ".join(said) + ".")
    return " ".join([*(text[0].upper() + text[1:] for text in sentences), asked])


@lru_cache
def plain_words() -> tuple[str, ...]:
    """Words that the sentences of several operations share, such as `the` and `in`."""
    used = []
    for op in OPERATIONS:
        slots = {slot for pattern in PATTERNS[op] for slot in SLOT.findall(pattern)}
        texts = [*WARM_UP[op], *PATTERNS[op], *(filler for slot in slots for filler in FILLERS[slot])]
        used.append({word for text in texts for word in words(text.lower())})
    seen = Counter(word for of in used for word in of)
    return tuple(sorted(word for word, count in seen.items() if count > 1))


def other(items: Sequence[Item], item: Item, rng: random.Random) -> int:
    """The place of an item of another structure, or of any where there is but one structure."""
    choice = rng.randrange(len(items))
    for _ in range(100):
        if items[choice].structure != item.structure:
            break
        choice = rng.randrange(len(items))
    return choice


def add(
    problems: list[Problem], traces: list[Trace], item_id: str, question: str, solution: str, answer: str, kind: str
) -> None:
    """Append an exercise as problem and as trace."""
    problems.append(Problem(item_id, question, answer, kind, "testbed"))
    traces.append(Trace(item_id, question, solution, answer, kind, "testbed"))


def by_structure(items: Sequence[Item]) -> dict[str, list[int]]:
    """Structure -> places of its items."""
    found: dict[str, list[int]] = {}
    for i, item in enumerate(items):
        found.setdefault(item.structure, []).append(i)
    return found


def row(problem_id: str, trace_id: str, score: float) -> Analogy:
    """A row of the analogies file; the score is 1 for the same structure, else 0."""
    return Analogy(problem_id, 1, trace_id, score)
