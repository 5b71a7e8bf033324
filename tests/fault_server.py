"""A small OpenAI-compatible server whose answers and faults a test decides; runs in a thread.

The judge's verdict on a prompt is a hash of its text, so any two runs get the same one. Left out: everything of the
protocol that no test needs.
"""

from __future__ import annotations

import asyncio
import json
import threading
import zlib
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

Reply = tuple[int, dict[str, str], bytes]
FAULTS = ("429", "429-date", "500", "hang", "cut", "half-json", "no-choices", "null-content", "ok")


def number(prompt: str) -> int:
    """A number that a prompt stands for; the same however the judge is asked about a pair."""
    return zlib.crc32(prompt.split("ITS SOLUTION")[0].encode())


def verdict(prompt: str) -> bool:
    """What the server thinks of a prompt."""
    return number(prompt) % 3 == 0


def completion(text: Any, tokens_in: Any = 100, tokens_out: Any = 20, finish_reason: str = "stop") -> bytes:
    """The body of a chat completion."""
    usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}
    return json.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def judgement(body: dict[str, Any]) -> str:
    """The answer of a well-behaved judge."""
    messages = body["messages"]
    prompt = messages[min(1, len(messages) - 1)]["content"]
    return json.dumps({"pattern": f"pattern {number(prompt) % 97}", "relevant": verdict(prompt)})


class FaultServer:
    """`with FaultServer(fault=..., answer=...) as server: server.url`.

    Args:
        fault: `fault(n, body)` names what goes wrong with the n-th request (from 0): one of FAULTS, or an HTTP status;
            or it is the whole reply, `(status, headers, body)`.
        answer: `answer(body)` is the text of a good answer.
        delay: seconds before each answer.
        models: names that /models lists.
    """

    def __init__(
        self,
        fault: Callable[[int, dict[str, Any]], str | Reply] = lambda n, body: "ok",
        answer: Callable[[dict[str, Any]], Any] = judgement,
        delay: float = 0.0,
        models: tuple[str, ...] = ("m",),
        key: str | None = None,
    ) -> None:
        self.fault, self.answer, self.delay, self.models, self.key = fault, answer, delay, models, key
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self.in_flight = self.most_in_flight = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> FaultServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next((int(x[15:]) for x in head.lower().split("\r\n") if x.startswith("content-length:")), 0)
                raw = await reader.readexactly(length)
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    reply = await self._reply(head, raw)
                finally:
                    self.in_flight -= 1
                if reply is None:
                    return
                status, headers, body = reply
                lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(body)}"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                data = ("\r\n".join(lines) + "\r\n\r\n").encode() + body
                if headers.get("x-cut"):
                    writer.write(data[: len(data) - len(body) // 2])
                    await writer.drain()
                    return
                writer.write(data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _reply(self, head: str, raw: bytes) -> Reply | None:
        self.headers.append(head)
        if self.key is not None and f"bearer {self.key}" not in head.lower():
            said = next((line.split()[-1] for line in head.split("\r\n") if line.lower().startswith("authoriz")), "")
            return 401, {}, json.dumps({"error": {"message": f"Incorrect API key provided: {said}"}}).encode()
        if "/models" in head.split("\r\n")[0]:
            return 200, {}, json.dumps({"object": "list", "data": [{"id": m} for m in self.models]}).encode()
        body = json.loads(raw)
        n = len(self.bodies)
        self.bodies.append(body)
        if body["model"] not in self.models:
            return 404, {}, json.dumps({"error": {"message": f"no model {body['model']}"}}).encode()
        return await self._misbehave(self.fault(n, body), body)

    async def _misbehave(self, fault: str | Reply, body: dict[str, Any]) -> Reply | None:
        if self.delay:
            await asyncio.sleep(self.delay)
        if isinstance(fault, tuple):
            return fault
        good = completion(self.answer(body))
        if fault == "ok":
            return 200, {}, good
        if fault == "429":
            return 429, {"retry-after": "0.2"}, b'{"error": {"message": "slow down"}}'
        if fault == "429-date":
            return 429, {"retry-after": formatdate(usegmt=True)}, b'{"error": {"message": "slow down"}}'
        if fault == "hang":
            await asyncio.sleep(60)
            return None
        if fault == "cut":
            return 200, {"x-cut": "1"}, good
        if fault == "half-json":
            return 200, {}, good[: len(good) // 2]
        if fault == "no-choices":
            return 200, {}, b'{"choices": [], "usage": null}'
        if fault == "null-content":
            return 200, {}, completion(None)
        return int(fault), {}, json.dumps({"error": {"message": f"fault {fault}"}}).encode()
