"""Candidates: for each problem, the traces that a labeler looks at.

By default drawn uniformly among the traces of the problem's own kind, as in the paper: a first retriever would bake
surface likeness into the labels. BM25, an embedding model, and an existing retriever's analogies can be mixed in by
weight. The problem's own trace, and one of a near-identical problem (`records/same_problem.py`), which retrieval would
block, is never a candidate. Pairs are made lazily, in an order that depends on seed and inputs alone.

Uniform candidates come out of a share of the corpus: chance parts the traces of a kind into shares of twice a
problem's budget, and deals each problem one. A trace is as likely as any other to be a problem's candidate, and
problems of one share, which follow each other, have many candidates in common: an engine runs a trace once for all of
them, and a retriever's batch holds more pairs that were judged.
"""

import random
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rarft.core.config import Config, Count, Weight
from rarft.core.errors import InputError
from rarft.records.bm25 import BM25
from rarft.records.problems import Problem, Trace
from rarft.records.same_problem import may_stand_before

BLOCK = 256
SHARE = 2
"""Traces of a share for each candidate of a problem."""


class CandidateConfig(Config):
    per_problem: Count = 32
    """Candidate traces for each problem; fewer where its kind has fewer."""
    same_kind: bool = True
    """Draw from the traces of the problem's kind; a problem without a kind draws from all."""
    uniform: Weight = 1.0
    """Weight of uniform sampling within the kind."""
    bm25: Weight = 0.0
    """Weight of the BM25 ranking of the traces' problems and solutions."""
    embedding: Weight = 0.0
    """Weight of the ranking by an embedding model."""
    analogies: Weight = 0.0
    """Weight of an existing retriever's ranking (the analogies input)."""
    embedding_model: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Sentence-transformers model for the embedding ranking."""


class Pair(NamedTuple):
    """A problem and a trace that may help with it."""

    problem: Problem
    trace: Trace


class Candidates:
    """Makes the pairs. Iterating twice gives the same pairs.

    Args:
        analogies: problem id -> trace ids, best first; needed where its weight is above 0.

    Raises:
        InputError: weights or numbers that make no sense, or no trace has a problem's kind.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        traces: Sequence[Trace],
        config: CandidateConfig,
        seed: int,
        analogies: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.problems, self.traces, self.config, self.seed = problems, traces, config, seed
        self.weights = {"bm25": config.bm25, "embedding": config.embedding, "analogies": config.analogies}
        self.weights["uniform"] = config.uniform
        if config.per_problem < 1 or min(self.weights.values()) < 0 or not sum(self.weights.values()):
            raise InputError("candidates: per-problem must be 1 or more, and one weight above 0, none below")
        if config.analogies and analogies is None:
            raise InputError("candidates.analogies has a weight, but no --analogies file is given; add one")
        self.analogies = analogies or {}
        self.by_kind: dict[str | None, list[int]] = defaultdict(list)
        for i, trace in enumerate(traces):
            self.by_kind[trace.kind].append(i)
        self.everything = range(len(traces))
        self._parted: dict[str, list[int]] = {}
        self.row = {trace.id: i for i, trace in enumerate(traces)}

    def pool(self, problem: Problem) -> Sequence[int]:
        """Rows of the traces that this problem may draw."""
        if not self.config.same_kind or problem.kind is None:
            return self.everything
        return self.by_kind.get(problem.kind, [])

    def upper_bound(self) -> int:
        """The number of pairs, but for the near-identical ones left out of a small pool."""
        return sum(min(self.config.per_problem, len(self.pool(problem))) for problem in self.problems)

    def __iter__(self) -> Iterator[Pair]:
        if self.problems and not any(len(self.pool(problem)) for problem in self.problems):
            kinds = ", ".join(sorted({str(p.kind) for p in self.problems})[:5])
            raise InputError(
                f"no trace has the kind of any problem (problems: {kinds}; traces: "
                f"{', '.join(sorted(map(str, self.by_kind))[:5])}); name kinds alike, or --no-candidates.same-kind"
            )
        problems = sorted(self.problems, key=self._share_of)
        for start in range(0, len(problems), BLOCK):
            block = problems[start : start + BLOCK]
            rankings = self._rankings(block)
            for i, problem in enumerate(block):
                for row in self._choose(problem, {name: ranked[i] for name, ranked in rankings.items()}):
                    yield Pair(problem, self.traces[row])

    def _choose(self, problem: Problem, ranked: Mapping[str, Sequence[int]]) -> list[int]:
        """Rows of this problem's candidates: each source's share, best first, the rest uniform."""
        pool = self.pool(problem)
        chosen: dict[int, None] = {}

        def fits(row: int) -> bool:
            trace = self.traces[row]
            return row not in chosen and may_stand_before(trace, problem)

        for name, quota in self._quotas().items():
            source = ranked[name] if name in ranked else self._uniform(problem, pool)
            taken = 0
            for row in source:
                if taken == quota:
                    break
                if fits(row):
                    chosen[row] = None
                    taken += 1
        if len(chosen) < self.config.per_problem and self.config.uniform:
            for row in self._uniform(problem, pool):
                if len(chosen) == self.config.per_problem:
                    break
                if fits(row):
                    chosen[row] = None
        return list(chosen)

    def _quotas(self) -> dict[str, int]:
        """How many candidates each source gives: the budget by weight, rounded by largest remainder."""
        total = sum(self.weights.values())
        exact = {name: self.config.per_problem * w / total for name, w in self.weights.items() if w}
        quotas = {name: int(share) for name, share in exact.items()}
        left = self.config.per_problem - sum(quotas.values())
        for name in sorted(exact, key=lambda name: quotas[name] - exact[name])[:left]:
            quotas[name] += 1
        return quotas

    def _share_of(self, problem: Problem) -> tuple[str, int, int]:
        """Kind of the problem's pool, the number of its share of it, and how many shares there are; 1 is all of it."""
        shares = len(self.pool(problem)) // (SHARE * self.config.per_problem)
        if shares < 2:
            return "", 0, 1
        kind = problem.kind if self.config.same_kind else None
        return kind or "", zlib.crc32(f"{self.seed} {problem.id}".encode()) % shares, shares

    def _uniform(self, problem: Problem, pool: Sequence[int]) -> Iterator[int]:
        """The traces of the problem's share, then the others, in an order of the problem's own."""
        kind, number, shares = self._share_of(problem)
        if shares > 1:
            if kind not in self._parted:
                self._parted[kind] = random.Random(f"{self.seed} {kind}").sample(pool, len(pool))
            yield from self._shuffled(problem, self._parted[kind][number::shares])
        yield from self._shuffled(problem, pool)

    def _shuffled(self, problem: Problem, pool: Sequence[int]) -> Iterator[int]:
        """The pool in an order of this problem's own, drawn as far as it is read."""
        rng = random.Random(f"{self.seed} {problem.id}")
        moved: dict[int, int] = {}
        for i in range(len(pool)):
            j = rng.randrange(i, len(pool))
            here, there = moved.get(i, i), moved.get(j, j)
            moved[j] = here
            yield pool[there]

    def _rankings(self, block: Sequence[Problem]) -> dict[str, list[Sequence[int]]]:
        """For each source with a weight, each problem's traces, best first; a few more than its share."""
        rankings: dict[str, list[Sequence[int]]] = {}
        if self.weights["bm25"]:
            rankings["bm25"] = [self._top(problem, scores) for problem, scores in self._bm25_scores(block)]
        if self.weights["embedding"]:
            rankings["embedding"] = [self._top(problem, scores) for problem, scores in self._embedding_scores(block)]
        if self.weights["analogies"]:
            rankings["analogies"] = [self._known_analogies(problem) for problem in block]
        return rankings

    def _known_analogies(self, problem: Problem) -> list[int]:
        rows = [self.row[trace_id] for trace_id in self.analogies.get(problem.id, ()) if trace_id in self.row]
        if self.pool(problem) is self.everything:
            return rows
        return [row for row in rows if self.traces[row].kind == problem.kind]

    def _top(self, problem: Problem, scores: Any) -> list[int]:
        """The best rows of the pool; enough that the near-identical and the doubly chosen can be left out."""
        pool = np.asarray(self.pool(problem))
        most = min(len(pool), 4 * self.config.per_problem + 32)
        if not most:
            return []
        within = scores[pool]
        best = np.argpartition(-within, most - 1)[:most]
        return [int(row) for row in pool[best[np.lexsort((pool[best], -within[best]))]]]

    def _bm25_scores(self, block: Sequence[Problem]) -> Iterator[tuple[Problem, Any]]:
        if not hasattr(self, "_bm25"):
            self._bm25 = BM25([f"{trace.problem} {trace.solution}" for trace in self.traces])
        return zip(block, self._bm25.scores([problem.question for problem in block]), strict=True)

    def _embedding_scores(self, block: Sequence[Problem]) -> Iterator[tuple[Problem, Any]]:
        from sentence_transformers import SentenceTransformer

        if not hasattr(self, "_embedder"):
            self._embedder = SentenceTransformer(self.config.embedding_model)
            self._embedded = self._embed([f"{trace.problem}\n{trace.solution}" for trace in self.traces])
        return zip(block, self._embed([problem.question for problem in block]) @ self._embedded.T, strict=True)

    def _embed(self, texts: list[str]) -> Any:
        return self._embedder.encode(texts, normalize_embeddings=True, show_progress_bar=False)
