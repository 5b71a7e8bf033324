"""Retrieval for many requests at once: one thread owns the corpus, and takes what waits in batches.

Queries that wait together are encoded in one call and searched in one batch. Changes take their turn among the
searches: who asks after a change was answered finds it. What is found is what `rarft retrieve` finds, by the same
function, the answer-leak guard included. On a CPU the thread computes with a quarter of the cores: on all of them it
would wait for those that the engine and the API keep busy.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

import torch

from rarft.core.errors import InputError
from rarft.records.problems import Trace
from rarft.records.same_problem import signature
from rarft.retriever.search import find_analogies
from rarft.serve.live import Corpus

MOST_AT_ONCE = 8
"""Searches of one batch. On a CPU more are no faster a query, and what they take in memory is not given back."""
MOST_SIGNATURES = 2048
Which = Literal["trained", "untuned"]
T = TypeVar("T")


@dataclass(frozen=True)
class Cited:
    """A trace that is used, with the score it was found with; None where the request named it."""

    trace: Trace
    score: float | None


@dataclass(frozen=True)
class Found:
    """What retrieval brought for one question."""

    cited: list[Cited] = field(default_factory=list)
    """Best first, at most top-k, none below the minimum score."""
    best_score: float | None = None
    """Of the best trace, also where it is below the minimum; None where there is none."""
    blocked: int = 0
    """Near-identical traces that the answer-leak guard kept back."""


@dataclass(frozen=True)
class _Search:
    question: str
    top_k: int
    min_score: float | None
    which: Which


class Retrieval:
    """Searches and changes a corpus from an event loop.

    Args:
        corpus: from now on touched by this object's thread alone.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._jobs: queue.SimpleQueue[tuple[Any, Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="retrieval", daemon=True)
        self._thread.start()

    @property
    def search_type(self) -> str:
        """exact, ann, bm25 or random."""
        return self._corpus.index.search_type

    @property
    def has_untuned(self) -> bool:
        """Whether there is a second index to compare with."""
        return self._corpus.untuned is not None

    def __len__(self) -> int:
        return len(self._corpus.traces)

    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    async def find(self, question: str, top_k: int, min_score: float | None = None, which: Which = "trained") -> Found:
        """The best traces for a question. Fewer than `top_k` where there are fewer."""
        return await self._ask(_Search(question, top_k, min_score, which))

    async def look_up(self, ids: Sequence[str]) -> list[Trace | None]:
        """Traces by id, as of the changes that were answered."""
        return await self._ask(lambda: [self._corpus.traces.get(name) for name in ids])

    async def add(self, traces: Sequence[Trace]) -> None:
        """As `Corpus.add`."""
        await self._ask(lambda: self._corpus.add(traces))

    async def remove(self, ids: Sequence[str]) -> list[str]:
        """As `Corpus.remove`."""
        return await self._ask(lambda: self._corpus.remove(ids))

    def close(self) -> None:
        """Finish what was asked, then close the corpus."""
        self._jobs.put(None)
        self._thread.join()
        self._corpus.close()

    async def _ask(self, job: _Search | Callable[[], T]) -> Any:
        future: Future[Any] = Future()
        self._jobs.put((job, future))
        return await asyncio.wrap_future(future)

    # In the thread

    def _work(self) -> None:
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // 4))
        with self._corpus.autocast():  # around all of them: weights are then cast once, not for every query
            self._take_turns()

    def _take_turns(self) -> None:
        while True:
            waiting = [self._jobs.get()]
            while len(waiting) < MOST_AT_ONCE and not self._jobs.empty():
                waiting.append(self._jobs.get())
            searches: list[tuple[_Search, Future[Any]]] = []
            for entry in waiting:
                if entry is not None and isinstance(entry[0], _Search):
                    if entry[1].set_running_or_notify_cancel():
                        searches.append(entry)
                    continue
                self._search_all(searches)
                searches = []
                if entry is None:
                    return
                job, future = entry
                if future.set_running_or_notify_cancel():
                    _settle([future], partial(_listed, job))
            self._search_all(searches)

    def _search_all(self, searches: Sequence[tuple[_Search, Future[Any]]]) -> None:
        groups: dict[tuple[Which, int], list[tuple[_Search, Future[Any]]]] = {}
        for search, future in searches:
            groups.setdefault((search.which, search.top_k), []).append((search, future))
        for (which, top_k), group in groups.items():
            asked = [search for search, _ in group]
            _settle([future for _, future in group], partial(self._search, which, top_k, asked))

    def _search(self, which: Which, top_k: int, searches: Sequence[_Search]) -> list[Found]:
        index = self._corpus.index if which == "trained" else self._corpus.untuned
        if index is None:
            raise InputError("this bundle has no untuned retriever")
        if not len(index):
            return [Found() for _ in searches]
        found = find_analogies(index, [search.question for search in searches], min(top_k, len(index)))
        if signature.cache_info().currsize > MOST_SIGNATURES:  # each holds some 20 KB
            signature.cache_clear()
        return [
            Found(
                [
                    Cited(self._corpus.traces[hit.trace_id], hit.score)
                    for hit in hits
                    if search.min_score is None or hit.score >= search.min_score
                ],
                hits[0].score if hits else None,
                blocked,
            )
            for search, hits, blocked in zip(searches, found.hits, found.blocked, strict=True)
        ]


def _listed(job: Callable[[], T]) -> list[T]:
    return [job()]


def _settle(futures: Sequence[Future[Any]], call: Callable[[], Sequence[Any]]) -> None:
    """Give each future its part of what `call` returns, or all of them what it raised."""
    try:
        results = call()
    except BaseException as error:
        for future in futures:
            future.set_exception(error)
        return
    for future, result in zip(futures, results, strict=True):
        future.set_result(result)
