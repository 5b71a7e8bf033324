"""One async client for any OpenAI-compatible server; judge, teacher and kinds all talk through it.

It keeps many requests in flight over one connection pool, waits as `Retry-After` says or else with exponential
backoff and jitter, and counts calls and cost before it spends them. What cannot get better by waiting (a wrong key,
an unknown model, no server) is an InputError within seconds. The key is read from the environment and taken out of
every text that leaves this file. Left out: streaming, tools, images. Resuming is `rarft.llm.answers`.
"""

import asyncio
import json
import math
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from rarft.core.config import Config
from rarft.core.errors import InputError
from rarft.core.progress import log

RETRIED = frozenset({408, 409, 425, 429})
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
REFUSED_FOR, LIMITED_FOR = 20.0, 600.0
Message = dict[str, str]


class ServerConfig(Config):
    base_url: str | None = None
    """Root of an OpenAI-compatible API, such as http://localhost:8000/v1."""
    model: str = ""
    """Name of the model, as the server knows it."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; the key itself is never written anywhere."""
    temperature: float = 0.0
    """Sampling temperature."""
    max_tokens: int = 512
    """Most tokens of one answer."""
    structured: Literal["auto", "off"] = "auto"
    """auto: ask for JSON of a given schema, and without where the server refuses that."""
    asks: int = 3
    """Times in all that an answer is asked for while it cannot be used."""
    concurrency: int = 64
    """Requests in flight."""
    timeout: float = 60.0
    """Seconds until a request is given up and tried again."""
    retries: int = 6
    """Tries after the first when a request fails (5xx, timeout, cut connection) while others succeed. Rate limits and
    failures of the whole server don't use them up."""
    max_calls: int | None = None
    """Most requests in all, interrupted runs included; the stage then stops and can be resumed with a higher limit."""
    max_cost: float | None = None
    """Most dollars in all, at the prices below; stops like max-calls."""
    price_in: float = 0.0
    """Dollars per million prompt tokens."""
    price_out: float = 0.0
    """Dollars per million answer tokens."""

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Dollars for that many tokens."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6


SERVER_FIELDS_NOT_IN_FINGERPRINT = (
    *("base_url", "api_key_env", "concurrency", "timeout", "retries"),
    *("max_calls", "max_cost", "price_in", "price_out"),
)


class LimitReached(InputError):
    """max-calls or max-cost stops the work; what was answered is kept."""


class Unanswered(Exception):
    """This one request got no answer, after every retry; the text says why."""

    calls = 0
    """Requests sent for it."""


@dataclass(frozen=True)
class Reply:
    """One answer of the server."""

    text: str
    tokens_in: int
    tokens_out: int
    calls: int = 1
    """Requests it took, the failed ones included."""


class ChatClient:
    """Sends chat requests: `async with ChatClient(config) as client: reply = await client.chat(messages)`.

    Attributes:
        calls: requests sent, failed ones included.
        tokens_in, tokens_out: as the server counted them, or characters / 4 where it doesn't say.

    Raises:
        InputError: no base_url or model, a key inside the URL, or no key for api.openai.com.
    """

    def __init__(self, config: ServerConfig, name: str = "judge") -> None:
        self.config, self.name = config, name
        check_server(config, name)
        self.calls = self.tokens_in = self.tokens_out = 0
        self._key = os.environ.get(config.api_key_env, "").strip()
        self._dropped: set[str] = set() if config.structured == "auto" else {"response_format"}
        self._reserved = 0.0
        self._tokens_per_character = 0.25
        self._resume_at = 0.0
        self._last_success: float | None = None
        self._random = random.Random()

    async def __aenter__(self) -> "ChatClient":
        import openai

        self._openai = openai.AsyncOpenAI(  # its one connection pool takes 1000 connections
            base_url=self.config.base_url,
            api_key=self._key or "none",
            max_retries=0,
            timeout=self.config.timeout,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._openai.close()

    async def check(self) -> None:
        """Ask for the list of models, which costs nothing, to learn early that the server or the key is wrong.

        Raises:
            InputError: nothing listens there, or the key is refused.
        """
        import openai

        for attempt in range(3):
            try:
                await self._openai.with_options(timeout=10.0).models.list()
            except openai.APIStatusError as error:
                if error.status_code in (401, 403):
                    raise self._fatal(error.status_code, self._message(error)) from None
            except openai.APITimeoutError:
                return
            except openai.APIConnectionError as error:
                if attempt == 2:
                    raise self._unreachable(error) from None
                await asyncio.sleep(0.5)
                continue
            except Exception:
                return  # no list, or not one that the library understands: the first question will tell
            return

    @property
    def cost(self) -> float:
        """Dollars spent so far."""
        return self.config.cost(self.tokens_in, self.tokens_out)

    async def chat(
        self, messages: Sequence[Message], *, schema: dict[str, Any] | None = None, seed: int | None = None
    ) -> Reply:
        """Send one chat request, trying again where that can help.

        Args:
            messages: `{"role": ..., "content": ...}`.
            schema: JSON schema of the answer; dropped where the server refuses it.
            seed: sampling seed, for servers that have one.

        Raises:
            LimitReached: sending it could exceed max-calls or max-cost.
            InputError: wrong key, unknown model, no server: what no retry mends.
            Unanswered: this request failed to the end.
        """
        attempt = calls = 0
        failed_before = math.inf
        while True:
            await self._wait_until_allowed()
            calls += 1
            result = await self._try(messages, schema, seed)
            if isinstance(result, Reply):
                return replace(result, calls=calls)
            if result.adapted:
                continue
            self._give_up_if_hopeless(result, attempt)
            others_succeed = self._last_success is not None and self._last_success > failed_before
            failed_before = time.monotonic()
            if result.final or (attempt >= self.config.retries and others_succeed and result.kind != "limited"):
                unanswered = Unanswered(result.text)
                unanswered.calls = calls
                raise unanswered
            await asyncio.sleep(self._delay(result, attempt))
            attempt += 1

    async def _try(
        self, messages: Sequence[Message], schema: dict[str, Any] | None, seed: int | None
    ) -> "Reply | Failure":
        """Send it once."""
        import openai

        characters = sum(len(m["content"]) for m in messages)
        worst = self.config.cost(math.ceil(characters * self._tokens_per_character), self.config.max_tokens)
        self._check_limits(worst)
        self.calls += 1
        self._reserved += worst
        try:
            async with asyncio.timeout(self.config.timeout):
                # not chat.completions.create: checking and copying the arguments there costs a fifth of the throughput
                body = await self._openai.post(
                    "/chat/completions", body=self._arguments(messages, schema, seed), cast_to=str
                )
            return self._read(body, characters)
        except openai.APIStatusError as error:
            return self._classify(error)
        except (openai.APITimeoutError, TimeoutError):
            return Failure("timeout", f"no answer within {self.config.timeout:g} s")
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            kind = "refused" if type(cause).__name__ == "ConnectError" else "cut"
            return Failure(kind, self.redact(f"connection failed: {cause}"))
        finally:
            self._reserved -= worst

    def _arguments(
        self, messages: Sequence[Message], schema: dict[str, Any] | None, seed: int | None
    ) -> dict[str, Any]:
        arguments: dict[str, Any] = {"model": self.config.model, "messages": list(messages)}
        arguments["max_tokens"] = self.config.max_tokens
        arguments["temperature"] = self.config.temperature
        if schema is not None:
            arguments["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True},
            }
        if seed is not None:
            arguments["seed"] = seed
        for name in self._dropped:
            value = arguments.pop(name, None)
            if name == "max_tokens":
                arguments["max_completion_tokens"] = value
        return arguments

    def _read(self, body: str, characters: int) -> "Reply | Failure":
        """The answer in a 200 response; an envelope that is not what the protocol says is a failure worth a retry."""
        try:
            values = json.loads(body)
            text = values["choices"][0]["message"]["content"] or ""
            usage = values.get("usage") or {}
            tokens_in = int(usage.get("prompt_tokens") or characters // 4)
            tokens_out = int(usage.get("completion_tokens") or math.ceil(len(text) / 4))
            if not isinstance(text, str):
                raise TypeError(f"content is a {type(text).__name__}")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            return Failure("garbled", self.redact(f"not a chat completion ({error}): {body[:200]}"))
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        self._tokens_per_character = max(self._tokens_per_character, tokens_in / max(characters, 1))
        self._last_success = time.monotonic()
        return Reply(self.redact(text), tokens_in, tokens_out)

    def _classify(self, error: Any) -> "Failure":
        """What a status other than 200 means.

        Raises:
            InputError: wrong key, unknown model, nothing left to pay with, a request that the server never takes.
        """
        status, message = error.status_code, self._message(error)
        if status in (401, 402, 403) or "insufficient_quota" in message:
            raise self._fatal(status, message)
        if status == 404 and self._last_success is None:
            raise self._fatal(status, message)
        if status in (400, 422):
            for name, hints in (
                ("max_tokens", ("max_completion_tokens",)),
                ("temperature", ("temperature",)),
                ("seed", ("seed",)),
                ("response_format", ("",)),
            ):
                if name not in self._dropped and any(hint in message for hint in hints):
                    self._dropped.add(name)
                    return Failure("status", message, adapted=True)
            if self._last_success is None:
                raise self._fatal(status, message)
            return Failure("status", f"HTTP {status}: {message}", final=True)
        if status not in RETRIED and status < 500 and status != 404:
            raise self._fatal(status, message)
        kind = "limited" if status == 429 else "status"
        return Failure(kind, f"HTTP {status}: {message}", retry_after=retry_after(error.response.headers))

    def _give_up_if_hopeless(self, failure: "Failure", attempt: int) -> None:
        """Raise InputError when waiting won't help: nothing ever answered, or nothing has for too long."""
        if self._last_success is None:
            most = {"refused": 2, "timeout": 1, "cut": 3, "garbled": 3}.get(failure.kind, 4)
            if failure.retry_after is None and attempt >= most:
                raise self._unreachable(failure.text)
            return
        silent = time.monotonic() - self._last_success
        patience = 2 * self.config.timeout + REFUSED_FOR
        patience = {"refused": REFUSED_FOR, "limited": LIMITED_FOR}.get(failure.kind, patience)
        if silent > patience + (failure.retry_after or 0):
            raise InputError(
                f"the {self.name}'s server at {self.config.base_url} has not answered for {silent:.0f} s "
                f"({failure.text}); every answer so far is kept: bring it back and run the same command again"
            )

    def _delay(self, failure: "Failure", attempt: int) -> float:
        """Seconds to wait before the next try; `Retry-After` holds back every request, not this one alone."""
        if failure.retry_after is not None:
            if failure.retry_after >= 30 and time.monotonic() > self._resume_at:
                log(f"{self.name}: the server asks to wait {failure.retry_after:.0f} s")
            self._resume_at = max(self._resume_at, time.monotonic() + failure.retry_after)
            return failure.retry_after + self._random.uniform(0, 0.1 * failure.retry_after + 0.05)
        return min(LONGEST_DELAY, FIRST_DELAY * 2.0**attempt) * self._random.uniform(0.5, 1.0)

    async def _wait_until_allowed(self) -> None:
        while (left := self._resume_at - time.monotonic()) > 0:
            await asyncio.sleep(left * self._random.uniform(1.0, 1.05))

    def _check_limits(self, worst: float) -> None:
        c = self.config
        if c.max_calls is not None and self.calls >= c.max_calls:
            raise LimitReached(f"stopped at --{self.name}.max-calls {c.max_calls}")
        if c.max_cost is not None and self.cost + self._reserved + worst > c.max_cost:
            raise LimitReached(
                f"stopped at ${self.cost:.4f}: one more request could exceed --{self.name}.max-cost {c.max_cost:g}"
            )

    def _fatal(self, status: int, message: str) -> InputError:
        c = self.config
        if status in (401, 403):
            state = (
                f"the key in ${c.api_key_env}" if self._key else f"a request without a key (${c.api_key_env} is empty)"
            )
            remedy = f"{c.base_url} refuses {state}; check the key"
        elif status == 402 or "insufficient_quota" in message:
            remedy = f"{c.base_url} wants payment; check the account's quota"
        elif status == 404:
            remedy = (
                f"{c.base_url} knows no model {c.model!r}, or the URL is wrong; check --{self.name}.model and base-url"
            )
        else:
            remedy = f"{c.base_url} refuses the request; check --{self.name}.model and the server's log"
        return InputError(f"{self.name}: {remedy} (HTTP {status}: {message})")

    def _unreachable(self, reason: object) -> InputError:
        c = self.config
        text = self.redact(f"{reason}")
        return InputError(
            f"{self.name}: no answer from {c.base_url} for model {c.model!r} ({text}); "
            f"is the server up, and are --{self.name}.base-url and --{self.name}.model right?"
        )

    def _message(self, error: Any) -> str:
        body = error.body if isinstance(error.body, dict) else {}
        text = str(body.get("message") or body.get("detail") or error.body or error.message)
        code = body.get("code")
        text = f"{text} [{code}]" if code and str(code) not in text else text
        return self.redact(" ".join(text.split())[:300])

    def redact(self, text: str) -> str:
        """`text` without the key."""
        return text.replace(self._key, "***") if len(self._key) > 3 else text


@dataclass(frozen=True)
class Failure:
    """Why one try gave no answer."""

    kind: str
    text: str
    retry_after: float | None = None
    adapted: bool = False
    """The request was changed to what the server takes, and can go out again at once."""
    final: bool = False
    """The server refuses this request for what it says; sending it again won't help."""


def check_server(config: ServerConfig, name: str) -> None:
    """Check what can be checked without a request.

    Raises:
        InputError: no base_url or model, a key inside the URL, or no key for api.openai.com.
    """
    if not config.base_url or not config.model:
        missing = "base-url" if not config.base_url else "model"
        raise InputError(f"--{name}.{missing} is missing; give the server's URL and the model's name")
    if not config.base_url.startswith(("http://", "https://")):
        raise InputError(f"--{name}.base-url {config.base_url!r} is no URL; it looks like http://localhost:8000/v1")
    if "@" in config.base_url or "?" in config.base_url:
        raise InputError(f"--{name}.base-url must not hold a key or password; put the key into ${config.api_key_env}")
    if "//api.openai.com" in config.base_url and not os.environ.get(config.api_key_env):
        raise InputError(f"${config.api_key_env} is empty; put the key for {config.base_url} there")
    if config.concurrency < 1 or config.asks < 1:
        raise InputError(f"--{name}.concurrency and --{name}.asks must be 1 or more")


def retry_after(headers: Any) -> float | None:
    """Seconds that a response's `Retry-After` (or `retry-after-ms`) asks to wait; None where it doesn't say."""
    milliseconds, value = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds:
            return max(0.0, float(milliseconds) / 1000)
        if value:
            return max(0.0, float(value))
    except ValueError:
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except (TypeError, ValueError):
            return None
    return None
