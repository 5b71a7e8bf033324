"""The door to engines: which one `auto` is, what counts as part of a result, calls in threads, a server that fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from policy.tiny import save_policy, tiny_tokenizer

from rarft.core.errors import InputError, StageError
from rarft.models.engines import EngineOptions, choose, open_engine, server
from rarft.models.engines.base import Completion, EngineConfig, Metered, Sampling
from rarft.models.loading import load_policy


def test_auto_is_vllm_only_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr("rarft.models.engines.find_spec", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose("auto", "some/model") == "transformers"
    monkeypatch.setattr("rarft.models.engines.find_spec", lambda name: object())
    assert choose("auto", "some/model") == "vllm" and choose("transformers", "some/model") == "transformers"
    (tmp_path / "model.gguf").touch()
    (tmp_path / "adapter_config.json").touch()
    assert choose("auto", str(tmp_path / "model.gguf")) == choose("auto", str(tmp_path)) == "transformers"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose("auto", "some/model") == "transformers"


def test_arguments_of_the_machine_are_not_part_of_a_result() -> None:
    def identity(**vllm: Any) -> dict[str, Any]:
        return EngineConfig.parse({"vllm": vllm}, "test").result_values()

    assert identity() == identity(**{"max-num-seqs": 4, "gpu_memory_utilization": 0.5}) == {}
    assert identity(quantization="fp8", enforce_eager=True) == {"vllm": {"quantization": "fp8"}}


@pytest.mark.parametrize("name", ["auto2", "ftp://x"])
def test_an_engine_that_is_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"engine {name}"):
        open_engine(name, str(tmp_path))


class Echo:
    """Answers with its prompts, when it is let."""

    calls_at_once, call_tokens, context_length = 3, 1, None
    tokenizer: Any = None

    def __init__(self) -> None:
        self.running = self.most = 0
        self.let, self.lock = threading.Event(), threading.Lock()

    def sample(self, prompts: Any, counts: Any, seeds: Any, sampling: Any) -> list[list[Completion]]:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
            if self.running == self.calls_at_once:
                self.let.set()
        assert self.let.wait(60)
        with self.lock:
            self.running -= 1
        return [[Completion(list(prompt), True)] * count for prompt, count in zip(prompts, counts, strict=True)]

    def score(self, prompts: Any, completions: Any) -> list[list[np.ndarray]]:
        raise StageError("broken")

    def close(self) -> None:
        pass


def test_calls_run_at_once_and_are_counted() -> None:
    engine = Metered(Echo())

    def call(n: int) -> list[list[Completion]]:
        return engine.sample([[n, n]], [2], [0], Sampling(4))

    found = dict(engine.each(call, iter(range(12))))
    assert found == {n: [[Completion([n, n], True)] * 2] for n in range(12)}
    assert engine.engine.most == 3  # type: ignore[attr-defined]
    assert (engine.tokens_in, engine.tokens_out) == (24, 48)
    assert engine.seconds > 0 and engine.throughput()["tokens_per_second"]["out"] > 0
    with pytest.raises(StageError, match="broken"):
        list(engine.each(lambda n: engine.score([[n]], [[[n]]]), range(12)))


# A server that fails


class Server(ThreadingHTTPServer):
    """Speaks as much of vLLM as the engine asks for; `trouble` holds the status codes of the next answers, 0 for a cut
    connection. What it answers is made from the request: sampled tokens are the seed's, log-probs minus the token."""

    def __init__(self, model: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.model, self.key, self.trouble, self.bodies = model, "secret", [], []
        self.tokenizer = tiny_tokenizer()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.headers["authorization"] != f"Bearer {self.server.key}":
            self._send({"error": "no"}, 401)
        else:
            self._send({"data": [{"id": "alias", "root": self.server.model, "max_model_len": 64}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/tokenize":
            self._send({"tokens": self.server.tokenizer(body["prompt"], add_special_tokens=False)["input_ids"]})
            return
        self.server.bodies.append(body)
        trouble = self.server.trouble.pop(0) if self.server.trouble else 200
        if trouble == 0:
            self.close_connection = True
            self.connection.close()
        elif trouble != 200:
            self._send({"error": {"message": "trouble"}}, trouble)
        elif "prompt_logprobs" in body:
            places = [None, *({str(token): {"logprob": -float(token)}} for token in body["prompt"][1:])]
            self._send({"choices": [{"index": 0, "token_ids": [1], "prompt_logprobs": places}]})
        else:
            rows = [
                {"index": i, "token_ids": [body["seed"] // 2**20, i], "finish_reason": "stop"} for i in range(body["n"])
            ]
            self._send({"choices": rows[::-1]})

    def _send(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, str, str]]:
    model = save_policy(tmp_path / "model")
    running = Server(model)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.002)
    yield running, f"http://127.0.0.1:{running.server_port}", model
    running.shutdown()
    running.server_close()
    thread.join()


def test_passing_trouble_is_tried_again(served: tuple[Server, str, str]) -> None:
    running, url, model = served
    engine = open_engine(url, model)
    assert engine.context_length == 64
    running.trouble = [503, 0, 429, 500]
    groups = engine.sample([[5, 6], [7]], [2, 1], [11, 12], Sampling(4, 0.5, 0.9))
    assert groups == [[Completion([11, 0], True), Completion([11, 1], True)], [Completion([12, 0], True)]]
    sent = running.bodies[-1]
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"], sent["stop_token_ids"]) == (0.5, 0.9, 4, [1])
    assert (sent["top_k"], sent["min_p"], sent["repetition_penalty"]) == (
        0,
        0.0,
        1.0,
    )  # not those of the model's folder
    (rows,) = engine.score([[5, 6]], [[[7], [8, 9]]])
    assert [row.tolist() for row in rows] == [[-7.0], [-8.0, -9.0]] and rows[0].dtype == np.float32
    running.trouble = [400]
    with pytest.raises(StageError, match="trouble"):
        engine.sample([[5]], [1], [0], Sampling(4))
    running.trouble = [503] * (server.RETRIES + 1)
    with pytest.raises(StageError, match="trouble"):
        engine.sample([[5]], [1], [0], Sampling(4))
    engine.close()


def test_a_wrong_server_is_told(
    served: tuple[Server, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, url, model = served
    running.key = "other"
    with pytest.raises(InputError, match="refuses the key"):
        open_engine(url, model)
    running.key = "secret"
    other = save_policy(tmp_path / "other")
    with pytest.raises(InputError, match="serves alias, not"):
        open_engine(url, other)
    with pytest.raises(InputError, match="are the server's"):
        open_engine(url, model, EngineOptions(vllm={"max_num_seqs": 4}))
    monkeypatch.setattr(running, "tokenizer", lambda text, **_: {"input_ids": [1, 2]})
    with pytest.raises(InputError, match="its tokenizer is not that of"):
        open_engine(url, model)


@pytest.mark.parametrize(("fast", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_bfloat16_is_for_processors_that_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool, dtype: str
) -> None:
    import torch

    from rarft.models import number_types
    from rarft.models.engines import transformers, vllm

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = save_policy(tmp_path / "float32")
    half = str(tmp_path / "bfloat16")
    policy, tokenizer = load_policy(model, dtype="bfloat16")
    policy.save_pretrained(half)
    tokenizer.save_pretrained(half)
    monkeypatch.setattr(number_types, "fast_bfloat16", lambda device: fast)

    def computes_in(model: str, asked: str) -> set[str]:
        engine = transformers.TransformersEngine.load(model, EngineOptions(asked))
        return {
            str(engine.model.dtype).removeprefix("torch."),
            vllm.engine_arguments(model, EngineOptions(asked))["dtype"],
        }

    assert computes_in(half, "auto") == {dtype}
    assert computes_in(half, "bfloat16") == {dtype}
    assert computes_in(model, "auto") == {"float32"}


def test_vllm_is_not_for_every_model(tmp_path: Path) -> None:
    from rarft.models.engines.vllm import engine_arguments

    model = save_policy(tmp_path / "model")
    assert engine_arguments(model, EngineOptions(vllm={"max_num_seqs": 4}))["max_num_seqs"] == 4
    assert engine_arguments(model, EngineOptions())["dtype"] == "float32"  # vLLM's own auto would make it bfloat16
    for name in ("trust_remote_code", "load_format", "dtype", "seed"):
        with pytest.raises(InputError, match=rf"vllm\.{name}"):
            engine_arguments(model, EngineOptions(vllm={name: True}))
    (tmp_path / "a.gguf").touch()
    with pytest.raises(InputError, match="a GGUF file, which --engine vllm does not read"):
        engine_arguments(str(tmp_path / "a.gguf"), EngineOptions())
