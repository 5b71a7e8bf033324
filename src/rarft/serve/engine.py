"""The engine that `rarft serve` starts for itself: `vllm serve`, or transformers behind the same few addresses.

    python -m rarft.serve.engine MODEL SOCKET PARENT

Either is a process of its own that listens on a Unix socket in a private folder, and dies with the server; the API then
talks to it as to any upstream. The transformers engine (`models/streaming.py`) answers /v1/models and /v1/completions
with token ids as prompts: n, temperature, top_p, max_tokens, stop, seed, logprobs, streaming. A request whose client
has gone leaves the batch. Left out: text prompts, everything that the API in front of it does not send.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from rarft.core.errors import InputError, StageError, one_line
from rarft.core.processes import die_with_parent, end_group, ended, start_child, start_group
from rarft.core.progress import log, logger
from rarft.models.engines import choose
from rarft.models.engines.base import EngineOptions
from rarft.serve.app import while_connected
from rarft.serve.config import ServeConfig
from rarft.serve.folder import Bundle
from rarft.serve.shapes import event

MOST_ROWS = 64


class OwnEngine:
    """An engine for the bundle's policy, in a process of its own that is starting.

    Raises:
        InputError: the policy's weights are not there, or the engine does not take them.
    """

    def __init__(self, bundle: Bundle, config: ServeConfig) -> None:
        self.model = bundle.weights()
        which = choose(config.engine, self.model)
        if config.vllm and which != "vllm":
            raise InputError("--vllm: its arguments are given, but the engine is transformers; add --engine vllm")
        self._folder = tempfile.TemporaryDirectory(prefix="rarft-serve-")
        self.socket = str(Path(self._folder.name) / "engine")
        log(f"rarft serve: starting {which} with {self.model}")
        command = _command(which, self.model, self.socket, bundle, config)
        if which == "vllm":  # it has children of its own
            self._process = start_group(command, env=_environment(which))
        else:
            self._process = start_child(command, env=_environment(which), start_new_session=True)

    def wait_until_ready(self) -> None:
        """Return once it answers. Raises InputError or StageError where it ended before."""
        with httpx.Client(transport=httpx.HTTPTransport(uds=self.socket), base_url="http://engine") as client:
            while True:
                code = self._process.poll()
                if code is not None:
                    kind = InputError if code == 2 else StageError
                    raise kind(f"{self.model}: the engine {ended(code)}; what it said stands above")
                with contextlib.suppress(httpx.HTTPError):
                    if client.get("/v1/models").status_code == 200:
                        return
                time.sleep(0.1)

    def close(self) -> None:
        """End it."""
        end_group(self._process)
        self._folder.cleanup()


def _environment(which: str) -> dict[str, str]:
    """Variables for the engine, where ours say nothing: a core is left to retrieval, and waiting threads don't spin."""
    if which == "vllm":
        wanted = {"VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    else:
        threads = max(1, len(os.sched_getaffinity(0)) - 1)
        wanted = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def _command(which: str, model: str, socket: str, bundle: Bundle, config: ServeConfig) -> list[str]:
    if which == "transformers":
        return [sys.executable, "-m", "rarft.serve.engine", model, socket, str(os.getpid())]
    from rarft.models.engines.vllm import engine_arguments  # vLLM's options are checked where they are known

    given = {name.replace("-", "_"): value for name, value in config.vllm.items()}
    arguments = engine_arguments(model, EngineOptions(vllm=given))
    arguments.pop("model")
    # what `vllm serve` runs; the command itself looks for a package called vllm, which the CPU build's is not
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    command += ["--uds", socket, "--served-model-name", bundle.about.name, "--disable-uvicorn-access-log"]
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        command += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return command


# The transformers engine


class Text:
    """From tokens to text, piece by piece, up to a stop string.

    Args:
        decode: token ids to text, without special tokens.
        stops: strings that end it and are not part of it.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str]) -> None:
        self._decode, self._stops = decode, list(stops)
        self._ids: list[int] = []
        self._start = self._read = 0
        self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """One more token; the text that is certain now."""
        self._ids.append(token)
        before, now = self._decode(self._ids[self._start : self._read]), self._decode(self._ids[self._start :])
        if now.endswith("�"):  # half a character
            return ""
        self._start, self._read = self._read, len(self._ids)
        return self._certain(now[len(before) :])

    def flush(self) -> str:
        """The rest, where no further token comes."""
        if self.stopped:
            return ""
        before, now = self._decode(self._ids[self._start : self._read]), self._decode(self._ids[self._start :])
        self._start = self._read = len(self._ids)
        found = self._certain(now[len(before) :])
        held, self._held = self._held, ""
        return found + ("" if self.stopped else held)

    def _certain(self, piece: str) -> str:
        text = self._held + piece
        ends = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self.stopped, self._held = True, ""
            return text[: min(ends)]
        kept = max((n for stop in self._stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]


@dataclass(frozen=True)
class Piece:
    """What a choice has to tell: text, its tokens, and at the end why it ended."""

    index: int
    text: str
    drawn: tuple[Any, ...] = ()
    finish: str | None = None


class Choice:
    """A row of the batch: its tokens become pieces of text, handed to an event loop."""

    def __init__(
        self, index: int, text: Text, most: int, ends: set[int], out: Callable[[Piece | Exception], None], gone: Any
    ) -> None:
        self._index, self._text, self._most, self._ends = index, text, most, ends
        self._out, self._gone, self._count = out, gone, 0

    def is_wanted(self) -> bool:
        """Whether its client is still there."""
        return not self._gone.is_set()

    def take(self, drawn: Any) -> bool:
        """As `Row.take`."""
        self._count += 1
        if drawn.token in self._ends:
            self._out(Piece(self._index, self._text.flush(), (drawn,), "stop"))
            return True
        piece = self._text.push(drawn.token)
        finish = "stop" if self._text.stopped else "length" if self._count == self._most else None
        if finish == "length":
            piece += self._text.flush()
            finish = "stop" if self._text.stopped else "length"
        self._out(Piece(self._index, piece, (drawn,), finish))
        return finish is not None

    def fail(self, error: Exception) -> None:
        """Nothing more will come."""
        self._out(error)


class Engine:
    """A model in a thread that samples for all requests."""

    def __init__(self, model: str) -> None:
        from rarft.models.loading import context_length, eos_token_ids, load_policy
        from rarft.models.streaming import Batch

        policy, self.tokenizer = load_policy(model)
        self.context_length = context_length(policy.config)
        self.ends = set(eos_token_ids(policy, self.tokenizer))
        self._batch = Batch(policy)
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="engine", daemon=True).start()

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def start(self, body: dict[str, Any], out: Callable[[Piece | Exception], None], gone: Any) -> int:
        """Queue a request; its pieces go to `out`, from the engine's thread. How many choices it has."""
        from rarft.models.generation import Sampling

        prompts = body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
        n, most = body.get("n", 1), body["max_tokens"]
        sampling = Sampling(body.get("temperature", 1.0), body.get("top_p", 1.0))
        ends = {*self.ends, *body.get("stop_token_ids", ())}
        seed = abs(int(body.get("seed", random.getrandbits(62))))
        stops = body.get("stop", [])
        for at, prompt in enumerate(prompts):
            rows = [Choice(at * n + i, Text(self.decode, stops), most, ends, out, gone) for i in range(n)]

            def join(prompt: list[int] = prompt, rows: list[Choice] = rows) -> None:
                if gone.is_set():
                    return
                try:
                    self._batch.join(prompt, rows, sampling, seed, most, body.get("logprobs"))
                except Exception as error:
                    for row in rows:
                        row.fail(error)
                    raise

            self._waiting.put(join)
        return len(prompts) * n

    def _work(self) -> None:
        while True:
            try:
                while not len(self._batch) or (
                    self._batch.mixes and len(self._batch) < MOST_ROWS and not self._waiting.empty()
                ):
                    self._waiting.get()()
                self._batch.step()
            except Exception as error:  # one batch's failure is told to its own requests, and the next is served
                logger.exception("rarft engine")
                for row in self._batch.drop_all():
                    row.fail(error)  # type: ignore[attr-defined]


def make_engine_app(engine: Any, model: str) -> Any:
    """The engine's addresses as an ASGI application."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/v1/models")
    async def models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": [{"id": model, "max_model_len": engine.context_length}]})

    @app.post("/v1/completions")
    async def complete(request: Request) -> Response:
        body = await request.json()
        pieces = _pieces(engine, body)
        if body.get("stream"):
            return StreamingResponse(_events(engine, body, pieces), media_type="text/event-stream")
        return JSONResponse(await while_connected(request, _whole(engine, body, pieces)))

    return app


async def _pieces(engine: Engine, body: dict[str, Any]) -> AsyncIterator[Piece]:
    """The pieces of all choices as they come; closing it takes the request out of the batch."""
    loop, inbox, gone = asyncio.get_running_loop(), asyncio.Queue[Piece | Exception](), threading.Event()

    def out(piece: Piece | Exception) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(inbox.put_nowait, piece)

    running = engine.start(body, out, gone)
    try:
        while running:
            piece = await inbox.get()
            if isinstance(piece, Exception):
                raise piece
            running -= piece.finish is not None
            yield piece
    finally:
        gone.set()


async def _whole(engine: Engine, body: dict[str, Any], pieces: AsyncIterator[Piece]) -> dict[str, Any]:
    texts: dict[int, str] = {}
    drawn: dict[int, list[Any]] = {}
    finish: dict[int, str | None] = {}
    async with contextlib.aclosing(pieces):  # type: ignore[type-var]
        async for piece in pieces:
            texts[piece.index] = texts.get(piece.index, "") + piece.text
            drawn.setdefault(piece.index, []).extend(piece.drawn)
            finish[piece.index] = piece.finish
    asked = "logprobs" in body
    choices = [
        {
            "index": i,
            "text": texts[i],
            "finish_reason": finish[i],
            "logprobs": _logprobs(engine, drawn[i]) if asked else None,
        }
        for i in sorted(texts)
    ]
    return {"object": "text_completion", "choices": choices, "usage": _usage(body, sum(map(len, drawn.values())))}


async def _events(engine: Engine, body: dict[str, Any], pieces: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
    count = 0
    try:
        async with contextlib.aclosing(pieces):  # type: ignore[type-var]
            async for piece in pieces:
                count += len(piece.drawn)
                if not (piece.text or piece.finish or "logprobs" in body):
                    continue
                logprobs = _logprobs(engine, piece.drawn) if "logprobs" in body else None
                choice = {"index": piece.index, "text": piece.text, "finish_reason": piece.finish, "logprobs": logprobs}
                yield event({"choices": [choice]})
    except Exception as error:
        yield event({"error": {"message": one_line(error)}})
        return
    yield event({"choices": [], "usage": _usage(body, count)})
    yield event("[DONE]")


def _usage(body: dict[str, Any], n_out: int) -> dict[str, int]:
    prompts = body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
    n_in = sum(map(len, prompts))
    return {"prompt_tokens": n_in, "completion_tokens": n_out, "total_tokens": n_in + n_out}


def _logprobs(engine: Engine, drawn: Sequence[Any]) -> dict[str, Any]:
    def text(token: int) -> str:
        return str(engine.tokenizer.decode([token]))

    return {
        "tokens": [text(one.token) for one in drawn],
        "token_logprobs": [one.logprob for one in drawn],
        "top_logprobs": [{text(token): value for token, value in one.top} for one in drawn],
    }


def main(model: str, socket: str, parent: int) -> int:
    """Serve `model` on a Unix socket until killed."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        engine = Engine(model)
    except InputError as error:
        logger.error("rarft: %s", " ".join(str(error).split()))
        return 2
    app = make_engine_app(engine, model)
    uvicorn.run(app, uds=socket, log_level="warning", access_log=False, ws="none", timeout_keep_alive=75)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
