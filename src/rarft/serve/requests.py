"""What a request may say: bodies as typed models, and errors that name the field.

What the API knows and we don't do is refused by name, unless its value is the one that asks for nothing. Text with a
NUL character or half a surrogate pair, numbers that are no numbers, and JSON nested without end are refused too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rarft.core.config import shown
from rarft.serve.errors import ApiError, bad_request

MOST_DEPTH = 32
MOST_CHOICES, MOST_TRACES, MOST_QUERIES = 64, 64, 256
LONGEST_ID, LONGEST_TEXT = 256, 200_000

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "functions": ([],),
    "function_call": ("none",),
    "logit_bias": ({},),
    "metadata": ({},),
    "modalities": (["text"],),
    "parallel_tool_calls": (),
    "presence_penalty": (0,),
    "prediction": (),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
    "tool_choice": ("none",),
    "tools": ([],),
    "verbosity": (),
    "web_search_options": (),
}
"""Fields of the API that we don't do, with the values that ask for nothing; null always asks for nothing."""


class Body(BaseModel):
    """Base of all bodies: exact types, unknown fields refused, NaN and infinities too."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


class RarftOptions(Body):
    """The field `rarft` of a request: what its context is made of."""

    top_k: int | None = Field(None, ge=1, le=MOST_TRACES)
    min_score: float | None = None
    trace_ids: list[str] | None = Field(None, min_length=1, max_length=MOST_TRACES)
    retrieve: bool = True
    vote: int | None = Field(None, ge=2, le=MOST_TRACES)

    @model_validator(mode="after")
    def _together(self) -> RarftOptions:
        if not self.retrieve and (self.top_k or self.trace_ids or self.vote or self.min_score is not None):
            raise ValueError("retrieve is false, so there is no context to choose; leave the other options out")
        if self.trace_ids and (self.top_k or self.min_score is not None or self.vote):
            raise ValueError("trace_ids names the context, so top_k, min_score and vote have nothing to choose")
        if self.vote and self.top_k:
            raise ValueError("vote says over how many contexts, each with one trace; leave top_k out")
        return self


class StreamOptions(Body):
    """The field `stream_options`."""

    include_usage: bool = False


class Sampled(Body):
    """What chat and completions share."""

    model: str
    n: int = Field(1, ge=1, le=MOST_CHOICES)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=2**31)
    stop: list[str] = Field([], max_length=16)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    """Whom the client asks for; changes nothing."""
    rarft: RarftOptions = RarftOptions()

    @field_validator("stop", mode="before")
    @classmethod
    def _stop(cls, value: Any) -> Any:
        found = [] if value is None else [value] if isinstance(value, str) else value
        if isinstance(found, list) and "" in found:
            raise ValueError("an empty string stops at once")
        return found

    @field_validator("n", "temperature", "top_p", "stream", "rarft", mode="before")
    @classmethod
    def _null_is_default(cls, value: Any, info: Any) -> Any:
        return cls.model_fields[info.field_name].get_default() if value is None else value

    @property
    def top_logprobs_asked(self) -> int | None:
        """How many alternatives a token's log-prob comes with; None for no log-probs."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise ApiError for fields that exclude each other."""
        if self.stream_options is not None and not self.stream:
            raise bad_request("stream_options is for stream=true only", "stream_options")
        if self.rarft.vote and (self.stream or self.n > 1):
            raise bad_request("rarft.vote answers once it has counted; it takes neither stream nor n", "rarft.vote")


class Message(Body):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str

    @model_validator(mode="before")
    @classmethod
    def _of_an_answer(cls, value: Any) -> Any:
        """An answer of ours may come back as a turn: without its context, and without what is null in it."""
        if not isinstance(value, dict):
            return value
        return {k: v for k, v in value.items() if k in cls.model_fields or (v is not None and k != "context")}

    @field_validator("content", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        for part in value:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind != "text" or not isinstance(part.get("text"), str):
                raise ValueError(f"only parts of type text are supported, not {shown(kind)}")
        return "".join(part["text"] for part in value)


class ChatRequest(Sampled):
    """POST /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1, max_length=1024)
    max_completion_tokens: int | None = Field(None, ge=1, le=2**31)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)

    @property
    def top_logprobs_asked(self) -> int | None:
        """As `Sampled.top_logprobs_asked`."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def check(self) -> None:
        """As `Sampled.check`."""
        super().check()
        if self.top_logprobs is not None and not self.logprobs:
            raise bad_request("top_logprobs needs logprobs=true", "top_logprobs")
        both = self.max_tokens, self.max_completion_tokens
        if None not in both and both[0] != both[1]:
            raise bad_request("max_tokens and max_completion_tokens differ; give one", "max_tokens")
        roles = [message.role for message in self.messages]
        if roles[-1] != "user":
            raise bad_request(f"the last message is the problem; its role is {roles[-1]}, not user", "messages")
        if any(role in ("system", "developer") for role in roles[1:]):
            raise bad_request("a system message may only come first", "messages")


class CompletionRequest(Sampled):
    """POST /v1/completions."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: int | None = Field(None, ge=0, le=20)

    @property
    def top_logprobs_asked(self) -> int | None:
        """As `Sampled.top_logprobs_asked`."""
        return self.logprobs

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """The prompts, one or several, as texts or as token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt  # type: ignore[return-value]

    def check(self) -> None:
        """As `Sampled.check`."""
        super().check()
        if not self.prompts or any(isinstance(prompt, list) and not prompt for prompt in self.prompts):
            raise bad_request("prompt is empty", "prompt")
        if len(self.prompts) * self.n > MOST_CHOICES:
            raise bad_request(f"prompts times n is above {MOST_CHOICES}; send several requests", "prompt")
        if self.rarft.vote and len(self.prompts) > 1:
            raise bad_request("rarft.vote takes one prompt", "rarft.vote")


class PromptRequest(Body):
    """POST /v1/prompt."""

    model: str
    messages: list[Message] = Field(min_length=1, max_length=1024)
    rarft: RarftOptions = RarftOptions()


class RetrieveRequest(Body):
    """POST /v1/retrieve."""

    queries: list[str] = Field(min_length=1, max_length=MOST_QUERIES)
    top_k: int = Field(5, ge=1, le=MOST_TRACES)
    min_score: float | None = None
    retriever: Literal["trained", "untuned"] = "trained"


class NewTrace(Body):
    """A worked example to be added."""

    id: str | None = Field(None, min_length=1, max_length=LONGEST_ID)
    problem: str = Field(min_length=1, max_length=LONGEST_TEXT)
    solution: str = Field(min_length=1, max_length=LONGEST_TEXT)
    answer: str | None = Field(None, max_length=LONGEST_TEXT)
    kind: str | None = Field(None, max_length=LONGEST_ID)
    source: str | None = Field(None, max_length=LONGEST_ID)

    @field_validator("problem", "solution")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("holds no text")
        return value


class AddTracesRequest(Body):
    """POST /v1/traces."""

    traces: list[NewTrace] = Field(min_length=1, max_length=MOST_QUERIES)

    @field_validator("traces")
    @classmethod
    def _ids_once(cls, value: list[NewTrace]) -> list[NewTrace]:
        ids = [trace.id for trace in value if trace.id is not None]
        if len(set(ids)) < len(ids):
            raise ValueError("an id stands twice")
        return value


class RemoveTracesRequest(Body):
    """DELETE /v1/traces."""

    ids: list[str] = Field(min_length=1, max_length=MOST_QUERIES)


B = TypeVar("B", bound=Body)


def parse(kind: type[B], raw: bytes) -> B:
    """The body of a request.

    Raises:
        ApiError: 400, naming the field and what is wrong with it.
    """
    values = parse_json(raw)
    if not isinstance(values, dict):
        raise bad_request("the body is not a JSON object")
    values = {name: value for name, value in values.items() if not _asks_for_nothing(kind, name, value)}
    try:
        found = kind.model_validate(values)
    except ValidationError as error:
        raise _explained(kind, error) from None
    if isinstance(found, Sampled):
        found.check()
    return found


def _asks_for_nothing(kind: type[Body], name: str, value: Any) -> bool:
    if name in kind.model_fields:
        return False
    return name in NEUTRAL and (value is None or value in NEUTRAL[name])


def _explained(kind: type[Body], error: ValidationError) -> ApiError:
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return bad_request(f"`{_short(name)}` is not supported; leave it out", _short(name), "unsupported_parameter")
    if first["type"] == "missing":
        return bad_request(f"`{name}` is missing", name, "missing_parameter")
    said = str(first["msg"]).removeprefix("Value error, ")
    got = "" if first["type"] == "value_error" else f", got {shown(first['input'])}"
    return bad_request(f"`{name}`: {said}{got}" if name else said, name or None, "invalid_value")


def _short(name: str) -> str:
    text = name if name.isprintable() else ascii(name)
    return text if len(text) <= 60 else f"{text[:57]}..."


def parse_json(raw: bytes) -> Any:
    """JSON that is safe to hand on. Raises ApiError for anything else."""
    try:
        values = json.loads(raw.decode("utf-8"), parse_constant=_no_number)
        _check(values)
    except RecursionError:
        raise bad_request("the body is nested too deeply") from None
    except ValueError as error:
        raise bad_request(f"the body is not valid JSON ({' '.join(str(error).split())[:120]})") from None
    return values


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _check(value: Any, depth: int = 0) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a text holds a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("a text holds half a surrogate pair") from None
    elif isinstance(value, list | dict):
        if depth == MOST_DEPTH:
            raise ValueError("nested too deeply")
        for item in value:
            _check(item, depth + 1)
        if isinstance(value, Mapping):
            for item in value.values():
                _check(item, depth + 1)
