"""The API: OpenAI's chat and completions with retrieval in front, and what goes with it.

Reads top to bottom: `Service` answers one request at a time from retrieval, prompter and upstream; `make_app` gives it
its addresses. Left out: keys and limits (`gate.py`), the shapes of answers (`shapes.py`), starting it (`command.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from rarft.core.errors import StageError
from rarft.evaluation.metrics import normal_answer
from rarft.records.problems import Trace
from rarft.rewards.extract import extract_answer
from rarft.serve.errors import ApiError, bad_request
from rarft.serve.folder import Description
from rarft.serve.gate import INTERNAL, Gate
from rarft.serve.metrics import Metrics
from rarft.serve.page import page
from rarft.serve.prompting import Prompter
from rarft.serve.requests import (
    AddTracesRequest,
    ChatRequest,
    CompletionRequest,
    Message,
    NewTrace,
    PromptRequest,
    RarftOptions,
    RemoveTracesRequest,
    RetrieveRequest,
    Sampled,
    parse,
)
from rarft.serve.retrieval import Cited, Found, Retrieval
from rarft.serve.shapes import Answer, citation, event
from rarft.serve.upstream import Upstream

BARE = "-bare"
LONG_QUESTION, MOST_PER_TOKEN = 20_000, 32
"""Characters from which on a problem has to fit the model before anything is searched for it; and how many of them a
token may stand for, on average, before nobody counts."""
T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """What a prompt is made with, and what is told of it."""

    traces: list[Trace]
    told: dict[str, Any]


class Service:
    """Answers requests.

    Args:
        about: of the bundle.
        stop_ids: tokens that end a completion.
    """

    def __init__(
        self,
        about: Description,
        retrieval: Retrieval,
        prompter: Prompter,
        upstream: Upstream,
        metrics: Metrics,
        stop_ids: Sequence[int],
    ) -> None:
        self.about, self.retrieval, self.prompter = about, retrieval, prompter
        self.upstream, self.metrics, self.stop_ids = upstream, metrics, list(stop_ids)
        self.started = int(time.time())

    # Contexts

    def _is_bare(self, model: str) -> bool:
        if model not in (self.about.name, f"{self.about.name}{BARE}"):
            raise ApiError(
                404,
                f"there is no model {model[:80]!r}; there are {self.about.name} and {self.about.name}{BARE}",
                param="model",
                code="model_not_found",
            )
        return model != self.about.name

    async def context(self, model: str, question: str, options: RarftOptions) -> Context:
        """The traces for a question, as the request and the bundle have it."""
        if self._is_bare(model) or not options.retrieve:
            return Context([], {"citations": [], "retrieval": "off"})
        if options.trace_ids is not None:
            return await self._named(options.trace_ids)
        found = await self._find(question, options, options.top_k or self.about.top_k)
        return _as_context(found.cited, self._told(found, options))

    async def _named(self, ids: Sequence[str]) -> Context:
        traces = await self.retrieval.look_up(ids)
        cited = []
        for name, trace in zip(ids, traces, strict=True):
            if trace is None:
                raise bad_request(f"there is no trace {name[:80]!r}", "rarft.trace_ids", "trace_not_found")
            cited.append(Cited(trace, None))
        return _as_context(cited, {"retrieval": "named"})

    async def _find(self, question: str, options: RarftOptions, top_k: int) -> Found:
        started = time.monotonic()
        found = await self.retrieval.find(question, top_k, self._minimum(options))
        self.metrics.retrieval.observe(time.monotonic() - started)
        if not found.cited:
            self.metrics.empty.labels(self._told(found, options)["retrieval"]).inc()
        return found

    def _minimum(self, options: RarftOptions) -> float | None:
        return self.about.min_score if options.min_score is None else options.min_score

    def _told(self, found: Found, options: RarftOptions) -> dict[str, Any]:
        """How retrieval went: `used`, or why the bare prompt stands."""
        how = "used" if found.cited else "nothing_found" if found.best_score is None else "below_min_score"
        return {"retrieval": how, "min_score": self._minimum(options), "best_score": found.best_score}

    # Prompts

    async def prompt(self, turns: Sequence[Message], traces: Sequence[Trace]) -> list[int]:
        """Token ids of a prompt."""
        return await self.prompter.render(turns, traces)

    async def check_long(self, turns: Sequence[Message]) -> None:
        """Refuse a problem that alone does not fit, before it is searched for."""
        size = sum(len(turn.content) for turn in turns)
        if self.prompter.limit is not None and size > MOST_PER_TOKEN * self.prompter.limit:
            raise bad_request(
                f"the messages have {size} characters, far more than {self.prompter.limit} tokens hold",
                "messages",
                "context_length_exceeded",
            )
        if size > LONG_QUESTION:
            await self._room(len(await self.prompt(turns, [])), None)

    async def _room(self, n_prompt: int, max_tokens: int | None) -> int:
        served = (await self.upstream.served()).context_length
        known = [limit for limit in (served, self.prompter.limit) if limit is not None]
        return self.prompter.room(n_prompt, max_tokens, self.about.max_new_tokens, min(known, default=None))

    async def _body(self, request: Sampled, prompts: Sequence[list[int]], max_tokens: int | None) -> dict[str, Any]:
        """What the upstream is asked. Nothing is left to its defaults, which may come from the model's folder."""
        rooms = [await self._room(len(prompt), max_tokens) for prompt in prompts]
        body: dict[str, Any] = {
            "prompt": list(prompts) if len(prompts) > 1 else prompts[0],
            "n": request.n,
            "max_tokens": min(rooms),
            "temperature": request.temperature,
            "top_p": request.top_p if request.temperature > 0 else 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "stop_token_ids": self.stop_ids,
        }
        given = {"stop": request.stop or None, "seed": request.seed, "logprobs": request.top_logprobs_asked}
        return body | {name: value for name, value in given.items() if value is not None}

    # Answers

    async def chat(self, request: ChatRequest) -> dict[str, Any] | EventStream:
        """POST /v1/chat/completions."""
        max_tokens = request.max_completion_tokens or request.max_tokens
        return await self._answer(request, True, [request.messages], max_tokens)

    async def complete(self, request: CompletionRequest) -> dict[str, Any] | EventStream:
        """POST /v1/completions: texts are problems, and get the prompt of training; token ids are prompts already."""
        prompts: Any = request.prompts
        if isinstance(prompts[0], str):
            turns = [[Message(role="user", content=prompt)] for prompt in prompts]
            return await self._answer(request, False, turns, request.max_tokens)
        self._is_bare(request.model)
        if max(max(prompt) for prompt in prompts) >= self.prompter.vocabulary or min(map(min, prompts)) < 0:
            raise bad_request(f"token ids lie from 0 to {self.prompter.vocabulary - 1}", "prompt")
        if request.rarft.model_fields_set:
            raise bad_request("token ids are a whole prompt, so there is nothing to retrieve; leave rarft out", "rarft")
        off = Context([], {"citations": [], "retrieval": "off"})
        return await self._sampled(request, False, prompts, [off] * len(prompts), request.max_tokens)

    async def _answer(
        self, request: Sampled, chat: bool, asked: Sequence[Sequence[Message]], max_tokens: int | None
    ) -> dict[str, Any] | EventStream:
        self._is_bare(request.model)
        for turns in asked:
            await self.check_long(turns)
        if request.rarft.vote and not self._is_bare(request.model):
            return await self._voted(request, chat, asked[0], max_tokens)
        contexts = await asyncio.gather(
            *(self.context(request.model, turns[-1].content, request.rarft) for turns in asked)
        )
        prompts = [await self.prompt(turns, of.traces) for turns, of in zip(asked, contexts, strict=True)]
        return await self._sampled(request, chat, prompts, contexts, max_tokens)

    async def _sampled(
        self,
        request: Sampled,
        chat: bool,
        prompts: Sequence[list[int]],
        contexts: Sequence[Context],
        max_tokens: int | None,
    ) -> dict[str, Any] | EventStream:
        body = await self._body(request, prompts, max_tokens)
        answer = Answer(chat, request.model, [of.told for of in contexts for _ in range(request.n)])
        if request.stream:
            usage = request.stream_options is not None and request.stream_options.include_usage
            return await self._stream(answer, body, usage)
        whole = await self.upstream.complete(body)
        return answer.whole(sorted(whole["choices"], key=lambda choice: choice["index"]), whole.get("usage"))

    async def _stream(self, answer: Answer, body: dict[str, Any], with_usage: bool) -> EventStream:
        stack = AsyncExitStack()
        events = await stack.enter_async_context(self.upstream.stream(body))

        async def sent() -> AsyncIterator[bytes]:
            usage = None
            try:
                for chunk in answer.opening():
                    yield event(chunk)
                async for told in events:
                    usage = told.get("usage") or usage
                    if told["choices"]:
                        yield event(answer.chunk(told["choices"]))
                if with_usage:
                    yield event(answer.usage_chunk(usage))
                yield event("[DONE]")
            except ApiError as error:  # the status is out already, so the error is an event
                self.metrics.errors.labels(error.code).inc()
                yield event(error.body())

        return EventStream(sent(), stack)

    async def _voted(
        self, request: Sampled, chat: bool, turns: Sequence[Message], max_tokens: int | None
    ) -> dict[str, Any]:
        """The answer that most of the top contexts lead to, each with one trace in a prompt of its own."""
        found = await self._find(turns[-1].content, request.rarft, request.rarft.vote or 0)
        told = self._told(found, request.rarft)
        contexts = [_as_context([cited], told) for cited in found.cited] or [_as_context([], told)]
        bodies = []
        for context in contexts:
            bodies.append(await self._body(request, [await self.prompt(turns, context.traces)], max_tokens))
        answers = await all_or_none([self.upstream.complete(body) for body in bodies])
        texts = [answer["choices"][0]["text"] for answer in answers]
        votes = [normal_answer(extract_answer(text)) for text in texts]
        counts = Counter(vote for vote in votes if vote is not None)
        best = max(counts, key=lambda vote: (counts[vote], -votes.index(vote))) if counts else votes[0]
        chosen = votes.index(best)
        cast = [
            {"trace_id": context.traces[0].id if context.traces else None, "answer": vote}
            for context, vote in zip(contexts, votes, strict=True)
        ]
        told = {**contexts[chosen].told, "votes": cast}
        usage = {
            key: sum((answer.get("usage") or {}).get(key, 0) for answer in answers)
            for key in ("prompt_tokens", "completion_tokens", "total_tokens")
        }
        choice = {**answers[chosen]["choices"][0], "index": 0}
        return Answer(chat, request.model, [told]).whole([choice], usage)

    # What goes with it

    async def show_prompt(self, request: PromptRequest) -> dict[str, Any]:
        """POST /v1/prompt: the prompt that a chat request would have, as text and token ids."""
        self._is_bare(request.model)
        ChatRequest(model=request.model, messages=request.messages).check()
        await self.check_long(request.messages)
        context = await self.context(request.model, request.messages[-1].content, request.rarft)
        ids = await self.prompt(request.messages, context.traces)
        return {"prompt": await self.prompter.text(ids), "prompt_token_ids": ids, "context": context.told}

    async def retrieve(self, request: RetrieveRequest) -> dict[str, Any]:
        """POST /v1/retrieve."""
        if request.retriever == "untuned" and not self.retrieval.has_untuned:
            raise bad_request("this bundle has no untuned retriever", "retriever", "no_untuned_retriever")
        started = time.monotonic()
        found = await asyncio.gather(
            *(self.retrieval.find(q, request.top_k, request.min_score, request.retriever) for q in request.queries)
        )
        self.metrics.retrieval.observe(time.monotonic() - started)
        rows = [
            {"index": i, "traces": [citation(cited) for cited in one.cited], "blocked": one.blocked}
            for i, one in enumerate(found)
        ]
        return {"object": "list", "data": rows}

    async def add(self, request: AddTracesRequest) -> dict[str, Any]:
        """POST /v1/traces."""
        traces = [_as_trace(given) for given in request.traces]
        await self.retrieval.add(traces)
        return {"object": "list", "added": [trace.id for trace in traces], "n_traces": len(self.retrieval)}

    async def remove(self, request: RemoveTracesRequest) -> dict[str, Any]:
        """DELETE /v1/traces."""
        gone = await self.retrieval.remove(request.ids)
        absent = [name for name in request.ids if name not in set(gone)]
        return {"object": "list", "removed": gone, "absent": absent, "n_traces": len(self.retrieval)}

    def models(self) -> dict[str, Any]:
        """GET /v1/models."""
        about = {
            "top_k": self.about.top_k,
            "min_score": self.about.min_score,
            "max_new_tokens": self.about.max_new_tokens,
            "context_length": self.prompter.limit,
            "n_traces": len(self.retrieval),
            "search": self.retrieval.search_type,
            "untuned": self.about.untuned or None,
        }
        rows: list[dict[str, Any]] = [{"id": self.about.name, "rarft": about}, {"id": f"{self.about.name}{BARE}"}]
        return {
            "object": "list",
            "data": [{**row, "object": "model", "created": self.started, "owned_by": "rarft"} for row in rows],
        }

    async def health(self) -> tuple[int, dict[str, Any]]:
        """GET /health: status and body."""
        index, upstream = self.retrieval.is_alive(), await self.upstream.healthy()
        told = {"index": "ok" if index else "down", "upstream": "ok" if upstream else "down"}
        good = index and upstream
        return (200 if good else 503), {"status": "ok" if good else "degraded", **told}

    async def close(self) -> None:
        """Finish: what was asked of the index is done, and the log is closed."""
        await asyncio.to_thread(self.retrieval.close)
        self.prompter.close()
        await self.upstream.close()


def _as_context(cited: Sequence[Cited], told: dict[str, Any]) -> Context:
    return Context([one.trace for one in cited], {"citations": [citation(one) for one in cited], **told})


def _as_trace(given: NewTrace) -> Trace:
    """A trace, named by its content where it has no id, so that the same one is there once."""
    text = f"{given.problem}\0{given.solution}\0{given.answer or ''}"
    name = given.id or f"live-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return Trace(name, given.problem, given.solution, given.answer, given.kind, given.source)


async def all_or_none(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await them all; where one fails, the others are cancelled and its error is raised."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


class EventStream(StreamingResponse):
    """A stream of events; the upstream's connection is closed with it, however it ends."""

    def __init__(self, events: AsyncIterator[bytes], stack: AsyncExitStack) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._stack = stack

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As ASGI has it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._stack.aclose()


async def while_connected(request: Request, call: Awaitable[T]) -> T:
    """Await `call`, and cancel it when the client has gone. The body must have been read.

    Raises:
        ApiError: 499, which nobody will see.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work, leave = asyncio.ensure_future(call), asyncio.ensure_future(gone())
    try:
        await asyncio.wait([work, leave], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ApiError(499, "the client has gone", code="client_gone")
        return work.result()
    finally:
        for task in (work, leave):
            task.cancel()
            if not task.done():
                with suppress(asyncio.CancelledError, Exception):
                    await task


def make_app(service: Service, key: str | None) -> Gate:
    """The API as an ASGI application.

    Args:
        key: what clients have to send; None for no key.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    app = FastAPI(title="rarft", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    async def answered(request: Request, call: Awaitable[Any]) -> Response:
        try:
            found = await while_connected(request, call)
        except StageError as error:  # the log of traces cannot be written
            raise ApiError(503, str(error), code="not_stored") from None
        return found if isinstance(found, Response) else JSONResponse(found)

    @app.exception_handler(ApiError)
    async def told(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        service.metrics.errors.labels(error.code or str(error.status)).inc()
        return JSONResponse(error.body(), error.status, error.headers)

    @app.exception_handler(Exception)
    async def internal(request: Request, error: Exception) -> Response:
        return JSONResponse(INTERNAL.body(), 500)  # the gate logs it

    @app.exception_handler(HTTPException)
    async def no_such_address(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = {404: "there is no such address", 405: "this address takes no such method"}
        found = ApiError(error.status_code, said.get(error.status_code, str(error.detail)), code="no_such_address")
        return JSONResponse(found.body(), error.status_code, dict(error.headers or {}))

    @app.get("/")
    async def show_page() -> HTMLResponse:
        html, policy = page()
        return HTMLResponse(html, headers={"content-security-policy": policy})

    @app.get("/health")
    async def health() -> JSONResponse:
        status, body = await service.health()
        return JSONResponse(body, status)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.page(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models")
    async def models() -> JSONResponse:
        return JSONResponse(service.models())

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await answered(request, service.chat(parse(ChatRequest, await request.body())))

    @app.post("/v1/completions")
    async def complete(request: Request) -> Response:
        return await answered(request, service.complete(parse(CompletionRequest, await request.body())))

    @app.post("/v1/prompt")
    async def show_prompt(request: Request) -> Response:
        return await answered(request, service.show_prompt(parse(PromptRequest, await request.body())))

    @app.post("/v1/retrieve")
    async def retrieve(request: Request) -> Response:
        return await answered(request, service.retrieve(parse(RetrieveRequest, await request.body())))

    @app.post("/v1/traces")
    async def add(request: Request) -> Response:
        return await answered(request, service.add(parse(AddTracesRequest, await request.body())))

    @app.delete("/v1/traces")
    async def remove(request: Request) -> Response:
        return await answered(request, service.remove(parse(RemoveTracesRequest, await request.body())))

    return Gate(app, service.metrics, key)
