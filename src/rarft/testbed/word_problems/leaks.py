"""What one split of the testbed gives away about another: nothing that is checked, and a little that is measured.

`find_leaks` lists violations of the split's promise; the stage refuses to write a testbed that has any. `word_leak`
measures what no list can promise: how well single words that training has taught name the operations of evaluation.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rarft.testbed.word_problems.language import OPERATIONS, words
from rarft.testbed.word_problems.problems import Item, vocabulary


def find_leaks(made: Mapping[str, Sequence[Item]], split: str) -> list[str]:
    """Every way in which the splits are not what they promise, each in a sentence; empty when they are.

    Args:
        made: items of `warmup`, `train`, `eval` and `corpus`.
        split: `surface`, `structure` or `both`: what evaluation must have to itself.
    """
    found: list[str] = []
    seen: dict[str, str] = {}
    for part, items in made.items():
        for item in items:
            if item.question in seen:
                found.append(f"{part} repeats a question of {seen[item.question]}: {item.question}")
            seen[item.question] = part
    before = [*made["warmup"], *made["train"]]
    if split in ("surface", "both"):
        told = {_masked(sentence) for item in [*before, *made["corpus"]] for sentence in _steps(item)}
        for item in made["eval"]:
            for sentence in _steps(item):
                if _masked(sentence) in told:
                    found.append(f"an evaluation problem tells an operation in known words: {sentence}")
        themes = {item.surface.theme for item in before}
        shared = {item.surface.theme for item in made["eval"]} & themes
        found += [f"evaluation has the theme {theme.name} of the warm-up or of training" for theme in shared]
    if split in ("structure", "both"):
        known = {item.structure for item in before}
        shared_structures = {item.structure for item in made["eval"]} & known
        found += [f"evaluation has the structure {s} of the warm-up or of training" for s in shared_structures]
    told_in = {(item.surface.theme, item.structure) for item in made["corpus"]}
    for part in ("train", "eval"):
        for item in made[part]:
            if (item.surface.theme, item.structure) in told_in:
                found.append(f"the corpus tells {item.structure} in the theme of a {part} problem: {item.question}")
    missing = {item.structure for item in [*made["train"], *made["eval"]]} - {s for _, s in told_in}
    found += [f"no corpus trace has the structure {s}" for s in sorted(missing)]
    return found


def word_leak(made: Mapping[str, Sequence[Item]]) -> dict[str, float]:
    """Accuracy with which the words that the policy knows name the operation of an evaluation sentence; chance is 1/4.

    A naive Bayes classifier is fitted on the sentences of the warm-up's surfaces, or of the warm-up's and training's,
    and asked about those of evaluation. Like the policy it sees the words of the warm-up only.
    """
    known = {word.lower() for word in vocabulary(made["warmup"])}
    asked = _wordings(made["eval"])
    warmup, train = _wordings(made["warmup"]), _wordings(made["train"])
    return {
        "after_warmup": round(_naive_bayes_accuracy(warmup, asked, known), 3),
        "after_training": round(_naive_bayes_accuracy([*warmup, *train], asked, known), 3),
    }


def _wordings(items: Iterable[Item]) -> list[tuple[str, str]]:
    used = {
        (op, text) for surface in {item.surface for item in items} for op in OPERATIONS for text in surface.wordings[op]
    }
    return sorted(used)


def _naive_bayes_accuracy(
    known: Sequence[tuple[str, str]], asked: Sequence[tuple[str, str]], words_known: set[str]
) -> float:
    counts: dict[str, Counter[str]] = {op: Counter() for op in OPERATIONS}
    for op, text in known:
        counts[op].update(set(words(text.lower())))
    n = Counter(op for op, _ in known)
    seen_words = words_known & set().union(*counts.values())

    def likelihood(op: str, text: str) -> float:
        seen = set(words(text.lower())) & seen_words
        return sum(math.log((counts[op][word] + 0.5) / (n[op] + 1)) for word in seen)

    hits = 0.0
    for op, text in asked:
        scores = {other: likelihood(other, text) for other in OPERATIONS}
        best = [other for other in OPERATIONS if scores[other] == max(scores.values())]
        hits += (op in best) / len(best)  # a wording without a known word is a guess
    return hits / len(asked)


def _steps(item: Item) -> list[str]:
    """The sentences of a problem that tell its operations, in order of the wordings, without their links."""
    every = [text for op in OPERATIONS for text in item.surface.wordings[op]]
    question = item.question.lower()
    return [text for text in every if re.search(_pattern(text), question)]


def _pattern(text: str) -> str:
    parts = re.split(r"\{\w+\}", text.lower())
    return r"\w+".join(re.escape(part) for part in parts)


def _masked(sentence: str) -> str:
    return re.sub(r"\{\w+\}", "_", sentence.lower())
