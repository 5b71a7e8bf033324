r"""When two problems are the same one: for deduplication, candidates, the answer-leak guard and the held-out split.

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
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple

from rarft.records.problems import Problem, Trace

TEMPLATE_SHARE = 0.6
STORY_SHARE = {2: 0.7, 3: 0.5}
PERMUTATIONS = 128

Rule = Literal["text", "template", "story"]

_UP_TO_TWENTY = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty"""
_NUMBER_WORDS = {word: str(value) for value, word in enumerate(_UP_TO_TWENTY.split())}
_NUMBER_WORDS |= {"thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80"}
_NUMBER_WORDS |= {"ninety": "90", "hundred": "100", "thousand": "1000", "once": "1", "twice": "2", "dozen": "12"}
_STOP_WORDS = """
    a an and any are as at be been by can do does each for from had has have he her hers him his how if in into is it
    its many more much of on or other she so some such than that the their them then there they this those to was
    we were what when where which while who whose will with would you your
    i my after before also if let find given
    all answer common comma commas compute determine enter evaluate express form fraction notation number numbers
    possible real separated simplest simplify solve value values
    assert function must program python satisfy write"""
_STOP = frozenset(_STOP_WORDS.split())
_LATEX = (
    (re.compile(r"\\(?:[,;:!> ]|q?quad\b|hspace\*?\{[^}]*\}|left\b|right\b|displaystyle\b|limits\b|nolimits\b)"), " "),
    (re.compile(r"[\^_]\{\}"), ""),
    (re.compile(r"\\(?:text|mathrm|textbf|textit|mathbf|operatorname|mbox|boldsymbol)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\[dtc]frac(?![a-z])"), r"\\frac"),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\(?:leq|le)\b"), "<="),
    (re.compile(r"\\(?:geq|ge)\b"), ">="),
    (re.compile(r"\\(?:cdot|times)\b"), "*"),
    (re.compile(r"\\[\[\]()]|\$|~|\\\\"), " "),
    (re.compile(r"(?<=\d)[,\s]?(?:\{,\}|,)(?=\d{3}\b)"), ""),
)
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[^\w\s]")
_COMMAND = re.compile(r"\\(?:begin|end)\s*\{[^}]*\}|\\(?!text|mbox)[A-Za-z]+")
_PUNCTUATION = frozenset(".,;:!?\"'`{}()[]‘’“”-–—")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+(?!\w)")
_PRONOUNS = {"she": "he", "her": "his", "hers": "his", "him": "his", "herself": "himself"}


class Signature(NamedTuple):
    """What of a statement is compared."""

    letters: str
    triples: frozenset[int]
    """Word triples with numbers, names and pronouns masked, as CRC-32, which is the same in every process."""
    numbers: tuple[str, ...]
    words: frozenset[str]


def tokens(text: str) -> list[str]:
    """Words, numbers (as digits) and math signs of a statement, levelled."""
    text = unicodedata.normalize("NFKC", text).lower()
    for pattern, by in _LATEX:
        text = pattern.sub(by, text)
    return [_NUMBER_WORDS.get(t, t) for t in _TOKEN.findall(text) if t not in _PUNCTUATION]


def letters(text: str) -> str:
    """A statement levelled and without spaces, but for one after each number: equal for the same text."""
    return _join(tokens(text))


def _join(found: Sequence[str]) -> str:
    return "".join(f"{t} " if t[0].isdigit() else t for t in found)


@lru_cache(maxsize=32768)
def signature(text: str) -> Signature:
    """The signature of a problem statement."""
    found = tokens(text)
    names = {name.lower() for name in _NAME.findall(text)}
    masked = ["#" if t[0].isdigit() else "@" if t in names else _PRONOUNS.get(t, t) for t in found]
    padded = ["", *masked, ""] if masked else []
    triples = frozenset(zlib.crc32(" ".join(padded[i : i + 3]).encode()) for i in range(len(padded) - 2))
    numbers = tuple(sorted(t for t in found if t[0].isdigit()))
    said = tokens(_COMMAND.sub(" ", text)) if "\\" in text else found
    words = frozenset(_stem(t) for t in said if len(t) > 1 and t.isalpha() and t not in _STOP)
    return Signature(_join(found), triples, numbers, words)


def near_identical(a: str, b: str, template_share: float = TEMPLATE_SHARE) -> bool:
    """Whether two problem statements are the same or near-identical, as the head of this file defines it.

    Args:
        template_share: share of word triples from which two statements have one template; 1: only rule 1 counts.

    >>> asked = "Ann buys 3 melons for 12 coins. What does one melon cost?"
    >>> near_identical(asked, "Tom buys 5 melons for 20 coins. What does one melon cost?")
    True
    >>> near_identical(asked, "A train goes 12 miles in 3 hours. How fast is it?")
    False
    """
    return _rule(signature(a), signature(b), template_share) is not None


def may_stand_before(trace: Trace, problem: Problem) -> bool:
    """Whether a trace may be shown with a problem: it is not the problem's own, or that of a near-identical one."""
    return trace.id != problem.id and not near_identical(problem.question, trace.problem)


def gold_solutions(problems: Iterable[Problem], solved: Iterable[Trace]) -> dict[str, str]:
    """Problem id -> its gold solution, for the problems that have one.

    It stands in the problem's column `solution`, or else in a trace of the very same problem.
    """
    known = {letters(trace.problem): trace.solution for trace in solved}
    found = {problem.id: problem.extra.get("solution") or known.get(letters(problem.question)) for problem in problems}
    return {name: text for name, solution in found.items() if (text := str(solution or "").strip())}


def _rule(one: Signature, two: Signature, template_share: float) -> Rule | None:
    """The first rule by which two statements are the same."""
    if one.letters == two.letters:
        return "text"
    if template_share >= 1:
        return None
    shared = len(one.triples & two.triples)
    if shared and shared >= template_share * (len(one.triples) + len(two.triples) - shared):
        return "template"
    different = min(3, len(set(one.numbers)))
    if one.numbers == two.numbers and different >= 2:
        shared = len(one.words & two.words)
        if shared >= 3 and shared >= STORY_SHARE[different] * min(len(one.words), len(two.words)):
            return "story"
    return None


class Match(NamedTuple):
    """An earlier text that this one repeats."""

    key: str
    rule: Rule
    similarity: float
    """Share of word triples in common; 1.0 for the same text."""


class DuplicateIndex:
    """Finds earlier texts that a new one repeats; grows as texts are added.

    Texts that may be the same are those of the same letters, of the same numbers, and those that MinHash with
    locality-sensitive hashing (datasketch) proposes for their word triples; `near_identical` decides. Of two texts that
    share just `template_share` of their triples the sketches miss about one pair in a hundred, of closer ones fewer.

    Args:
        template_share: as `near_identical` has it.
    """

    def __init__(self, template_share: float = TEMPLATE_SHARE) -> None:
        self.template_share = template_share
        self._keys: list[str] = []
        self._texts: list[str] = []
        self._letters: dict[int, list[int]] = {}
        self._numbers: dict[int, list[int]] = {}
        self._lsh: Any = None
        if template_share < 1:
            from datasketch import MinHashLSH

            # Bands for a threshold below ours, as a sketch finds only half of the pairs at its own.
            at = max(0.1, template_share - 0.1)
            self._lsh = MinHashLSH(threshold=at, num_perm=PERMUTATIONS, weights=(0.1, 0.9))

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: str, text: str) -> None:
        """Add a text."""
        at, own = len(self._keys), signature(text)
        self._keys.append(key)
        self._texts.append(text)
        self._letters.setdefault(hash(own.letters), []).append(at)
        if self._lsh is not None:
            if len(set(own.numbers)) >= 2:
                self._numbers.setdefault(hash(own.numbers), []).append(at)
            if own.triples:
                self._lsh.insert(at, _sketch(own.triples), check_duplication=False)

    def candidates(self, text: str) -> list[int]:
        """Places of the texts that may be the same, in the order in which they were added."""
        own = signature(text)
        found = set(self._letters.get(hash(own.letters), ()))
        if self._lsh is not None:
            found.update(self._numbers.get(hash(own.numbers), ()))
            if own.triples:
                found.update(self._lsh.query(_sketch(own.triples)))
        return sorted(found)

    def matches(self, text: str) -> Iterator[Match]:
        """Every text that this one repeats, in the order in which they were added."""
        own = signature(text)
        for at in self.candidates(text):
            other = signature(self._texts[at])
            rule = _rule(own, other, self.template_share)
            if rule is not None:
                shared = len(own.triples & other.triples)
                union = len(own.triples) + len(other.triples) - shared
                yield Match(self._keys[at], rule, 1.0 if rule == "text" else shared / union)

    def find_or_add(self, key: str, text: str) -> Match | None:
        """The earlier text most like this one, or None, in which case this text joins the index."""
        best = max(self.matches(text), key=lambda match: match.similarity, default=None)
        if best is None:
            self.add(key, text)
        return best


def near_duplicate_groups(texts: Sequence[str]) -> list[int]:
    """Group number of each text; near-identical texts (and what they chain to) share one.

    >>> near_duplicate_groups(["What is 2 + 2?", "Name a prime above 90.", "What is 2+2?"])
    [0, 1, 0]
    """
    index = DuplicateIndex()
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, text in enumerate(texts):
        for j in index.candidates(text):
            if root(i) != root(j) and near_identical(text, texts[j]):
                parent[root(i)] = root(j)
        index.add("", text)
    return [root(i) for i in range(len(texts))]


@lru_cache(maxsize=1)
def _sketch(triples: frozenset[int]) -> Any:
    sketch = _blank().copy()
    sketch.update_batch(sorted(triples))
    return sketch


@cache
def _blank() -> Any:
    from datasketch import MinHash

    return MinHash(num_perm=PERMUTATIONS, hashfunc=int)


def _stem(word: str) -> str:
    for ending in ("ing", "ies", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
