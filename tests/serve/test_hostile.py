"""Requests that are malformed or mean harm: a clear 4xx, nothing of ours in it, and the server goes on."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rarft.serve import gate
from tests.serve.conftest import QUESTION, Running, raw_connection
from tests.serve.stub_upstream import StubUpstream

CHAT, TRACES, RETRIEVE = "/v1/chat/completions", "/v1/traces", "/v1/retrieve"
MESSAGE = {"role": "user", "content": QUESTION}


def request(path: str, body: bytes, kind: str = "application/json", method: str = "POST", more: str = "") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body


def chat(**values: Any) -> bytes:
    return request(CHAT, json.dumps({"model": "rarft", "messages": [MESSAGE], **values}).encode())


def said(content: str) -> bytes:
    return chat(messages=[{"role": "user", "content": content}])


def rarft(**values: Any) -> bytes:
    return chat(rarft=values)


def trace(**values: Any) -> bytes:
    return request(TRACES, json.dumps({"traces": [{"problem": "p", "solution": "s", **values}]}).encode())


HOSTILE: dict[str, bytes] = {
    # HTTP itself
    "no HTTP": b"\x00\xff\xfe garbage \r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64 + b"\r\n\r\n",
    "a header without end": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "very many headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    "two lengths": b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
    b"Content-Length: 6\r\n\r\nhello!",
    "length and chunks": b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    "no host": b"GET /v1/models HTTP/1.1\r\n\r\n",
    "a foreign host": b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "a path upwards": b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a path upwards, coded": b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "the bundle's files": b"GET /bundle.json HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no such method": b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method that is not taken": b"PUT /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    "a body that is promised huge": request(CHAT, b"{}").replace(b"Content-Length: 2", b"Content-Length: 99999999999"),
    "a length of 5,000 digits": request(CHAT, b"{}").replace(b"Content-Length: 2", b"Content-Length: " + b"9" * 5000),
    "a form": request(CHAT, b"model=rarft", "application/x-www-form-urlencoded"),
    "a form with files": request(CHAT, b"--x--", "multipart/form-data; boundary=x"),
    "XML": request(CHAT, b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>', "application/xml"),
    "a header that injects": request(CHAT, b"{}", more="X-A: b\rX-C: d\r\n"),
    # JSON
    "no body": request(CHAT, b""),
    "no JSON": request(CHAT, b"hello"),
    "half a JSON": request(CHAT, b'{"model": "rarft", "messages": ['),
    "not UTF-8": request(CHAT, b'{"model": "\xff\xfe"}'),
    "a list": request(CHAT, b"[]"),
    "null": request(CHAT, b"null"),
    "nested without end": request(CHAT, b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "nested lists": request(CHAT, b"[" * 1_000_000),
    "NaN": request(CHAT, b'{"model":"rarft","messages":[{"role":"user","content":"x"}],"temperature":NaN}'),
    "endless": request(CHAT, b'{"model":"rarft","messages":[{"role":"user","content":"x"}],"temperature":1e999}'),
    "a number of a million digits": request(CHAT, b'{"n":' + b"9" * 1_000_000 + b"}"),
    # wrong types and values
    "messages are a text": chat(messages="hello"),
    "a message is a number": chat(messages=[5]),
    "content is an object": chat(messages=[{"role": "user", "content": {"a": 1}}]),
    "no role": chat(messages=[{"content": "x"}]),
    "n is a text": chat(n="many"),
    "n is a billion": chat(n=10**9),
    "a negative max_tokens": chat(max_tokens=-1),
    "max_tokens beyond all": chat(max_tokens=10**30),
    "a truth for a number": chat(temperature=True),
    "a thousand stops": chat(stop=["x"] * 1000),
    "a seed beyond 64 bits": chat(seed=2**70),
    "stream is a text": chat(stream="yes"),
    "the model is a path": chat(model="../../../etc/passwd"),
    "no such field": chat(__class__="x"),
    "rarft is a list": chat(rarft=[1]),
    # text
    "a NUL": said("a\0b"),
    "half a surrogate pair": request(CHAT, b'{"model":"rarft","messages":[{"role":"user","content":"\\ud800"}]}'),
    "far too long": said("x" * 4_000_000),
    "a body of 9 MiB": said("x" * (9 * 2**20)),
    "no word": chat(messages=[]),
    # ids and paths
    "a path for an id": rarft(trace_ids=["../../../etc/passwd"]),
    "SQL for an id": rarft(trace_ids=["' OR 1=1 --"]),
    "a NUL in an id": rarft(trace_ids=["t1\0"]),
    "an id of a megabyte": rarft(trace_ids=["t" * 2**20]),
    "a thousand ids": rarft(trace_ids=["t1"] * 1000),
    "top_k beyond all": rarft(top_k=10**6),
    "top_k of nothing": rarft(top_k=0),
    "an unknown retriever": request(RETRIEVE, b'{"queries": ["x"], "retriever": "/etc/passwd"}'),
    "a thousand queries": request(RETRIEVE, json.dumps({"queries": ["x"] * 1000}).encode()),
    "token ids that are none": request("/v1/completions", b'{"model": "rarft", "prompt": [-1, 5]}'),
    "token ids beyond the vocabulary": request("/v1/completions", b'{"model": "rarft", "prompt": [4000000000]}'),
    "an empty prompt": request("/v1/completions", b'{"model": "rarft", "prompt": []}'),
    "a trace without text": trace(problem=" \n"),
    "a trace of a megabyte": trace(solution="x" * 2**20),
    "a trace with a NUL": trace(id="a\0b"),
    "a trace with a field of its own": trace(path="/etc/passwd"),
    "removing nothing": request(TRACES, b'{"ids": []}', method="DELETE"),
    "removing by a pattern": request(TRACES, b'{"ids": {"$ne": ""}}', method="DELETE"),
}  # fmt: skip
LEAKS = ("Traceback", "site-packages", "/work", "/root", "/home", "/tmp", 'File "', "rarft.serve", "0x7f", "root:")


def answer(server: Running, data: bytes) -> bytes:
    with raw_connection(server.url) as connection:
        with suppress(OSError):  # refused before all of it was sent
            connection.sendall(data)
        found = b""
        with suppress(OSError):
            while not _is_whole(found) and (piece := connection.recv(65536)):
                found += piece
        return found


def _is_whole(found: bytes) -> bool:
    head, end, body = found.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return bool(end) and length is not None and len(body) >= int(length.group(1))


def test_there_are_fifty() -> None:
    assert len(HOSTILE) >= 50


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_a_clear_4xx(name: str, server: Running) -> None:
    found = answer(server, HOSTILE[name])
    head, _, body = found.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1]) if found.startswith(b"HTTP/1.1 ") else None
    assert status is not None and 400 <= status < 500, found[:300]
    text = found.decode("utf-8", errors="replace")
    assert not [leak for leak in LEAKS if leak in text], text[:500]
    assert len(found) < 2000
    if b"application/json" in head:
        told = json.loads(body)["error"]
        assert told["message"] and "\n" not in told["message"] and len(told["message"]) < 400
    assert server.client.get("/health").status_code == 200


def test_after_all_of_them_it_answers_and_nothing_was_added(server: Running) -> None:
    threads = [threading.Thread(target=answer, args=(server, data)) for data in HOSTILE.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert server.chat().status_code == 200
    assert server.client.get("/v1/models").json()["data"][0]["rarft"]["n_traces"] == 36


def ends(server: Running, data: bytes) -> bool:
    """Whether the server ends a connection on which nothing comes after `data`."""
    with raw_connection(server.url) as connection:
        connection.sendall(data)
        connection.settimeout(20)
        try:
            while connection.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True


@pytest.mark.parametrize(
    "dribble",
    [b"", b"GET /hea", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: b",
     request(CHAT, b"{}").replace(b"Content-Length: 2", b"Content-Length: 200")],
    ids=["nothing", "half a line", "half a head", "half a body"],
)  # fmt: skip
def test_who_dribbles_is_cut_off(
    dribble: bytes, folder: Path, stub: StubUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(gate, "BODY_SECONDS", 0.3)
    with Running(folder, stub.url) as server:
        assert ends(server, dribble)
        assert server.chat().status_code == 200


def test_a_slow_answer_is_not_taken_for_dribbling(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "HEADER_SECONDS", 0.2)
    with StubUpstream(delay=1.0) as stub, Running(folder, stub.url) as server:
        assert server.chat().status_code == 200 and server.chat().status_code == 200


def test_a_hundred_idle_connections_keep_nobody_out(server: Running) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(100)]
    try:
        assert server.chat().status_code == 200
    finally:
        for connection in idle:
            connection.close()


def test_an_error_of_ours_says_nothing_of_us(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("/secret/place")

    broken_search: Callable[..., Any] = broken
    monkeypatch.setattr("rarft.serve.retrieval.find_analogies", broken_search)
    reply = server.chat()
    assert reply.status_code == 500 and "secret" not in reply.text and reply.json()["error"]["code"] == "internal"
