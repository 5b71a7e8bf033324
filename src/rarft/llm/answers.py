"""Ask a server about many items, so that a kill at any moment costs nothing and nothing is bought twice.

Every answer goes into the store (store.py) before it counts, and a question that the store knows is not asked. Answers
are handed on in the items' order, so what is made of them is the same as from an unbroken run. Items are drawn lazily
and answers wait at most a window for an earlier one, so memory does not grow with their number.
"""

import asyncio
import json
import re
import uuid
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar

from rarft.core.artifacts import write_json
from rarft.core.errors import InputError
from rarft.core.progress import Progress, log
from rarft.llm.client import ChatClient, LimitReached, Message, ServerConfig, Unanswered
from rarft.llm.store import AnswerStore, Kept, Spent, digest

T = TypeVar("T")
WINDOW = 4096
EARLY = 50
RAW_CHARACTERS = 4000
THOUGHTS = re.compile(r"^.*</think(?:ing)?>|<think(?:ing)?>.*$", re.DOTALL)


@dataclass(frozen=True)
class Question:
    """What to send for one item, and how to read the answer."""

    messages: list[Message]
    parse: Callable[[str], Any]
    """What the answer says, or None when it cannot be used."""
    schema: dict[str, Any] | None = None
    seed: int | None = None
    again: list[Message] | None = None
    """What to send instead when an answer could not be used: a plainer question; None asks the same one."""
    slow_parse: bool = False
    """Run `parse` in a thread."""


@dataclass(frozen=True)
class Answer:
    """What came of one item."""

    value: Any
    """The parsed answer, None when there is none that can be used."""
    raw: str = ""
    """The last raw text, or why there was none; kept for an unusable answer."""


@dataclass
class Totals:
    """What all answers came to; calls and tokens are those bought for this work, interrupted runs included."""

    answers: int = 0
    unusable: int = 0
    reused: int = 0
    """Answers that something else had paid for."""
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


def ask_all(
    items: Iterable[T],
    question: Callable[[T], Question],
    emit: Callable[[T, Answer], None],
    *,
    server: ServerConfig,
    scratch: Path,
    what: str,
    name: str = "judge",
    total: int | None = None,
    max_unusable: float = 1.0,
) -> Totals:
    """Ask about every item; hand each answer to `emit`, in the items' order.

    Args:
        items: in an order that a second run repeats.
        question: makes the request for an item; called just before it is sent.
        emit: takes an item and its answer, once it is in the store.
        scratch: a folder that lives as long as this work does; it tells its purchases from those of others.
        what: names the work in the progress line.
        name: names the server's config section in errors.
        total: number of items, where known.
        max_unusable: share of unusable answers above which this fails.

    Raises:
        LimitReached: max-calls or max-cost; run again with a higher one.
        InputError: the server can't be used, or too many answers are unusable.
        StageError: the server has stopped answering; every answer so far is kept.
    """
    asker = _Asker(enumerate(items), question, emit, server, what, name, total, max_unusable)
    run_coroutine(lambda: asker.run(_purchaser(scratch / f"{name}.id")))
    return asker.totals


def without_thoughts(text: str) -> str:
    """The answer behind a model's thoughts; nothing where it never stopped thinking."""
    return THOUGHTS.sub("", text).strip()


def run_coroutine(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """`asyncio.run`, also where a loop is running already (a notebook). An interrupt ends it before this returns."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(main())
        return
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = Future()

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        started.set_result((asyncio.get_running_loop(), task))
        await main()

    with ThreadPoolExecutor(1) as thread:  # leaving it waits for the thread
        running = thread.submit(lambda: asyncio.run(run()))
        try:
            while not wait([running], timeout=1).done:
                pass  # an endless wait would miss an interrupt that comes just before it
            running.result()
        except KeyboardInterrupt:
            loop, task = started.result()
            loop.call_soon_threadsafe(task.cancel)
            raise


@dataclass
class _Asker(Generic[T]):
    items: Iterator[tuple[int, T]]
    question: Callable[[T], Question]
    emit: Callable[[T, Answer], None]
    server: ServerConfig
    what: str
    name: str
    total: int | None
    max_unusable: float

    def __post_init__(self) -> None:
        self.totals = Totals()
        self.progress: Progress | None = None  # from the first request on
        self.head = 0
        """Index of the first item whose answer has not been handed on."""
        self.waiting: dict[int, tuple[T, Answer | None]] = {}
        """Items from `head` on that were drawn, with their answers."""
        self.unusable: list[bytes] = []
        """Digests of the requests behind unusable answers."""
        self.cut = 0
        """How many unusable answers max-tokens cut short."""
        self.last_unusable = ""
        self.moved, self.first = asyncio.Event(), asyncio.Lock()
        self.limit: LimitReached | None = None

    async def run(self, purchaser: str) -> None:
        with AnswerStore(self.server.model, purchaser) as self.store:
            async with ChatClient(self.server, self.name) as self.client:
                spent = self.store.spent()
                self.client.calls, self.client.tokens_in, self.client.tokens_out = spent
                try:
                    async with asyncio.TaskGroup() as group:
                        for _ in range(self.server.concurrency):
                            group.create_task(self._work())
                except BaseExceptionGroup as errors:
                    raise errors.exceptions[0] from None
                finally:
                    self.store.record(self._spent())
                    if self.progress is not None:
                        self.progress.close()
            self.totals.calls, self.totals.tokens_in, self.totals.tokens_out = self._spent()
            if self.limit is not None:
                n = f"{self.totals.answers} of {self.total}" if self.total else f"{self.totals.answers}"
                raise LimitReached(f"{self.limit}; {n} answers are kept: run the same command with a higher limit")
            self._check_share(final=True)
        if self.totals.reused:
            log(f"{self.what}: {self.totals.reused} answers had been bought before; they are from {self.store.path}")

    async def _work(self) -> None:
        """Draw and answer items until there are none, or a limit is reached."""
        while self.limit is None and (drawn := next(self.items, None)) is not None:
            index, item = drawn
            self.waiting[index] = (item, None)
            while index - self.head >= WINDOW and self.limit is None:
                self.moved.clear()
                await self.moved.wait()
            try:
                answer = await self._answer(self.question(item))
            except LimitReached as error:
                self.limit = error
                self.moved.set()  # whoever waits for an earlier answer would wait for ever
                return
            self._take(index, item, answer)
            await asyncio.sleep(0)  # an answer from the store waits for nothing: let the others' replies in

    async def _answer(self, question: Question) -> Answer:
        """The first usable answer that the store has, or else that the server gives."""
        requests = (self._request(question, ask) for ask in range(self.server.asks))
        to_buy, tried, raw, cut = [], [], "", False
        for request in requests:
            kept = self.store.get(request.digest)
            if kept is None:
                to_buy.append(request)
                break  # what comes after it was never asked either
            if (value := await self._read(question, kept)) is not None:
                return Answer(value)
            raw, cut = kept.text, kept.cut_at is not None
            if kept.cut_at is not None and kept.cut_at < self.server.max_tokens:
                to_buy.append(request)
            tried.append(request.digest)
        for request in chain(to_buy, requests):
            try:
                kept = await self._buy(request)
            except Unanswered as error:
                raw, cut = str(error), False
                break
            if (value := await self._read(question, kept)) is not None:
                return Answer(value)
            raw, cut = kept.text, kept.cut_at is not None
            tried.append(request.digest)
        self.unusable += tried
        self.cut += cut
        self.last_unusable = raw
        return Answer(None, raw[:RAW_CHARACTERS])

    async def _read(self, question: Question, kept: Kept) -> Any:
        parse = question.parse
        value = await asyncio.to_thread(parse, kept.text) if question.slow_parse else parse(kept.text)
        self.totals.reused += value is not None and kept.purchaser != self.store.purchaser
        return value

    def _request(self, question: Question, ask: int) -> "_Request":
        """What to send the first time, the second time, ..."""
        messages, schema, seed = question.messages, question.schema, question.seed
        if ask:
            messages, seed = question.again or messages, (seed or 0) + 7919 * ask
        if messages is not question.messages or self.server.structured == "off":
            schema = None
        known_by = digest(self.server.model, messages, self.server.temperature, schema, seed)
        return _Request(messages, schema, seed, known_by)

    async def _buy(self, request: "_Request") -> Kept:
        if not self.client.answered:  # the first goes alone: what is wrong with the server shows in it
            async with self.first:
                if not self.client.answered:
                    return await self._send(request)
        return await self._send(request)

    async def _send(self, request: "_Request") -> Kept:
        if self.progress is None:
            if self.totals.answers:
                log(f"{self.what}: {self.totals.answers} answers are there already")
            self.progress = Progress(self.what, self.total, self.totals.answers)
        reply = await self.client.chat(request.messages, schema=request.schema, seed=request.seed)
        return self.store.put(request.digest, reply.text, self.server.max_tokens if reply.cut else None, self._spent())

    def _spent(self) -> Spent:
        return Spent(self.client.calls, self.client.tokens_in, self.client.tokens_out)

    def _take(self, index: int, item: T, answer: Answer) -> None:
        """Count an answer; hand on every answer whose predecessors are all there."""
        self.totals.answers += 1
        self.totals.unusable += answer.value is None
        self.waiting[index] = (item, answer)
        while self.head in self.waiting and (its_answer := self.waiting[self.head][1]) is not None:
            self.emit(self.waiting.pop(self.head)[0], its_answer)
            self.head += 1
        self.moved.set()
        if self.progress is not None:
            self.progress.advance()
        self._check_share(final=False)

    def _check_share(self, final: bool) -> None:
        n, bad = self.totals.answers, self.totals.unusable
        most = self.max_unusable if final else max(self.max_unusable, 0.5)
        if bad and (final or n >= EARLY) and bad > most * n:
            self.store.forget(self.unusable)
            raise InputError(
                f"{self.what}: {bad} of {n} answers from {self.server.model} cannot be used (share allowed: "
                f"{self.max_unusable:g}), {self.cut} of them cut at --{self.name}.max-tokens {self.server.max_tokens}; "
                f"one of them: {self.last_unusable[:200]!r}; mend the prompt, model or max-tokens, or raise the share; "
                f"run again to ask for these alone"
            )


@dataclass(frozen=True)
class _Request:
    """One request, and what the store knows it by."""

    messages: list[Message]
    schema: dict[str, Any] | None
    seed: int | None
    digest: bytes


def _purchaser(file: Path) -> str:
    """A name for whoever buys answers, the same after a kill: it is kept in `file`."""
    if not file.is_file():
        write_json(file, uuid.uuid4().hex)
    return str(json.loads(file.read_text()))
