"""The store of answers: what it knows a question by, who may read it, and what it survives."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rarft.core.errors import InputError
from rarft.llm.store import AnswerStore, Kept, Spent, digest, store_path

MESSAGES = [{"role": "user", "content": "a secret prompt"}]


def test_a_question_is_known_by_all_that_decides_its_answer() -> None:
    asked: dict[str, Any] = {"model": "m", "messages": MESSAGES, "temperature": 0.5, "schema": {"a": 1}, "seed": 1}
    other = {"model": "n", "messages": [*MESSAGES, *MESSAGES], "temperature": 0.6, "schema": None, "seed": None}
    found = {digest(**asked)} | {digest(**{**asked, name: value}) for name, value in other.items()}
    assert len(found) == 6
    assert digest(**asked) == digest(**asked)


def test_answers_and_spending_are_there_when_opened_again() -> None:
    with AnswerStore("m", "me") as store:
        assert store.get(b"q") is None and store.spent() == Spent(0, 0, 0)
        store.put(b"q", "an answer", 7, Spent(1, 2, 3))
        store.record(Spent(2, 2, 3))
    with AnswerStore("m", "you") as store:
        assert store.get(b"q") == Kept("an answer", 7, "me") and store.spent() == Spent(0, 0, 0)
        store.put(b"q", "a longer answer", None, Spent(1, 1, 1))
    with AnswerStore("m", "me") as store:
        assert store.get(b"q") == Kept("a longer answer", None, "you") and store.spent() == Spent(2, 2, 3)
        store.forget([b"q", b"r"])
        assert store.get(b"q") is None
    with AnswerStore("another/model", "me") as store:
        assert store.spent() == Spent(0, 0, 0)


def test_only_the_user_can_read_it_and_prompts_are_not_in_it() -> None:
    before = os.umask(0)
    try:
        with AnswerStore("org/model:x", "me") as store:
            store.put(digest("m", MESSAGES, 0.0, None, None), "text", None, Spent())
            files = list(store.path.parent.iterdir())
            assert len(files) == 3  # SQLite's own two beside it
            assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
            assert store.path.parent.stat().st_mode & 0o777 == 0o700
            assert not any(b"secret" in path.read_bytes() for path in files)
    finally:
        os.umask(before)
    assert store.path == store_path("org/model:x") and store.path.parent == Path(os.environ["RARFT_CACHE"], "answers")


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.setenv("RARFT_CACHE", "~/there")
    assert store_path("m").parent == Path("/home/x/there/answers")
    monkeypatch.delenv("RARFT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/x")
    assert store_path("m").parent == Path("/var/x/rarft/answers")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert store_path("m").parent == Path("/home/x/.cache/rarft/answers")
    assert len({store_path(name).name for name in ("a/b", "a-b", "a b", "é", "x" * 500, "y" + "x" * 500)}) == 6
    assert all(len(store_path(name).name) < 120 for name in ("x" * 500, "../../x", "é" * 300))
    assert store_path("../../x").parent == Path("/home/x/.cache/rarft/answers")


WRITER = """
import sys
from rarft.llm.store import AnswerStore, Spent
with AnswerStore("m", sys.argv[1]) as store:
    for i in range(300):
        store.put(f"{sys.argv[1]} {i}".encode(), "x" * 200, None, Spent(i + 1, i, i))
        store.get(f"{int(sys.argv[1]) ^ 1} {i}".encode())
"""


def test_several_processes_use_it_at_once() -> None:
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, str(i)]) for i in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    with closing(sqlite3.connect(store_path("m"))) as database:
        assert database.execute("SELECT COUNT(*) FROM answers").fetchone() == (1200,)
        assert database.execute("SELECT SUM(calls) FROM spent").fetchone() == (1200,)


@pytest.mark.parametrize("damage", ["not a database", "folder", "no folder", "damaged pages"])
def test_a_store_that_cannot_be_used_is_one_clear_line(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AnswerStore("m", "me") as store:
        for i in range(2000):
            store.put(f"{i}".encode(), "text", None, Spent())
    if damage == "not a database":
        store.path.write_bytes(b"no database" * 1000)
    elif damage == "folder":
        store.path.unlink()
        store.path.mkdir()
    elif damage == "no folder":
        (tmp_path / "file").touch()
        monkeypatch.setenv("RARFT_CACHE", str(tmp_path / "file"))
    else:
        whole = store.path.read_bytes()
        store.path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(InputError, match=r"cannot keep answers in .*RARFT_CACHE") as error, AnswerStore("m", "me") as s:
        s.put(b"q", "text", None, Spent())
    assert "\n" not in str(error.value)
