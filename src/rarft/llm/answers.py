"""Ask a server about many items, so that a kill at any moment costs nothing.

Every answer is appended to a log before it counts. Started again, the log is read back and only what it lacks is
asked; items come in a fixed order and answers are handed on in that order, so what is made of them is the same as
from an unbroken run. Items are drawn lazily and answers wait at most a window for an earlier one, so memory does not
grow with their number. Left out: several processes on one log (a stage's folder is locked).
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from rarft.core.errors import InputError
from rarft.core.progress import Progress, log
from rarft.llm.client import ChatClient, LimitReached, Message, ServerConfig, Unanswered

T = TypeVar("T")
WINDOW = 4096
SYNC_EVERY_SECONDS = 1.0
EARLY = 50
RAW_CHARACTERS = 4000


@dataclass(frozen=True)
class Question:
    """What to send for one item, and how to read the answer."""

    messages: list[Message]
    parse: Callable[[str], Any]
    """The answer as a JSON value, or None when it cannot be used."""
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
    tokens_in: int = 0
    tokens_out: int = 0
    calls: int = 0


@dataclass
class Totals:
    """What all answers cost, those of interrupted runs included."""

    answers: int = 0
    unusable: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    calls: int = 0


def ask_all(
    items: Iterable[T],
    question: Callable[[T], Question],
    emit: Callable[[T, Answer], None],
    *,
    server: ServerConfig,
    log_file: Path,
    key: Callable[[T], str],
    what: str,
    name: str = "judge",
    total: int | None = None,
    max_unusable: float = 1.0,
) -> Totals:
    """Ask about every item; hand each answer to `emit`, in the items' order.

    Args:
        items: in an order that a second run repeats.
        question: makes the request for an item; called just before it is sent.
        emit: takes an item and its answer, once it is in the log.
        log_file: where answers are kept between runs.
        key: names an item; a log whose keys differ is refused.
        what: names the work in the progress line.
        name: names the server's config section in errors.
        total: number of items, where known.
        max_unusable: share of unusable answers above which this fails.

    Raises:
        LimitReached: max-calls or max-cost; run again with a higher one.
        InputError: the server can't be used (all answers so far are kept), or too many answers are unusable.
    """
    asker = _Asker(items, question, emit, server, log_file, key, what, name, total, max_unusable)
    run_coroutine(asker.run)
    return asker.totals


def run_coroutine(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """`asyncio.run`, also where a loop is running already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(main())
        return
    failure: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


class _Asker(Generic[T]):
    def __init__(
        self,
        items: Iterable[T],
        question: Callable[[T], Question],
        emit: Callable[[T, Answer], None],
        server: ServerConfig,
        log_file: Path,
        key: Callable[[T], str],
        what: str,
        name: str,
        total: int | None,
        max_unusable: float,
    ) -> None:
        self.items, self.question, self.emit, self.key = enumerate(items), question, emit, key
        self.server, self.name, self.what, self.total = server, name, what, total
        self.max_unusable = max_unusable
        self.log = AppendLog(log_file)
        self.progress: Progress  # from the first question on
        self.totals = Totals()
        self.head = 0
        """Index of the first item whose answer has not been handed on."""
        self.waiting: dict[int, tuple[T, Answer | None]] = {}
        """Items from `head` on that were drawn, with their answers."""
        self.todo: Iterator[tuple[int, T]] = iter(())
        self.moved = asyncio.Event()
        self.limit: LimitReached | None = None

    async def run(self) -> None:
        try:
            self._replay()
            first = self._draw()
            if first is not None:
                await self._ask_the_rest(first)
            self._check_share(final=True)
        finally:
            self.log.close()

    def _replay(self) -> None:
        """Take the answers that the log has, then list the drawn items that lack one."""
        for index, name, answer in logged_answers(self.log):
            while index not in self.waiting and index >= self.head:
                drawn = next(self.items, None)
                if drawn is None:
                    break
                self.waiting[drawn[0]] = (drawn[1], None)
            if index not in self.waiting or self.key(self.waiting[index][0]) != name:
                raise InputError(f"{self.log.path}: holds answers about other items; delete it to begin afresh")
            self._take(index, self.waiting[index][0], answer)
        if self.totals.answers:
            log(f"{self.what}: {self.totals.answers} answers are there already")
        self.todo = iter([(i, item) for i, (item, answer) in sorted(self.waiting.items()) if answer is None])

    def _draw(self) -> tuple[int, T] | None:
        """The next item to ask about."""
        for index, item in self.todo:
            return index, item
        for index, item in self.items:
            self.waiting[index] = (item, None)
            return index, item
        return None

    async def _ask_the_rest(self, first: tuple[int, T]) -> None:
        async with ChatClient(self.server, self.name) as client:
            client.calls = self.totals.calls
            client.tokens_in, client.tokens_out = self.totals.tokens_in, self.totals.tokens_out
            await client.check()
            self.progress = Progress(self.what, self.total, self.totals.answers)
            try:
                await self._answer(client, *first)  # alone: what is wrong with the server shows here
                async with asyncio.TaskGroup() as group:
                    for _ in range(self.server.concurrency):
                        group.create_task(self._work(client))
            except LimitReached as error:
                self.limit = error
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
            finally:
                self.totals.calls = client.calls
                self.totals.tokens_in, self.totals.tokens_out = client.tokens_in, client.tokens_out
                self.progress.close()
        if self.limit is not None:
            of = f" of {self.total}" if self.total else ""
            raise LimitReached(
                f"{self.limit}; {self.totals.answers}{of} answers are kept: run the same command with a higher limit"
            )

    async def _work(self, client: ChatClient) -> None:
        """Draw and answer items until there are none, or a limit is reached."""
        while self.limit is None:
            drawn = self._draw()
            if drawn is None:
                return
            while drawn[0] - self.head >= WINDOW and self.limit is None:
                self.moved.clear()
                await self.moved.wait()
            if self.limit is not None:
                return
            try:
                await self._answer(client, *drawn)
            except LimitReached as error:
                self.limit = error
                self.moved.set()  # whoever waits for an earlier answer would wait for ever

    async def _answer(self, client: ChatClient, index: int, item: T) -> None:
        """Ask until the answer can be used; log it; hand on what is complete."""
        question = self.question(item)
        messages, seed = question.messages, question.seed
        value, raw, tokens_in, tokens_out, calls = None, "", 0, 0, 0
        for ask in range(self.server.asks):
            try:
                schema = question.schema if messages is question.messages else None
                reply = await client.chat(messages, schema=schema, seed=seed)
            except Unanswered as error:
                raw, calls = str(error), calls + error.calls
                break
            raw, calls = reply.text, calls + reply.calls
            tokens_in, tokens_out = tokens_in + reply.tokens_in, tokens_out + reply.tokens_out
            value = await asyncio.to_thread(question.parse, raw) if question.slow_parse else question.parse(raw)
            if value is not None:
                break
            seed = (question.seed or 0) + 7919 * (ask + 1)
            messages = question.again or messages
        kept = "" if value is not None else raw[:RAW_CHARACTERS]
        result = Answer(value, kept, tokens_in, tokens_out, calls)
        self.log.append(_row(index, self.key(item), result))
        self._take(index, item, result)
        self.progress.advance()
        self._check_share(final=False)

    def _take(self, index: int, item: T, answer: Answer) -> None:
        """Count an answer that is in the log; hand on every answer whose predecessors are all there."""
        totals = self.totals
        totals.answers += 1
        totals.unusable += answer.value is None
        totals.calls += answer.calls
        totals.tokens_in += answer.tokens_in
        totals.tokens_out += answer.tokens_out
        self.waiting[index] = (item, answer)
        while self.head in self.waiting and self.waiting[self.head][1] is not None:
            ready, its_answer = self.waiting.pop(self.head)
            assert its_answer is not None
            self.emit(ready, its_answer)
            self.head += 1
        self.moved.set()

    def _check_share(self, final: bool) -> None:
        n, bad = self.totals.answers, self.totals.unusable
        most = self.max_unusable if final else max(self.max_unusable, 0.5)
        if bad and (final or n >= EARLY) and bad > most * n:
            self.log.append({"again": True})
            raise InputError(
                f"{self.what}: {bad} of {n} answers from {self.server.model} cannot be used (share allowed: "
                f"{self.max_unusable:g}); read them in {self.log.path}, mend the prompt, model or max-tokens, or raise "
                f"the share; run again to ask for these alone"
            )


class AppendLog:
    """JSON lines that survive a kill: a row is one system call, so what was appended is there afterwards.

    Once a second the file is also forced to the disk, so a power cut loses a second. A last line without its end, as
    a kill may leave it, is dropped on opening: it was not counted yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._synced = time.monotonic()
        self._cut_torn_line()

    def _cut_torn_line(self) -> None:
        size = os.fstat(self._file).st_size
        position, tail = size, b""
        while position and b"\n" not in tail:
            step = min(65536, position)
            position -= step
            tail = os.pread(self._file, step, position) + tail
        whole = position + tail.rfind(b"\n") + 1 if b"\n" in tail else 0
        if whole != size:
            os.ftruncate(self._file, whole)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row so far."""
        with self.path.open("rb") as lines:
            for line in lines:
                yield json.loads(line)

    def append(self, row: dict[str, Any]) -> None:
        """Write one row; it is in the file when this returns."""
        data = json.dumps(row).encode() + b"\n"
        while data:
            data = data[os.write(self._file, data) :]
        now = time.monotonic()
        if now - self._synced > SYNC_EVERY_SECONDS:
            os.fsync(self._file)
            self._synced = now

    def close(self) -> None:
        """Force to the disk and close."""
        os.fsync(self._file)
        os.close(self._file)


def logged_answers(log: AppendLog) -> Iterator[tuple[int, str, Answer]]:
    """`(index, key, answer)` of every row; unusable answers that are to be asked for again are left out."""
    again_at = max((n for n, row in enumerate(log.rows()) if "again" in row), default=-1)
    for n, row in enumerate(log.rows()):
        if "again" not in row and (row["value"] is not None or n > again_at):
            yield row["i"], row["key"], Answer(row["value"], row["raw"], row["in"], row["out"], row["calls"])


def _row(index: int, key: str, answer: Answer) -> dict[str, Any]:
    row = {"i": index, "key": key, "value": answer.value, "raw": answer.raw}
    return row | {"in": answer.tokens_in, "out": answer.tokens_out, "calls": answer.calls}
