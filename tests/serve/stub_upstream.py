"""A stand-in for vLLM: /v1/models and /v1/completions with token ids, whose pace and faults a test decides.

In a thread, `with StubUpstream(...) as upstream: upstream.url`; as a process, for benchmarks, with a line on stdout
that names its port: `python tests/serve/stub_upstream.py --delay 0.05`. An answer names the prompt that it is to, by a
digest of its token ids, so that mixed-up answers show. Left out: everything of the protocol that no test needs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import zlib
from collections.abc import Callable
from typing import Any

Fault = Callable[[int, dict[str, Any]], str]


def name_of(ids: list[int]) -> str:
    """What an answer to these token ids begins with."""
    return f"ids {zlib.crc32(json.dumps(list(ids)).encode()):08x}"


class StubUpstream:
    """The server.

    Args:
        answer: text of choice i to a prompt.
        delay: seconds before an answer, and between the words of a streamed one.
        fault: what goes wrong with the n-th request (from 0): ok, hang, cut (the connection), half (of a stream),
            strange (no choices), or an HTTP status.
        model: what it serves.
    """

    def __init__(
        self,
        answer: Callable[[list[int], int], str] = lambda ids, i: f"{name_of(ids)} choice {i} is \\boxed{{7}}",
        delay: float = 0.0,
        fault: Fault = lambda n, body: "ok",
        model: str = "rarft",
        context_length: int | None = None,
        port: int = 0,
    ) -> None:
        self.answer, self.delay, self.fault, self.model = answer, delay, fault, model
        self.context_length, self.port = context_length, port
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self.cancelled = self.finished = 0
        self.started = threading.Event()
        """Set when a request of /v1/completions has come."""
        self._ready = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> StubUpstream:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self.serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def serve(self) -> None:
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.sleep(0)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next((int(x[15:]) for x in head.lower().split("\r\n") if x.startswith("content-length:")), 0)
                raw = await reader.readexactly(length)
                if "/v1/completions" not in head.split("\r\n")[0]:
                    self._plain(writer, *self._other(head.split(" ")[1]))
                    continue
                self.headers.append(head)
                if not await self._watched(reader, writer, json.loads(raw)):
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _watched(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict[str, Any]) -> bool:
        """Answer, unless the client goes first; whether the connection goes on."""
        answering = asyncio.ensure_future(self._complete(writer, body))
        gone = asyncio.ensure_future(reader.read(1))
        await asyncio.wait([answering, gone], return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            answering.cancel()
            self.cancelled += 1
            return False
        self.finished += 1
        gone.cancel()
        (early,) = await asyncio.gather(gone, return_exceptions=True)
        if isinstance(early, bytes):  # the next request has begun
            reader._buffer[:0] = early  # type: ignore[attr-defined]
        return answering.result()

    def _other(self, path: str) -> tuple[int, dict[str, Any]]:
        if path == "/v1/models":
            return 200, {"data": [{"id": self.model, "max_model_len": self.context_length}]}
        return 404, {"error": {"message": "not here"}}

    async def _complete(self, writer: asyncio.StreamWriter, body: dict[str, Any]) -> bool:
        n = len(self.bodies)
        self.bodies.append(body)
        self.started.set()
        fault = self.fault(n, body)
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "cut":
            return False
        if fault.isdigit():
            await asyncio.sleep(self.delay)
            self._plain(writer, int(fault), {"error": {"message": f"fault {fault}"}})
            return True
        if fault == "strange":
            self._plain(writer, 200, {"choices": []})
            return True
        prompts = body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
        texts = [self.answer(ids, i) for ids in prompts for i in range(body["n"])]
        usage = {"prompt_tokens": sum(map(len, prompts)), "completion_tokens": 3 * len(texts), "total_tokens": 0}
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
        if body.get("stream"):
            return await self._streamed(writer, texts, usage, fault)
        await asyncio.sleep(self.delay)
        logprobs = None
        if "logprobs" in body:
            logprobs = {"tokens": ["a", "b"], "token_logprobs": [-0.5, -1.0],
                        "top_logprobs": [{"a": -0.5}, {"b": -1.0, "c": -2.0}]}  # fmt: skip
        choices = [{"index": i, "text": t, "finish_reason": "stop", "logprobs": logprobs} for i, t in enumerate(texts)]
        self._plain(writer, 200, {"choices": choices, "usage": usage})
        return True

    async def _streamed(
        self, writer: asyncio.StreamWriter, texts: list[str], usage: dict[str, int], fault: str
    ) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        rows = [(i, word) for i, text in enumerate(texts) for word in text.split(" ")]
        for i, word in rows[: len(rows) // 2] if fault == "half" else rows:
            await asyncio.sleep(self.delay)
            self._event(writer, {"choices": [{"index": i, "text": f"{word} ", "finish_reason": None}]})
            await writer.drain()
        if fault == "half":
            return False
        for i in range(len(texts)):
            self._event(writer, {"choices": [{"index": i, "text": "", "finish_reason": "stop"}]})
        self._event(writer, {"choices": [], "usage": usage})
        writer.write(b"data: [DONE]\n\n")
        await writer.drain()
        return False

    def _event(self, writer: asyncio.StreamWriter, value: dict[str, Any]) -> None:
        writer.write(b"data: " + json.dumps(value).encode() + b"\n\n")

    def _plain(self, writer: asyncio.StreamWriter, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--fail-every", type=int, default=0, help="every N-th request gets status 500")
    options = parser.parse_args()
    every = options.fail_every
    stub = StubUpstream(delay=options.delay, fault=lambda n, body: "500" if every and n % every == every - 1 else "ok")

    async def told() -> None:
        serving = asyncio.ensure_future(stub.serve())
        while not stub._ready.is_set():
            await asyncio.sleep(0.01)
        print(stub.port, flush=True)
        await serving

    asyncio.run(told())


if __name__ == "__main__":
    main()
