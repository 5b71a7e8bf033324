"""N-gram decontamination: drop what shares a run of words with a benchmark.

The n-grams of the benchmarks are kept as hashes, files being read row by row; problems and traces are then checked
one at a time, so the corpus may be larger than memory. Words are runs of letters or digits, case ignored, so LaTeX
and punctuation don't hide a match. A benchmark question shorter than n words matches only as a whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from rarft.core.errors import InputError
from rarft.records.problems import find_records
from rarft.records.rows import maybe_text, parse_rows

WORD = re.compile(r"[^\W_]+")
QUESTION_COLUMNS = ("question", "problem", "prompt")


class Overlap(NamedTuple):
    """Where a text meets a benchmark."""

    benchmark: str
    row: int
    """Row of the benchmark, from 1."""
    ngram: str


class Decontaminator:
    """The n-grams of any number of benchmarks.

    Args:
        n: words in a row that count as an overlap.
        stock_phrase: an n-gram that this many different benchmark questions share is a turn of phrase, not an overlap.

    Raises:
        InputError: n is below 1.
    """

    def __init__(self, n: int = 8, stock_phrase: int | None = None) -> None:
        if n < 1:
            raise InputError(f"ngram is {n}; give a number of words, 1 or more")
        self.n, self.stock_phrase = n, stock_phrase
        self._names: list[str] = []
        self._grams: dict[int, tuple[int, int]] = {}
        self._short: set[int] = set()
        self._questions: set[int] = set()
        self._shared: Counter[int] = Counter()

    def read(self, path: str, columns: Mapping[str, str] | None = None) -> None:
        """Add a benchmark's questions: of a file, a stage's folder, a hub id, or the name of a known benchmark.

        Args:
            columns: for `question`: the benchmark's column; where not given, `QUESTION_COLUMNS` are looked for.

        Raises:
            InputError: the benchmark cannot be read, or a row has no question.
        """
        for name in columns or {}:
            if name != "question":
                raise InputError(f"{path}: of a benchmark only `question` can be mapped, not `{name}`")
        options = [columns["question"]] if columns else list(QUESTION_COLUMNS)

        def parse(values: dict[str, Any]) -> str:
            found = next((text for column in options if (text := maybe_text(values, column))), None)
            if found is None:
                raise ValueError(f"no question (looked for {', '.join(options)}); map its column")
            return found

        self._add(path, parse_rows(find_records(path, "problems.jsonl")[0], parse))

    def add(self, name: str, questions: Iterable[str]) -> None:
        """Add the questions of a benchmark called `name`."""
        self._add(name, enumerate(questions, start=1))

    def _add(self, name: str, questions: Iterable[tuple[int, str]]) -> None:
        number = len(self._names)
        self._names.append(name)
        for row, question in questions:
            words = WORD.findall(question.lower())
            if hash(tuple(words)) in self._questions:
                continue  # the same question in two benchmarks
            self._questions.add(hash(tuple(words)))
            if len(words) < self.n:
                self._short.add(len(words))
            for gram in set(self._ngrams(words, min(self.n, len(words)))):
                if self._grams.setdefault(hash(gram), (number, row)) != (number, row):
                    self._shared[hash(gram)] += 1

    def find(self, text: str) -> Overlap | None:
        """The first n-gram of `text` that a benchmark holds, or None."""
        if not self._grams:
            return None
        words = WORD.findall(text.lower())
        sizes = {self.n} | ({len(words)} & self._short)
        for size in sizes:
            for gram in self._ngrams(words, size):
                hit = self._grams.get(hash(gram))
                if hit is not None and not self._is_stock(hash(gram)):
                    return Overlap(self._names[hit[0]], hit[1], " ".join(gram))
        return None

    def _is_stock(self, gram: int) -> bool:
        return self.stock_phrase is not None and self._shared[gram] + 1 >= self.stock_phrase

    @staticmethod
    def _ngrams(words: list[str], n: int) -> Iterator[tuple[str, ...]]:
        if n:
            yield from zip(*(words[i:] for i in range(n)), strict=False)
