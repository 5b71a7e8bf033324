"""N-gram decontamination: drop what shares a run of words with a benchmark.

The n-grams of the benchmarks are kept as hashes, files being read row by row; problems and traces are then checked
one at a time, so the corpus may be larger than memory. Words are runs of letters or digits, case ignored, so LaTeX
and punctuation don't hide a match. A benchmark question shorter than n words matches only as a whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from rarft.core.errors import InputError
from rarft.records.problems import BENCHMARKS, is_benchmark
from rarft.records.rows import read_rows

WORD = re.compile(r"[^\W_]+")
QUESTION_COLUMNS = ("question", "problem", "prompt")


class Overlap(NamedTuple):
    """Where a text meets a benchmark."""

    benchmark: str
    row: int
    """Row of the benchmark file, from 1."""
    ngram: str


class Decontaminator:
    """The n-grams of any number of benchmarks.

    Args:
        benchmarks: files, stage folders or hub ids, as `rarft.records.rows.read_rows` takes them.
        n: words in a row that count as an overlap.
        columns: our column name -> the benchmark's, for `question`.
        stock_phrase: an n-gram that this many different benchmark questions share is a turn of phrase, not an overlap.

    Raises:
        InputError: a benchmark cannot be read, or a row has no question.
    """

    def __init__(
        self,
        benchmarks: Iterable[str],
        n: int = 8,
        columns: Mapping[str, str] | None = None,
        stock_phrase: int | None = None,
    ) -> None:
        if n < 1:
            raise InputError(f"ngram is {n}; give a number of words, 1 or more")
        self.n = n
        self.names: list[str] = []
        self._grams: dict[int, tuple[int, int]] = {}
        self._short: set[int] = set()
        self._questions: set[int] = set()
        self._shared: Counter[int] = Counter()
        for path in benchmarks:
            self._add(path, columns or {})
        if stock_phrase is not None:
            for gram, others in self._shared.items():
                if others + 1 >= stock_phrase:
                    del self._grams[gram]
        self._shared.clear()

    def _add(self, path: str, columns: Mapping[str, str]) -> None:
        name = len(self.names)
        self.names.append(path)
        source = str(Path(path) / "problems.jsonl") if Path(path).is_dir() else path
        source = BENCHMARKS[path][0] if is_benchmark(path) else source
        for row, values in read_rows(source):
            options = [columns["question"]] if "question" in columns else list(QUESTION_COLUMNS)
            question = next((str(values[c]) for c in options if values.get(c)), "")
            if not question.strip():
                raise InputError(f"{source}, row {row}: no question (looked for {', '.join(options)}); map its column")
            words = WORD.findall(question.lower())
            if hash(tuple(words)) in self._questions:
                continue  # the same question in two benchmarks
            self._questions.add(hash(tuple(words)))
            if len(words) < self.n:
                self._short.add(len(words))
            for gram in set(self._ngrams(words, min(self.n, len(words)))):
                if self._grams.setdefault(hash(gram), (name, row)) != (name, row):
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
                if hit is not None:
                    return Overlap(self.names[hit[0]], hit[1], " ".join(gram))
        return None

    @staticmethod
    def _ngrams(words: list[str], n: int) -> Iterator[tuple[str, ...]]:
        if n:
            yield from zip(*(words[i:] for i in range(n)), strict=False)
