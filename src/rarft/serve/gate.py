"""What stands before the API: the key, the limits on time and size, and that nothing of ours shows in an error.

Everything but /health wants the key, as `Authorization: Bearer KEY`; a browser may send it as the password of HTTP's
basic authentication, which it asks for by itself. Without a key only this machine's own names are answered to, so that
no page from elsewhere can reach the server under a name of its own; and bodies have to be declared as JSON, which a
foreign page cannot do unasked.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from rarft.core.progress import logger
from rarft.serve.errors import ApiError
from rarft.serve.metrics import Metrics

MOST_BODY_BYTES, MOST_DISCARDED_BYTES, MOST_HEADER_BYTES = 8 * 2**20, 64 * 2**20, 32 * 2**10
HEADER_SECONDS, BODY_SECONDS = 15.0, 30.0
OPEN = "/health"
ENDPOINTS = frozenset({
    *("/", "/health", "/metrics", "/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/prompt"),
    *("/v1/retrieve", "/v1/traces"),
})  # fmt: skip
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Gate:
    """ASGI middleware around the whole API.

    Args:
        key: what clients have to send; None for no key.
    """

    def __init__(self, app: Any, metrics: Metrics, key: str | None) -> None:
        self.app, self.metrics, self.key = app, metrics, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        seen: dict[str, Any] = {}

        async def sending(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
            await send(message)
            seen["whole"] = message["type"] == "http.response.body" and not message.get("more_body", False)

        with self.metrics.in_flight.track_inprogress():
            try:
                self._check(scope)
                body = await _read(scope, receive)
                await self.app(scope, _again(body, receive), sending)
            except ApiError as error:
                self.metrics.errors.labels(error.code or str(error.status)).inc()
                await respond(error, sending)
            except Exception as error:
                logger.exception("rarft serve: %s %s", scope["method"], type(error).__name__)
                self.metrics.errors.labels("internal").inc()
                if "status" not in seen:
                    await respond(INTERNAL, sending)
                elif not seen["whole"]:
                    raise  # so that the connection is closed
        endpoint = scope["path"] if scope["path"] in ENDPOINTS else "other"
        self.metrics.requests.labels(endpoint, str(seen.get("status", 499))).inc()

    def _check(self, scope: Scope) -> None:
        """Raise ApiError for a request that may not come in."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADER_BYTES:
            raise ApiError(431, f"the headers are larger than {MOST_HEADER_BYTES >> 10} KiB", code="too_large")
        headers = dict(scope["headers"])
        if self.key is None:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
            if name not in LOCAL_NAMES:
                raise ApiError(421, "this server has no key, and answers to localhost only", code="wrong_host")
        elif scope["path"] != OPEN and not self._allowed(headers.get(b"authorization", b"")):
            raise ApiError(
                401,
                "the key is missing or wrong; send `Authorization: Bearer KEY`",
                code="invalid_api_key",
                headers={"www-authenticate": 'Basic realm="rarft: any name, the key as password"'},
            )
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        sends = scope["method"] == "POST" or (scope["method"] == "DELETE" and _has_body(headers))
        if sends and kind != b"application/json":
            raise ApiError(415, "send the body as Content-Type: application/json", code="unsupported_media_type")

    def _allowed(self, header: bytes) -> bool:
        scheme, _, rest = header.partition(b" ")
        given = rest.strip()
        if scheme.lower() == b"basic":
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                return False
        elif scheme.lower() != b"bearer":
            return False
        return hmac.compare_digest(given, (self.key or "").encode())


INTERNAL = ApiError(500, "internal error; the server's log says more", code="internal")
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


async def _read(scope: Scope, receive: Receive) -> bytes:
    """The body, within its limits. Raises ApiError 413 or 408.

    One that is a little too large is taken in and thrown away, so that its client, still sending, gets to see why.
    """
    too_large = ApiError(413, f"the body is larger than {MOST_BODY_BYTES >> 20} MiB", code="too_large")
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if len(length) > 18 or int(length) > MOST_DISCARDED_BYTES:
        raise too_large
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ApiError(499, "the client has gone", code="client_gone")
                piece = message.get("body", b"")
                size += len(piece)
                if size <= MOST_BODY_BYTES:
                    body += piece
                whole = not message.get("more_body", False)
                if size > MOST_DISCARDED_BYTES or (whole and size > MOST_BODY_BYTES):
                    raise too_large
                if whole:
                    return bytes(body)
    except TimeoutError:
        raise ApiError(408, f"the body did not come within {BODY_SECONDS:g} s", code="too_slow") from None


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once more, then what comes after it."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> dict[str, Any]:
        return left.pop() if left else await receive()

    return replay


async def respond(error: ApiError, send: Send) -> None:
    """Send an error; the connection of one whose body was not read is closed."""
    body = json.dumps(error.body(), ensure_ascii=False).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    if error.status in (401, 408, 413, 415, 421, 431):
        headers["connection"] = "close"
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


class Protocol(H11Protocol):
    """HTTP whose request heads have to be whole in time: a client that dribbles them is cut off."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A connection: its first head has to come."""
        super().connection_made(transport)
        self._head = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Bytes: after an answer, the first of them start the clock of the next head."""
        waiting = self.cycle is None or self.cycle.response_complete
        if waiting and self._head is None:
            self._head = self.loop.call_later(HEADER_SECONDS, self._too_slow)
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before and self._head is not None:
            self._head.cancel()
            self._head = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of a connection."""
        if self._head is not None:
            self._head.cancel()
        super().connection_lost(exc)

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
