"""What a person sees while work goes on: log lines, and progress as a bar on a terminal, as a line elsewhere.

Lines go through the standard logger `rarft`: `logging.getLogger("rarft").setLevel("WARNING")` silences them, its
handlers redirect them.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import suppress
from typing import Self, TypeVar

from tqdm import tqdm

T = TypeVar("T")
LOG_EVERY_SECONDS = 10.0
logger = logging.getLogger("rarft")


class _AboveTheBar(logging.Handler):
    """Writes plain lines to stderr, above a running bar; a closed stderr is no error."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is None:
            return
        with suppress(OSError, ValueError):
            tqdm.write(self.format(record), file=sys.stderr)


if not logger.handlers:
    logger.addHandler(_AboveTheBar())
    logger.setLevel(logging.INFO)
    logger.propagate = False


def log(message: str) -> None:
    """Log one line."""
    logger.info(message)


class Progress:
    """How far a piece of work is; close it, or use it in a `with`, so that the bar does not swallow what comes next.

    Args:
        what: a word or two naming the work, such as "labelling".
        total: number of items, the ones already done included.
        done: items finished by an earlier, interrupted run.
    """

    def __init__(self, what: str, total: int | None = None, done: int = 0) -> None:
        self.what, self.total, self.done, self.before = what, total, done, done
        self.start = self.last = time.monotonic()
        self.bar = None
        if sys.stderr is not None and sys.stderr.isatty():
            self.bar = tqdm(desc=what, total=total, initial=done, file=sys.stderr, dynamic_ncols=True)

    def advance(self, items: int = 1) -> None:
        """So many more items are done."""
        self.done += items
        if self.bar is not None:
            self.bar.update(items)
            return
        now = time.monotonic()
        if now - self.last < LOG_EVERY_SECONDS:
            return
        self.last = now
        of, left = "", ""
        if self.total:
            pace = (now - self.start) / (self.done - self.before)
            of, left = f"/{self.total}", f", {format_seconds(pace * (self.total - self.done))} left"
        log(f"{self.what}: {self.done}{of}{left}")

    def close(self) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield `items`, showing how far we are.

    Args:
        items: what is worked through.
        what: a word or two naming the work.
        total: number of items, where they can't be counted.
    """
    with Progress(what, len(items) if total is None and isinstance(items, Sized) else total) as progress:
        for item in items:
            yield item
            progress.advance()


def format_seconds(seconds: float) -> str:
    """`75.2` -> `1m15s`; `7.31` -> `7.3s`."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"
