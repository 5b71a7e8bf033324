"""Duplicates: the same problem twice, word for word or nearly so.

Exact duplicates share their normalised text. Near-duplicates share most of their word 3-grams: candidates come from
MinHash with locality-sensitive hashing (datasketch), and each is checked with the exact Jaccard similarity, so the
sketch can miss a pair but never invent one. Left out: paraphrases, which share few words and need a model.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

SHINGLE = 3
PERMUTATIONS = 128
SPACING = re.compile(r"\$|\\(?:left|right|displaystyle|limits|quad|qquad)\b|\\[,;:! ]|~|\s+")
WORD = re.compile(r"[^\W_]+|[^\w\s]")


def normalise(text: str) -> str:
    """The words, numbers and symbols of a text; case, spacing and math delimiters don't count."""
    return " ".join(WORD.findall(SPACING.sub(" ", text).lower())).rstrip(" .")


def shingles(text: str, n: int = SHINGLE) -> frozenset[str]:
    """The set of n-grams over words, numbers and symbols; a shorter text is one shingle."""
    words = normalise(text).split()
    if len(words) <= n:
        return frozenset([" ".join(words)])
    return frozenset(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))


def jaccard(a: frozenset[Any], b: frozenset[Any]) -> float:
    """Size of the intersection over size of the union; 1.0 for two empty sets."""
    both = len(a & b)
    return both / (len(a) + len(b) - both) if a or b else 1.0


class Match(NamedTuple):
    """An earlier text that this one repeats."""

    key: str
    similarity: float
    """Jaccard similarity of word 3-grams; 1.0 where the normalised texts are equal."""


class DuplicateIndex:
    """Finds earlier texts that a new one repeats; grows as texts are added.

    Args:
        threshold: Jaccard similarity from which two texts are near-duplicates; 1.0 finds equal texts alone.
    """

    def __init__(self, threshold: float = 0.8) -> None:
        self.threshold = threshold
        self._exact: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._lsh: Any = None
        if threshold < 1:
            from datasketch import MinHash, MinHashLSH

            # a sketch finds half of the pairs at its own threshold, and nearly all of those well above it
            self._lsh = MinHashLSH(threshold=max(0.2, threshold - 0.15), num_perm=PERMUTATIONS)
            self._blank = MinHash(num_perm=PERMUTATIONS)

    def find_or_add(self, key: str, text: str) -> Match | None:
        """The earlier text most like this one, or None, in which case this text joins the index."""
        normal = normalise(text)
        if normal in self._exact:
            return Match(self._exact[normal], 1.0)
        if self._lsh is not None:
            grams = shingles(text)
            sketch = self._blank.copy()
            sketch.update_batch([gram.encode() for gram in sorted(grams)])
            near = [Match(k, jaccard(grams, shingles(self._texts[k]))) for k in self._lsh.query(sketch)]
            near = [match for match in near if match.similarity >= self.threshold]
            if near:
                return max(near, key=lambda match: (match.similarity, match.key))
            self._lsh.insert(key, sketch, check_duplication=False)
            self._texts[key] = text
        self._exact[normal] = key
        return None
