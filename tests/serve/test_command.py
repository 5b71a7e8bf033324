"""`rarft serve` as a process: its own engine, what it refuses, SIGTERM, and kill -9 while traces are added."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rarft.cli import main
from rarft.models.engines import open_engine
from rarft.models.engines.base import Sampling
from rarft.serve.folder import open_bundle
from rarft.serve.live import Corpus
from tests.serve.conftest import QUESTION
from tests.serve.stub_upstream import StubUpstream

ENV = {"OMP_NUM_THREADS": "1"}


@contextmanager
def serving(
    folder: Path, log: Path, *options: str, **env: str
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """A server process and a client of it; what it says goes to `log`."""
    command = [sys.executable, "-m", "rarft.cli", "serve", str(folder), "--port", "0", *options]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stderr=out, stdout=out, env={**os.environ, **ENV, **env})
    try:
        while (found := re.search(r"at (http://\S+)/v1; page", log.read_text())) is None:
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        with httpx.Client(base_url=found.group(1), timeout=120, trust_env=False) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("options", "env", "line"),
    [
        (["--host", "0.0.0.0"], {}, "set a key in RARFT_API_KEY first"),
        (["--host", "::"], {}, "set a key in RARFT_API_KEY first"),
        (["--host", "example.org"], {}, "set a key in RARFT_API_KEY first"),
        (["--upstream", "gpu-box:8000"], {}, "give it as http://HOST:PORT"),
        (["--upstream", "http://x", "--engine", "vllm"], {}, "leave them out with --upstream"),
        (["--vllm.max-model-len", "5", "--engine", "transformers"], {}, "add --engine vllm"),
        (["--port", "70000"], {}, "port"),
        (["--prot", "1"], {}, "did you mean `--port`?"),
        ([], {"RARFT_API_KEY": ""}, "RARFT_API_KEY"),
    ],
)
def test_bad_options_are_one_line(
    options: list[str], env: dict[str, str], line: str, made: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("RARFT_API_KEY", raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert main(["serve", str(made), *options]) == 2
    told = capsys.readouterr().err
    assert line in told and told.count("\n") == 1


def test_no_bundle_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(tmp_path)]) == 2
    assert "name a folder that `rarft bundle` made" in capsys.readouterr().err


def test_a_port_that_is_taken(made: Path, stub: StubUpstream, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(made), "--upstream", stub.url, "--port", str(stub.port)]) == 2
    assert f"--port {stub.port}: cannot be listened on" in capsys.readouterr().err


def test_sigterm_finishes_what_runs(folder: Path, tmp_path: Path) -> None:
    with (
        StubUpstream(delay=1.0) as stub,
        serving(folder, tmp_path / "log", "--upstream", stub.url) as (process, client),
    ):
        body = {"model": "rarft", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=body) as reply:
            lines = reply.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            assert list(lines)[-2] == "data: [DONE]", "the answer came to its end"
        assert process.wait(60) == 0, (tmp_path / "log").read_text()
        with pytest.raises(httpx.ConnectError):
            client.get("/health")


def test_killed_while_traces_are_added(folder: Path, tmp_path: Path) -> None:
    """What was answered is there; of what was not, each request is absent or whole."""
    answered: list[int] = []
    sent: list[int] = []

    def add(client: httpx.Client, start: int) -> None:
        for i in range(start, 10_000, 4):
            rows = [{"id": f"{i}-{part}", "problem": f"thingpu {i}", "solution": "x" * 20_000} for part in range(3)]
            sent.append(i)
            try:
                if client.post("/v1/traces", json={"traces": rows}).status_code == 200:
                    answered.append(i)
            except httpx.HTTPError:
                return

    with StubUpstream() as stub, serving(folder, tmp_path / "log", "--upstream", stub.url) as (process, client):
        threads = [threading.Thread(target=add, args=(client, start)) for start in range(4)]
        for thread in threads:
            thread.start()
        while len(answered) < 12:
            time.sleep(0.005)
        process.kill()
        for thread in threads:
            thread.join()
    corpus = Corpus(open_bundle(folder))
    there: dict[int, int] = {}
    for name in corpus.traces:
        if "-" in name:
            there[int(name.split("-")[0])] = there.get(int(name.split("-")[0]), 0) + 1
    assert set(answered) <= set(there) <= set(sent) and set(there.values()) == {3}
    assert len(corpus.index) == 36 + 3 * len(there)
    corpus.close()


# Its own engine


@pytest.fixture(scope="module")
def own(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with serving(made, tmp_path_factory.mktemp("own") / "log", "--engine", "transformers") as (_, client):
        yield client


def ask(client: httpx.Client, **body: Any) -> dict[str, Any]:
    body = {"model": "rarft", "messages": [{"role": "user", "content": QUESTION}], **body}
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def test_its_own_engine_samples_as_the_engine_of_evaluate(own: httpx.Client, policy: str) -> None:
    prompt = own.post("/v1/prompt", json={"model": "rarft", "messages": [{"role": "user", "content": QUESTION}]}).json()
    engine = open_engine("transformers", policy)
    for temperature, top_p in ((0.0, 1.0), (0.9, 1.0), (0.7, 0.8)):
        sampling = Sampling(24, temperature, top_p)
        (expected,) = engine.sample([prompt["prompt_token_ids"]], [3], [11], sampling)
        texts = [engine.tokenizer.decode(one.token_ids, skip_special_tokens=True) for one in expected]
        got = ask(own, n=3, seed=11, max_tokens=24, temperature=temperature, top_p=top_p)
        assert [choice["message"]["content"] for choice in got["choices"]] == texts
        reasons = ["stop" if one.finished else "length" for one in expected]
        assert [choice["finish_reason"] for choice in got["choices"]] == reasons
        assert got["usage"]["completion_tokens"] == sum(len(one.token_ids) for one in expected)
    engine.close()


def test_requests_at_once_are_answered_as_alone(own: httpx.Client) -> None:
    questions = [f"{QUESTION} thing{a}u" * (i + 1) for i, a in enumerate("pqrst")]
    bodies = [{"messages": [{"role": "user", "content": q}], "max_tokens": 8 + 5 * i, "temperature": 0.0}
              for i, q in enumerate(questions)]  # fmt: skip
    alone = [ask(own, **body)["choices"][0]["message"]["content"] for body in bodies]
    found: dict[int, str] = {}

    def one(i: int) -> None:
        found[i] = ask(own, **bodies[i])["choices"][0]["message"]["content"]

    threads = [threading.Thread(target=one, args=(i,)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(5)] == alone


def test_its_own_engine_streams_what_it_answers(own: httpx.Client) -> None:
    body = {"model": "rarft", "messages": [{"role": "user", "content": QUESTION}], "seed": 5, "max_tokens": 20, "n": 2}
    whole = ask(own, **body)
    texts = {0: "", 1: ""}
    with own.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as reply:
        for line in reply.iter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == {choice["index"]: choice["message"]["content"] for choice in whole["choices"]}


def test_log_probs_and_stop_strings_of_its_own_engine(own: httpx.Client, policy: str) -> None:
    answer = ask(own, temperature=0.0, max_tokens=12, logprobs=True, top_logprobs=3)["choices"][0]
    tokens = answer["logprobs"]["content"]
    assert len(tokens) == 12 and all(t["top_logprobs"][0]["logprob"] == pytest.approx(t["logprob"]) for t in tokens)
    engine = open_engine("transformers", policy)
    prompt = own.post("/v1/prompt", json={"model": "rarft", "messages": [{"role": "user", "content": QUESTION}]}).json()
    (given,) = engine.sample([prompt["prompt_token_ids"]], [1], [0], Sampling(12, 0.0))
    ((expected,),) = engine.score([prompt["prompt_token_ids"]], [[given[0].token_ids]])
    assert [token["logprob"] for token in tokens] == pytest.approx(expected.tolist(), abs=1e-3)
    engine.close()
    text = answer["message"]["content"]
    stop = text[5:7]
    cut = ask(own, temperature=0.0, max_tokens=12, stop=["never there", stop])["choices"][0]
    assert cut["message"]["content"] == text[: text.index(stop)] and cut["finish_reason"] == "stop"


def test_the_engine_goes_with_the_server(folder: Path, tmp_path: Path) -> None:
    with serving(folder, tmp_path / "log", "--engine", "transformers") as (process, client):
        assert client.get("/health").status_code == 200
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        handles = [os.pidfd_open(int(child)) for child in children]
        assert handles
        process.kill()
        import select

        for handle in handles:
            assert select.select([handle], [], [], 30)[0], "it has ended too"


def test_a_policy_that_cannot_be_loaded_is_told(folder: Path, tmp_path: Path) -> None:
    about = json.loads((folder / "bundle.json").read_text())
    weights = folder / "policy" / "model.safetensors"
    weights.unlink()
    del about["files"]["policy/model.safetensors"]
    (folder / "bundle.json").write_text(json.dumps(about))
    done = subprocess.run(
        [sys.executable, "-m", "rarft.cli", "serve", str(folder), "--port", "0", "--engine", "transformers"],
        capture_output=True, text=True, env={**os.environ, **ENV},
    )  # fmt: skip
    assert done.returncode == 2 and "this model folder holds no weights" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
