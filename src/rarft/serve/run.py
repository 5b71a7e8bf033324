"""Running the server: bundle, engine, and uvicorn put together."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack
from types import FrameType
from typing import Any

import uvicorn

from rarft.core.errors import InputError
from rarft.core.progress import log
from rarft.models.engines.vllm import stop_ids
from rarft.serve.app import Service, make_app
from rarft.serve.config import MOST_CONNECTIONS, UPSTREAM_KEY, ServeConfig
from rarft.serve.engine import OwnEngine
from rarft.serve.folder import Bundle
from rarft.serve.gate import Protocol
from rarft.serve.live import Corpus
from rarft.serve.metrics import Metrics
from rarft.serve.prompting import Prompter
from rarft.serve.retrieval import Retrieval
from rarft.serve.upstream import PROBE, Upstream


class Server(uvicorn.Server):
    """uvicorn's server, for which a signal is a wish to stop and not a failure.

    Args:
        told: what to log once it listens.
    """

    def __init__(self, config: uvicorn.Config, told: str) -> None:
        super().__init__(config)
        self._told = told

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        log(self._told)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop taking requests; a second Ctrl+C stops at once."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


class Site:
    """A bundle that is ready to be served: its socket is bound, its engine runs.

    Args:
        key: what clients have to send; None for no key.

    Raises:
        InputError: an address that cannot be listened on, a damaged bundle.
        StageError: the engine did not start.
    """

    def __init__(self, bundle: Bundle, config: ServeConfig, key: str | None) -> None:
        self._stack = ExitStack()
        try:
            self.listening = _listen(config.host, config.port)
            self._stack.callback(self.listening.close)
            self.service = self._service(bundle, config)
        except BaseException:
            self.close()
            raise
        self.uvicorn = _uvicorn(make_app(self.service, key), config)
        host, port = self.listening.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def _service(self, bundle: Bundle, config: ServeConfig) -> Service:
        engine = None
        if config.upstream is None:  # first of all: it loads while we do, and lancedb wants no fork after it
            engine = OwnEngine(bundle, config)
            self._stack.callback(engine.close)
        prompter = Prompter(bundle.policy, bundle.about.prompt)
        corpus = Corpus(bundle)
        self._stack.callback(corpus.close)
        if engine is not None:
            engine.wait_until_ready()
        retrieval = Retrieval(corpus)
        metrics = Metrics(lambda: len(retrieval))
        upstream = Upstream(
            config.upstream or "http://engine",
            metrics,
            names=[bundle.about.name, *filter(None, [bundle.about.reference]), bundle.policy],
            probe=list(prompter.tokenizer(PROBE, add_special_tokens=False)["input_ids"]),
            socket=engine.socket if engine else None,
            key=os.environ.get(UPSTREAM_KEY) if config.upstream else None,
            timeout=config.timeout,
        )
        stop = stop_ids(bundle.policy, prompter.tokenizer)
        return Service(bundle.about, retrieval, prompter, upstream, metrics, stop)

    def close(self) -> None:
        """Give socket and engine back."""
        self._stack.close()


def run(bundle: Bundle, config: ServeConfig, key: str | None) -> None:
    """Serve until a signal ends it. Raises InputError and StageError as `Site`."""
    site = Site(bundle, config, key)
    try:
        n = len(site.service.retrieval)
        told = f"rarft serve: {bundle.about.name} with {n} traces at {site.url}/v1; page at {site.url}/"
        Server(site.uvicorn, told).run(sockets=[site.listening])
    finally:
        site.close()


def _uvicorn(app: Any, config: ServeConfig) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        backlog=MOST_CONNECTIONS,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(config.drain),
        h11_max_incomplete_event_size=64 * 1024,
    )


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, bound before anything slow is done. Raises InputError where that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise InputError(f"--host {host} --port {port}: cannot be listened on ({error.strerror})") from None
    return found
