"""When two problems are the same one: the answer-leak guard, and the split that keeps near-duplicates on one side.

Two statements are *near-identical* when one of these holds, after LaTeX, case, spacing and punctuation are levelled:
  1. same text: they agree letter by letter;
  2. same template: with every number taken as `#`, every name as `@` and one pronoun for all, at least 60 % of their
     distinct word triples are shared. This finds other numbers, another name or a few other words in one statement;
  3. same story: they hold the same numbers (words such as "three" included), and of the shorter one's content words
     (stop words left out, endings cut) half are shared where at least three different numbers agree, 70 % where two
     do. This finds a paraphrase with its sentences or words moved.
So a problem of the same structure told about other things with other words is not near-identical. What it cannot find:
a paraphrase with other numbers and other words at once, or one that keeps the numbers but hardly a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

TEMPLATE_SHARE = 0.6
STORY_SHARE = {2: 0.7, 3: 0.5}

_UP_TO_TWENTY = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty"""
_NUMBER_WORDS = {word: str(value) for value, word in enumerate(_UP_TO_TWENTY.split())}
_NUMBER_WORDS |= {"thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80"}
_NUMBER_WORDS |= {"ninety": "90", "hundred": "100", "thousand": "1000", "once": "1", "twice": "2", "dozen": "12"}
_STOP_WORDS = """
    a an and any are as at be been by can do does each for from had has have he her hers him his how if in into is it
    its many more much of on or other she so some such than that the their them then there they this those to was
    we were what when where which while who whose will with would you your
    i my after before also if let find given"""
_STOP = frozenset(_STOP_WORDS.split())
_LATEX = (
    (re.compile(r"\\(?:[,;:!> ]|q?quad\b|hspace\*?\{[^}]*\}|left\b|right\b|displaystyle\b|limits\b|nolimits\b)"), " "),
    (re.compile(r"\\(?:text|mathrm|textbf|textit|mathbf|operatorname|mbox|boldsymbol)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\[dtc]frac\b"), r"\\frac"),
    (re.compile(r"\\(?:leq|le)\b"), "<="),
    (re.compile(r"\\(?:geq|ge)\b"), ">="),
    (re.compile(r"\\(?:cdot|times)\b"), "*"),
    (re.compile(r"\\[\[\]()]|\$|~|\\\\"), " "),
    (re.compile(r"(?<=\d)[,\s]?(?:\{,\}|,)(?=\d{3}\b)"), ""),
)
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[^\w\s]")
_PUNCTUATION = frozenset(".,;:!?\"'`{}()[]‘’“”-–—")


@dataclass(frozen=True)
class Signature:
    """What of a statement is compared."""

    letters: str
    triples: frozenset[tuple[str, ...]]
    numbers: tuple[str, ...]
    words: frozenset[str]


_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+(?!\w)")
_PRONOUNS = {"she": "he", "her": "his", "hers": "his", "him": "his", "herself": "himself"}


def tokens(text: str) -> list[str]:
    """Words, numbers (as digits) and math signs of a statement, levelled."""
    text = unicodedata.normalize("NFKC", text).lower()
    for pattern, by in _LATEX:
        text = pattern.sub(by, text)
    return [_NUMBER_WORDS.get(t, t) for t in _TOKEN.findall(text) if t not in _PUNCTUATION]


@lru_cache(maxsize=65536)
def signature(text: str) -> Signature:
    """The signature of a problem statement."""
    found = tokens(text)
    names = {name.lower() for name in _NAME.findall(text)}
    masked = ["#" if t[0].isdigit() else "@" if t in names else _PRONOUNS.get(t, t) for t in found]
    padded = ["", *masked, ""] if masked else []
    numbers = sorted(t for t in found if t[0].isdigit())
    words = {_stem(t) for t in found if t.isalpha() and t not in _STOP}
    triples = frozenset(tuple(padded[i : i + 3]) for i in range(len(padded) - 2))
    return Signature("".join(found), triples, tuple(numbers), frozenset(words))


def near_identical(a: str, b: str) -> bool:
    """Whether two problem statements are the same or near-identical, as the head of this file defines it."""
    one, two = signature(a), signature(b)
    if one.letters == two.letters:
        return True
    shared = len(one.triples & two.triples)
    if shared and shared >= TEMPLATE_SHARE * len(one.triples | two.triples):
        return True
    different = min(3, len(set(one.numbers)))
    if one.numbers == two.numbers and different >= 2:
        fewest = min(len(one.words), len(two.words))
        return fewest >= 3 and len(one.words & two.words) >= STORY_SHARE[different] * fewest
    return False


def near_duplicate_groups(texts: Sequence[str]) -> list[int]:
    """Group number of each text; near-identical texts (and what they chain to) share one.

    Candidates are texts that share rare word triples or all their numbers, so the work grows with the number of texts
    and not with its square.
    """
    signatures = [signature(text) for text in texts]
    common = Counter(triple for s in signatures for triple in s.triples)
    buckets: dict[object, list[int]] = {}
    for i, s in enumerate(signatures):
        # Sharing 60 % of the triples means sharing one of the rarest 40 %, ties cut the same way on both sides.
        rarest = sorted(s.triples, key=lambda t: (common[t], t))
        for triple in rarest[: max(1, round(0.4 * len(rarest)) + 1)]:
            buckets.setdefault(triple, []).append(i)
        if len(set(s.numbers)) >= 2:
            buckets.setdefault(s.numbers, []).append(i)
        buckets.setdefault(s.letters, []).append(i)
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    tried: set[tuple[int, int]] = set()
    for members in buckets.values():
        # A triple that very many share says little; those texts meet in another bucket if they are alike.
        for at, i in enumerate(members[:-1]):
            for j in members[at + 1 : at + 50]:
                if root(i) == root(j) or (i, j) in tried:
                    continue
                tried.add((i, j))
                if near_identical(texts[i], texts[j]):
                    parent[root(j)] = root(i)
    return [root(i) for i in range(len(texts))]


def _stem(word: str) -> str:
    for ending in ("ing", "ies", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
