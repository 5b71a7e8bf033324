"""Answers of models, kept outside every output folder, so that nothing is bought twice.

    ~/.cache/rarft/answers/MODEL-DIGEST.sqlite      $RARFT_CACHE moves it to another folder; delete it to ask afresh

A question is known by a digest of all that decides its answer: model, messages, temperature, schema and seed. So it is
found again by a labelling that was killed, whose options changed, or that goes to another folder. Raw texts are kept,
so a better way to read them costs no request. What each purchaser has spent stands beside them, written in the same
transaction. Prompts and keys are not kept; only the user can read the files.

SQLite in WAL mode: several processes can use one file, a commit survives `kill -9`, and once a second it is forced to
the disk. Left out: telling servers apart (the model's name is the model), expiry, and a network file system that
several machines write to at once (WAL needs shared memory).
"""

import hashlib
import json
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from rarft.core.errors import InputError

SYNC_EVERY_SECONDS = 1.0
WAIT_FOR_OTHERS_SECONDS = 60.0
TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS answers (question BLOB PRIMARY KEY, text TEXT, cut_at INTEGER, purchaser TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (purchaser TEXT PRIMARY KEY, calls INTEGER, tokens_in INTEGER, tokens_out INTEGER)
WITHOUT ROWID;
"""


class Kept(NamedTuple):
    """An answer in the store."""

    text: str
    cut_at: int | None
    """The max-tokens that cut it short, None when it ended by itself."""
    purchaser: str


class Spent(NamedTuple):
    """What a purchaser has paid for so far."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


def digest(model: str, messages: Sequence[Any], temperature: float, schema: Any, seed: int | None) -> bytes:
    """What a question is known by: everything that decides its answer, but for where it may be cut."""
    return hashlib.sha256(json.dumps([model, messages, temperature, schema, seed]).encode()).digest()


def store_path(model: str) -> Path:
    """The file that keeps the answers of a model."""
    cache = os.environ.get("RARFT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "rarft")
    name = re.sub(r"[^\w.-]+", "-", model, flags=re.ASCII)[-80:]
    return Path(cache, "answers", f"{name}-{hashlib.sha256(model.encode()).hexdigest()[:8]}.sqlite").expanduser()


class AnswerStore:
    """The answers of one model; a context manager, to be used by the thread that opened it.

    Args:
        model: the model's name.
        purchaser: in whose name answers are bought.

    Raises:
        InputError: here and in every method, when the file can't be read or written.
    """

    def __init__(self, model: str, purchaser: str) -> None:
        self.purchaser = purchaser
        try:
            self.path = store_path(model)
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            self._database = sqlite3.connect(self.path, timeout=WAIT_FOR_OTHERS_SECONDS)
            self._database.executescript(TABLES)
        except (OSError, RuntimeError, sqlite3.Error) as error:  # RuntimeError: no home
            raise self._unusable(error) from None
        self._synced = time.monotonic()

    def get(self, question: bytes) -> Kept | None:
        """The answer to a question, if it was ever bought."""
        with self._access() as database:
            select = "SELECT text, cut_at, purchaser FROM answers WHERE question = ?"
            row = database.execute(select, [question]).fetchone()
        return Kept(*row) if row else None

    def put(self, question: bytes, text: str, cut_at: int | None, spent: Spent) -> Kept:
        """Keep an answer, and what its purchaser has now spent in all; both are there when this returns."""
        row = (question, text, cut_at, self.purchaser)
        with self._access() as database:
            database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", row)
            self._record(spent)
        if time.monotonic() - self._synced > SYNC_EVERY_SECONDS:
            with self._access() as database:
                database.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._synced = time.monotonic()
        return Kept(text, cut_at, self.purchaser)

    def forget(self, questions: Iterable[bytes]) -> None:
        """Drop answers, so that they are bought anew."""
        with self._access() as database:
            database.executemany("DELETE FROM answers WHERE question = ?", ([question] for question in questions))

    def spent(self) -> Spent:
        """What the purchaser has spent."""
        with self._access() as database:
            select = "SELECT calls, tokens_in, tokens_out FROM spent WHERE purchaser = ?"
            row = database.execute(select, [self.purchaser]).fetchone()
        return Spent(*row) if row else Spent()

    def record(self, spent: Spent) -> None:
        """Say what the purchaser has now spent in all, where no answer came of it."""
        with self._access():
            self._record(spent)

    def _record(self, spent: Spent) -> None:
        row = (self.purchaser, spent.calls, spent.tokens_in, spent.tokens_out)
        self._database.execute("INSERT OR REPLACE INTO spent VALUES (?, ?, ?, ?)", row)

    @contextmanager
    def _access(self) -> Iterator[sqlite3.Connection]:
        """The database in a transaction, committed at the end."""
        try:
            with self._database:
                yield self._database
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> InputError:
        return InputError(
            f"cannot keep answers in {getattr(self, 'path', '~/.cache/rarft')} ({error}); "
            f"make room, delete the file if it is damaged, or name another folder by $RARFT_CACHE"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
