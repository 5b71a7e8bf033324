"""The upstream: a vLLM (or a server that speaks its /v1/completions), asked with token ids.

The prompt is ready when it gets here, so nothing is templated again. Nothing of sampling is left to the server's own
defaults. A request is sent once: what fails is told, not tried again, since a second try could cost the double.
Closing a stream, or being cancelled, closes the connection, and the server stops computing. Left out: servers that take
text only.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from rarft.serve.errors import ApiError
from rarft.serve.metrics import Metrics

CONNECT_SECONDS, HEALTH_SECONDS, KEEP_ALIVE_SECONDS = 5.0, 2.0, 2.0
"""A connection is kept for less than the 5 s after which uvicorn, and so vLLM, closes it."""
PROBE = "Let $x_1 = \\frac{1}{2}$.\n\nThen 12345 * 678 = ?  naïve Ωμέγα 漢字 🙂 \tdef f(): return"


@dataclass(frozen=True)
class Served:
    """What an upstream serves."""

    name: str
    context_length: int | None


class Upstream:
    """One upstream, from an event loop.

    Args:
        url: its root, with or without /v1.
        socket: path of a Unix socket to reach it by; `url` then only names it.
        names: what the policy may be called there: an upstream that serves several models is asked for one of these.
        probe: token ids of `PROBE` by the policy's tokenizer; one that cuts it otherwise serves another model.
        key: sent as bearer key.
        timeout: seconds without a byte after which an answer counts as lost.
    """

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        *,
        names: Sequence[str],
        probe: Sequence[int],
        socket: str | None = None,
        key: str | None = None,
        timeout: float = 600.0,
    ) -> None:
        self._metrics, self._names, self._probe, self._timeout = metrics, list(names), list(probe), timeout
        self._served: Served | None = None
        self._finding = asyncio.Lock()
        self._healthy = (0.0, False)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=256, keepalive_expiry=KEEP_ALIVE_SECONDS)
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/").removesuffix("/v1"),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout, connect=CONNECT_SECONDS),
            transport=httpx.AsyncHTTPTransport(uds=socket, limits=limits),
            trust_env=False,
        )

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()

    async def served(self) -> Served:
        """The model to ask for, looked up once. Raises ApiError where there is none, or another."""
        async with self._finding:
            if self._served is None:
                self._served = await self._find()
            return self._served

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request of /v1/completions, whole.

        Raises:
            ApiError: 502 or 504; 400 and 429 as the upstream says.
        """
        body = {**body, "model": (await self.served()).name}
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                reply = await self._client.post("/v1/completions", json=body)
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._lost(error) from None
        self._check(reply.status_code, reply.content)
        try:
            answer = reply.json()
            choices = answer["choices"]
            asked = body["n"] * (len(body["prompt"]) if isinstance(body["prompt"][0], list) else 1)
            texts = {choice["index"]: choice["text"] for choice in choices}
            if sorted(texts) != list(range(asked)) or not all(isinstance(text, str) for text in texts.values()):
                raise ValueError("other choices than were asked for")
        except (ValueError, KeyError, TypeError) as error:
            raise self._strange(error) from None
        self._metrics.upstream.observe(time.monotonic() - started)
        self._count(answer)
        return dict(answer)

    @asynccontextmanager
    async def stream(self, body: dict[str, Any]) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The events of a streamed answer; entered once the upstream has accepted the request.

        Raises:
            ApiError: as `complete`; also from the iterator, where the stream breaks off.
        """
        body = {
            **body, "model": (await self.served()).name, "stream": True, "stream_options": {"include_usage": True},
        }  # fmt: skip
        started = time.monotonic()
        request = self._client.build_request("POST", "/v1/completions", json=body)
        try:
            reply = await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise self._lost(error) from None
        try:
            if reply.status_code != 200:
                try:
                    content = await reply.aread()
                except httpx.HTTPError as error:
                    raise self._lost(error) from None
                self._check(reply.status_code, content)
            yield self._events(reply, started)
        finally:
            await reply.aclose()

    async def _events(self, reply: httpx.Response, started: float) -> AsyncIterator[dict[str, Any]]:
        try:
            async for line in reply.aiter_lines():
                if not line.startswith("data:"):
                    continue
                data = line[5:].strip()
                if data == "[DONE]":
                    self._metrics.upstream.observe(time.monotonic() - started)
                    return
                event = json.loads(data)
                if "error" in event:
                    raise self._strange(ValueError(str(event["error"])[:200]))
                event["choices"] = list(event["choices"])
                self._count(event)
                yield event
        except httpx.HTTPError as error:
            raise self._lost(error) from None
        except (ValueError, KeyError, TypeError) as error:
            raise self._strange(error) from None
        raise ApiError(502, "the upstream broke off in the middle of its answer", code="upstream_broke_off")

    async def healthy(self) -> bool:
        """Whether it answers; asked at most once a second."""
        asked, found = self._healthy
        if time.monotonic() - asked > 1:
            try:
                found = (await self._client.get("/v1/models", timeout=HEALTH_SECONDS)).status_code == 200
            except httpx.HTTPError:
                found = False
            self._healthy = (time.monotonic(), found)
        return found

    # The right model?

    async def _find(self) -> Served:
        try:
            reply = await self._client.get("/v1/models", timeout=CONNECT_SECONDS)
        except httpx.HTTPError as error:
            raise self._lost(error) from None
        self._check(reply.status_code, reply.content)
        try:
            rows = reply.json()["data"]
            known = [
                row for row in rows if any(_same(row.get(key), name) for key in ("id", "root") for name in self._names)
            ]
            row = (known or rows if len(rows) == 1 else known)[0]
            found = Served(str(row["id"]), row.get("max_model_len"))
        except IndexError:
            listed = ", ".join(str(row.get("id"))[:80] for row in rows[:8])
            raise ApiError(
                502, f"the upstream serves {listed}; have it serve the policy under the name {self._names[0]}"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._strange(error) from None
        await self._check_tokens(found.name)
        return found

    async def _check_tokens(self, name: str) -> None:
        """A server whose tokenizer cuts a text otherwise has another model, whatever it calls it."""
        body = {"model": name, "prompt": PROBE, "add_special_tokens": False}
        try:
            reply = await self._client.post("/tokenize", json=body, timeout=CONNECT_SECONDS)
            tokens = reply.json().get("tokens") if reply.status_code == 200 else self._probe  # not every server tells
        except (httpx.HTTPError, ValueError, AttributeError):
            return
        if tokens != self._probe:
            raise ApiError(
                502,
                "the upstream's tokenizer is not the policy's; another model is served there",
                code="wrong_upstream",
            )

    # What went wrong

    def _lost(self, error: BaseException) -> ApiError:
        slow = isinstance(error, httpx.TimeoutException | TimeoutError)
        if slow:
            return ApiError(504, f"the upstream did not answer within {self._timeout:g} s", code="upstream_timeout")
        if isinstance(error, httpx.ConnectError):
            return ApiError(502, "the upstream cannot be reached", code="upstream_down")
        return ApiError(502, f"the upstream broke off ({type(error).__name__})", code="upstream_broke_off")

    def _strange(self, error: BaseException) -> ApiError:
        said = " ".join(str(error).split())[:160] or type(error).__name__
        return ApiError(502, f"the upstream's answer cannot be used ({said})", code="upstream_strange")

    def _check(self, status: int, content: bytes) -> None:
        if status == 200:
            return
        said = _message(content)
        if status == 400:
            raise ApiError(400, f"the upstream refuses the request: {said}", code="upstream_refused")
        if status == 429:
            raise ApiError(429, f"the upstream has too much to do: {said}", code="rate_limit_exceeded")
        if status in (401, 403):
            raise ApiError(502, "the upstream refuses our key; set VLLM_API_KEY", code="upstream_refused_key")
        if status == 404:
            self._served = None  # it may have been started anew with another model
        raise ApiError(502, f"the upstream failed with status {status}: {said}", code="upstream_failed")

    def _count(self, answer: dict[str, Any]) -> None:
        usage = answer.get("usage") or {}
        for direction, key in (("in", "prompt_tokens"), ("out", "completion_tokens")):
            if isinstance(usage.get(key), int):
                self._metrics.tokens.labels(direction).inc(usage[key])


def _message(content: bytes) -> str:
    """The upstream's own words, shortened."""
    try:
        told = json.loads(content)
        error = told.get("error", told)
        said = str(error.get("message", "")) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        said = ""
    return " ".join(said.split())[:300] or "no message"


def _same(served: Any, name: str) -> bool:
    if not isinstance(served, str):
        return False
    if served.rstrip("/") == name.rstrip("/"):
        return True
    here, there = Path(name), Path(served)
    return here.is_dir() and there.is_dir() and here.resolve() == there.resolve()
