"""One async client for any OpenAI-compatible server; judge, teacher and kinds all talk through it.

It keeps many requests in flight over one connection pool, waits as `Retry-After` says or else with exponential
backoff and jitter, and counts calls and cost before it spends them. What cannot get better by waiting (a wrong key,
an unknown model, no server) is an InputError within seconds. The key is read from the environment and taken out of
every text that leaves this file. Left out: streaming, tools, images. Keeping the answers is `rarft.llm.answers`.

Connections, timeouts and error bodies are the openai client's. Written here is what it lacks
(`benchmarks/http_client.py`):
- Its retries end after a number of tries: with 6 of them an outage of 40 s cost it 65 of 300 answers. Here tries are
  used up only while other requests succeed, which no library knows that sees one request alone, such as tenacity.
- It holds back the request that was refused, not those beside it: 703 requests for 300 answers at a rate limit, where
  467 are sent here. And what it sends again no limit of calls or cost can see.
- httpx's transport repeats failed connections alone.
- `chat.completions.create` takes 1.6 times the processor time of `post` (2.7 and 1.7 ms on a busy core), whose text is
  read here with care.
"""

import asyncio
import json
import math
import os
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from rarft.core.config import Config, Count, NotInResult, Size
from rarft.core.errors import InputError, StageError
from rarft.core.progress import log

RETRIED = frozenset({404, 408, 409, 425, 429})
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
REFUSED_FOR, LIMITED_FOR = 20.0, 600.0
LONGEST_RETRY_AFTER = 600.0
MOST_TOKENS = 10**9
MOST_CHARACTERS = 500_000
ADAPTED = {
    "max_tokens": ("max_completion_tokens",),
    "temperature": ("temperature",),
    "seed": ("seed",),
    "response_format": ("response_format", "schema", "guided", "grammar", ""),
}
"""What to leave out when a server refuses a request with these words; "" while it has never answered."""
Message = dict[str, str]


class ServerConfig(Config):
    base_url: Annotated[str | None, NotInResult] = None
    """Root of an OpenAI-compatible API, such as http://localhost:8000/v1."""
    model: str = ""
    """Name of the model, as the server knows it. Its answers are kept in ~/.cache/rarft/answers ($RARFT_CACHE moves
    it) and reused whenever the same question comes again; delete its file there when the name means another model."""
    api_key_env: Annotated[str, NotInResult] = "OPENAI_API_KEY"
    """Environment variable that holds the key; the key itself is never written anywhere."""
    temperature: float = Field(0.0, ge=0, le=2)
    """Sampling temperature."""
    max_tokens: Count = 512
    """Most tokens of one answer."""
    structured: Literal["auto", "off"] = "auto"
    """auto: ask for JSON of a given schema, and without where the server refuses that."""
    asks: int = Field(3, ge=1, le=20)
    """Times in all that an answer is asked for while it cannot be used."""
    concurrency: Annotated[int, NotInResult] = Field(64, ge=1, le=1000)
    """Requests in flight."""
    timeout: Annotated[float, NotInResult] = Field(60.0, gt=0, le=86_400)
    """Seconds until a request is given up and tried again."""
    retries: Annotated[Size, NotInResult] = 6
    """Tries after the first when a request fails (5xx, timeout, cut connection) while others succeed. Rate limits and
    failures of the whole server don't use them up."""
    max_calls: Annotated[Size | None, NotInResult] = None
    """Most requests in all, interrupted runs included; the stage then stops and can be resumed with a higher limit."""
    max_cost: Annotated[float | None, NotInResult] = Field(None, ge=0)
    """Most dollars in all, at the prices below, which have to be given; stops like max-calls."""
    price_in: Annotated[float, NotInResult] = Field(0.0, ge=0)
    """Dollars per million prompt tokens."""
    price_out: Annotated[float, NotInResult] = Field(0.0, ge=0)
    """Dollars per million answer tokens."""

    @field_validator("base_url")
    @classmethod
    def _is_a_url_without_a_secret(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if "@" in value or "?" in value:  # said without the value, which may be a secret
            raise InputError("base-url must not hold a key or password; put the key into the variable of api-key-env")
        try:
            parts = urlsplit(value)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            good = False
        if not good or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("this is no URL; it looks like http://localhost:8000/v1")
        return value

    @field_validator("api_key_env")
    @classmethod
    def _is_a_variable(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):  # said without the value, which may be the key
            raise InputError(
                "api-key-env takes the name of an environment variable, such as OPENAI_API_KEY; export the key there"
            )
        return value

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Dollars for that many tokens."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6


class LimitReached(InputError):
    """max-calls or max-cost stops the work; what was answered is kept."""


class Unanswered(Exception):
    """This one request got no answer, after every retry; the text says why."""


@dataclass(frozen=True)
class Reply:
    """One answer of the server."""

    text: str
    """Well-formed Unicode without NUL, at most MOST_CHARACTERS of it."""
    cut: bool = False
    """Whether max-tokens cut it short."""


class ChatClient:
    """Sends chat requests: `async with ChatClient(config) as client: reply = await client.chat(messages)`.

    Attributes:
        calls: requests sent, failed ones included.
        tokens_in, tokens_out: as the server counted them, or characters / 4 where it doesn't say.

    Raises:
        InputError: see check_server.
    """

    def __init__(self, config: ServerConfig, name: str = "judge") -> None:
        self.config, self.name = config, name
        check_server(config, name)
        self.calls = self.tokens_in = self.tokens_out = 0
        self._key = os.environ.get(config.api_key_env, "").strip()
        self._dropped: set[str] = set()
        self._reserved = 0.0
        self._tokens_per_character = 0.25
        self._resume_at = 0.0
        self._last_success: float | None = None
        self._failing_since: float | None = None
        self._random = random.Random()

    async def __aenter__(self) -> Self:
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

    @property
    def answered(self) -> bool:
        """Whether the server has answered anything yet."""
        return self._last_success is not None

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
            StageError: the server has stopped answering.
            Unanswered: this request failed to the end, while the server answers others.
        """
        attempt, failed_before = 0, math.inf
        while True:
            await self._wait_until_allowed()
            result = await self._try(messages, schema, seed)
            if isinstance(result, Reply):
                return result
            if result.adapted:
                continue
            others_succeed = self._last_success is not None and self._last_success > failed_before
            failed_before = time.monotonic()
            if attempt >= self.config.retries and others_succeed and result.kind != "limited":
                raise Unanswered(result.text)
            hopeless = result.refusal if result.refusal and not self.answered else self._hopeless(result, attempt)
            if hopeless and not await self._works():
                raise hopeless
            if result.refusal:
                raise Unanswered(result.text)
            await asyncio.sleep(self._delay(result, attempt))
            attempt += 1

    async def _works(self) -> bool:
        """Whether the server answers a question that nothing can be wrong with."""
        while True:
            result = await self._try([{"role": "user", "content": "Say yes."}], None, None)
            if isinstance(result, Reply) or not result.adapted:
                return isinstance(result, Reply)

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
        arguments = self._arguments(messages, schema, seed)
        try:
            async with asyncio.timeout(self.config.timeout):
                body = await self._openai.post("/chat/completions", body=arguments, cast_to=str)
            result = self._read(body, characters)
        except openai.APIStatusError as error:
            result = self._classify(error, arguments)
        except (openai.APITimeoutError, TimeoutError):
            result = Failure("timeout", f"no answer within {self.config.timeout:g} s")
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            kind = "refused" if type(cause).__name__ == "ConnectError" else "cut"
            result = Failure(kind, self.clean(f"connection failed: {cause}"))
        finally:
            self._reserved -= worst
        if isinstance(result, Reply):
            self._last_success, self._failing_since = time.monotonic(), None
        elif self._failing_since is None:
            self._failing_since = time.monotonic()
        return result

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
            choice, usage = values["choices"][0], values.get("usage")
            text = choice["message"]["content"] or ""
            if not isinstance(text, str):
                raise TypeError(f"content is a {type(text).__name__}")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
            return Failure("garbled", f"not a chat completion ({error}): {self.clean(body)[:200]}")
        text = self.clean(text)
        cut = choice.get("finish_reason") == "length" or len(text) > MOST_CHARACTERS
        counts = usage if isinstance(usage, dict) else {}
        tokens_in = _count(counts.get("prompt_tokens"), characters // 4)
        self.tokens_in += tokens_in
        self.tokens_out += _count(counts.get("completion_tokens"), math.ceil(len(text) / 4))
        self._tokens_per_character = max(self._tokens_per_character, tokens_in / max(characters, 1))
        return Reply(text[:MOST_CHARACTERS], cut)

    def _classify(self, error: Any, sent: dict[str, Any]) -> "Failure":
        """What a status other than 200 means.

        Raises:
            InputError: wrong key, unknown model, nothing left to pay with.
        """
        status, message = error.status_code, self._message(error)
        fatal = self._fatal(status, message)
        if status in (401, 402) or "insufficient_quota" in message or (status == 404 and not self.answered):
            raise fatal
        if status in (400, 422):
            for name, hints in ADAPTED.items():
                if name in sent and any(hint in message for hint in hints if hint or not self.answered):
                    self._dropped.add(name)
                    return Failure("status", message, adapted=True)
        text = f"HTTP {status}: {message}"
        if status >= 500 or status in RETRIED:
            kind = "limited" if status == 429 else "status"
            return Failure(kind, text, retry_after=retry_after(error.response.headers))
        return Failure("status", text, refusal=fatal)

    def _hopeless(self, failure: "Failure", attempt: int) -> InputError | StageError | None:
        """What to say when waiting won't help: nothing ever answered, or nothing has for too long."""
        most = {"refused": 2, "timeout": 1, "cut": 3, "garbled": 3}.get(failure.kind, 4)
        if not self.answered and failure.retry_after is None and attempt >= most:
            return self._unreachable(failure.text)
        patience = 2 * self.config.timeout + REFUSED_FOR
        patience = {"refused": REFUSED_FOR, "limited": LIMITED_FOR}.get(failure.kind, patience)
        silent = time.monotonic() - (self._failing_since or math.inf)
        if silent <= patience + (failure.retry_after or 0):
            return None
        return StageError(
            f"the {self.name}'s server at {self.config.base_url} has not answered for {silent:.0f} s "
            f"({failure.text}); every answer so far is kept: bring it back and run the same command again"
        )

    def _delay(self, failure: "Failure", attempt: int) -> float:
        """Seconds to wait before the next try; `Retry-After` holds back every request, not this one alone."""
        if failure.retry_after is not None:
            if failure.retry_after >= 30 and time.monotonic() > self._resume_at:
                log(f"{self.name}: waiting {failure.retry_after:.0f} s, as the server asks (10 minutes at most)")
            self._resume_at = max(self._resume_at, time.monotonic() + failure.retry_after)
            return failure.retry_after + self._random.uniform(0, 0.1 * failure.retry_after + 0.05)
        return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(attempt, 10)) * self._random.uniform(0.5, 1.0)

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

    def _unreachable(self, reason: str) -> InputError:
        c = self.config
        return InputError(
            f"{self.name}: no answer from {c.base_url} for model {c.model!r} ({reason}); "
            f"is the server up, and are --{self.name}.base-url and --{self.name}.model right?"
        )

    def _message(self, error: Any) -> str:
        body = error.body if isinstance(error.body, dict) else {}
        text = str(body.get("message") or body.get("detail") or error.body or error.message)
        code = body.get("code")
        text = f"{text} [{code}]" if code and str(code) not in text else text
        return " ".join(self.clean(text).split())[:300]

    def clean(self, text: str) -> str:
        """`text` as any file can hold it, without NUL and halves of surrogate pairs; and without the key."""
        text = text.replace("\0", "").encode(errors="replace").decode()
        return text.replace(self._key, "***") if len(self._key) > 3 else text


@dataclass(frozen=True)
class Failure:
    """Why one try gave no answer."""

    kind: str
    text: str
    retry_after: float | None = None
    adapted: bool = False
    """The request was changed to what the server takes, and can go out again at once."""
    refusal: InputError | None = None
    """The server refuses this request for what it says, and sending it again won't help; the error that it is if the
    server refuses every request."""


def check_server(config: ServerConfig, name: str) -> None:
    """Check what can be checked without a request.

    Raises:
        InputError: no base_url or model, max_cost without prices, or no key where one is needed or named.
    """
    if not config.base_url or not config.model:
        missing = "base-url" if not config.base_url else "model"
        raise InputError(f"--{name}.{missing} is missing; give the server's URL and the model's name")
    if config.max_cost is not None and not (config.price_in and config.price_out):
        raise InputError(
            f"--{name}.max-cost needs --{name}.price-in and --{name}.price-out to know what a request costs"
        )
    key, variable = os.environ.get(config.api_key_env, "").strip(), config.api_key_env
    if not key and variable != ServerConfig.model_fields["api_key_env"].default:  # not shown: it may be the key itself
        raise InputError(
            f"--{name}.api-key-env names a variable that is empty; export the key, or leave the option out"
        )
    if not key and "//api.openai.com" in config.base_url:
        raise InputError(f"${variable} is empty; put the key for {config.base_url} there")
    if not key.isascii() or not key.isprintable():
        raise InputError(f"${variable} holds characters that no key has; export the key again")
    if len(key) > 3 and (key in config.base_url or key in config.model):
        raise InputError(f"--{name}.base-url or --{name}.model holds the key; it belongs into ${variable} alone")


def retry_after(headers: Any) -> float | None:
    """Seconds to wait as a response's `Retry-After` (or `retry-after-ms`) asks, 10 minutes at most; None where it
    doesn't say."""
    milliseconds, value = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        seconds = float(milliseconds) / 1000 if milliseconds else float(value or "nan")
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(0.0, seconds), LONGEST_RETRY_AFTER)


def _count(value: Any, default: int) -> int:
    """A number of tokens as a server gives it, or what it is taken to be where that can't be one."""
    return int(value) if isinstance(value, int | float) and 0 < value < MOST_TOKENS else default
