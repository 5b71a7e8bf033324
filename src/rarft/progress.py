"""Progress: a bar with the time left on a terminal, a plain log line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
LOG_EVERY_SECONDS = 10.0


def log(message: str) -> None:
    """Print one line to stderr, above a running bar."""
    tqdm.write(message, file=sys.stderr)


def track(items: Iterable[T], what: str, total: int | None = None, done: int = 0) -> Iterator[T]:
    """Yield `items`, showing how far we are.

    Args:
        items: what is worked through.
        what: a word or two naming the work, such as "labelling".
        total: number of items, the ones already done included; `done + len(items)` where that is known.
        done: items finished by an earlier, interrupted run.
    """
    if total is None and isinstance(items, Sized):
        total = done + len(items)
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total, initial=done, file=sys.stderr, dynamic_ncols=True)
        return
    start = last = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_EVERY_SECONDS:
            last = now
            left = f", {format_seconds((now - start) / count * (total - done - count))} left" if total else ""
            log(f"{what}: {done + count}{f'/{total}' if total else ''}{left}")


def format_seconds(seconds: float) -> str:
    """`75.2` -> `1m15s`; `7.31` -> `7.3s`."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"
