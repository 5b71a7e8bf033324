"""A bundle of the toy world (a tiny encoder, a tiny policy with random weights), and a server of it in a thread."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rarft.retriever import IndexConfig, index
from rarft.serve import BundleConfig, bundle
from tests.policy.tiny import CHARACTERS, SHAPE, tiny_tokenizer
from tests.retriever.conftest import toy as toy
from tests.serve.stub_upstream import StubUpstream

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>\n{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}"
)
QUESTION = "thingpu thingqv abone thingrw"


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random Llama with a character tokenizer, a chat template and room for 4,096 tokens."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("policy") / "policy"
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**{**SHAPE, "max_position_embeddings": 4096})).save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    assert "<" not in CHARACTERS
    return str(folder)


@pytest.fixture(scope="session")
def toy_index(toy: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(index(IndexConfig(traces=toy["traces"], retriever=toy["model"]), tmp_path_factory.mktemp("i") / "index"))


@pytest.fixture(scope="session")
def made(policy: str, toy_index: str, toy: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, not to be changed."""
    config = BundleConfig(model=policy, index=toy_index, untuned=toy["model"], max_new_tokens=64)
    return bundle(config, tmp_path_factory.mktemp("b") / "bundle")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A bundle of the test's own, somewhere else than it was made."""
    return Path(shutil.copytree(made, tmp_path / "moved"))


class Running:
    """A server in a thread; `client` talks to it."""

    def __init__(self, folder: Path, upstream: str, key: str | None = None, **options: Any) -> None:
        from rarft.serve.config import ServeConfig
        from rarft.serve.folder import open_bundle
        from rarft.serve.run import Server, Site

        self.config = ServeConfig(upstream=upstream, port=0, **options)
        self._site = Site(open_bundle(folder), self.config, key)
        self.service = self._site.service
        self._server = Server(self._site.uvicorn, "listening")
        self._thread = threading.Thread(target=lambda: self._server.run(sockets=[self._site.listening]), daemon=True)
        self.url = f"http://127.0.0.1:{self._site.listening.getsockname()[1]}"
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def __enter__(self) -> Running:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            threading.Event().wait(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._site.close()

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.client.post(path, json=body)

    def chat(self, content: str = QUESTION, **body: Any) -> httpx.Response:
        body = {"model": "rarft", "messages": [{"role": "user", "content": content}], **body}
        return self.client.post("/v1/chat/completions", json=body)

    def events(self, path: str, **body: Any) -> list[Any]:
        """The events of a streamed answer; the last is `[DONE]` where it is whole."""
        found: list[Any] = []
        with self.client.stream("POST", path, json={**body, "stream": True}) as reply:
            assert reply.status_code == 200, reply.read()
            for line in reply.iter_lines():
                if line.startswith("data: "):
                    found.append(line[6:] if line == "data: [DONE]" else json.loads(line[6:]))
        return found


@pytest.fixture(scope="session")
def shared(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StubUpstream, Running]]:
    """One server for all tests that leave its traces as they are."""
    folder = shutil.copytree(made, tmp_path_factory.mktemp("shared") / "bundle")
    with StubUpstream() as upstream, Running(folder, upstream.url) as running:
        yield upstream, running


@pytest.fixture
def stub(shared: tuple[StubUpstream, Running]) -> StubUpstream:
    """The upstream of the shared server, as new."""
    upstream, fresh = shared[0], StubUpstream()
    for name in ("answer", "delay", "fault", "bodies", "headers", "cancelled", "finished", "started"):
        setattr(upstream, name, getattr(fresh, name))
    return upstream


@pytest.fixture
def server(shared: tuple[StubUpstream, Running], stub: StubUpstream) -> Running:
    """The shared server."""
    return shared[1]


@pytest.fixture
def fresh(folder: Path, stub: StubUpstream) -> Iterator[Running]:
    """A server of the test's own, whose traces may be changed."""
    with Running(folder, stub.url) as running:
        yield running


@contextmanager
def raw_connection(url: str) -> Iterator[socket.socket]:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        yield connection
