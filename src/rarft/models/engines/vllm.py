"""The engine vLLM: one engine per device, each in a process of its own, fed from this one.

A process holds a whole engine (`vllm_worker.py`; with tensor parallelism vLLM starts more below it) and dies with us,
so a killed run leaves none behind. Each prompt goes to the engine with the least to do. Requests of several calls run
in the same batch. Sampling uses vLLM's prefix cache; scoring reads `prompt_logprobs`, for which vLLM computes the whole
prompt anew. Left out: GGUF files and LoRA adapters, which `transformers` loads; several nodes.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, GenerationConfig

from rarft.core.errors import InputError, StageError
from rarft.core.processes import ended, start_child
from rarft.core.progress import log
from rarft.models.engines.base import Completion, EngineOptions, Sampling, TokenIds, gpus_of
from rarft.models.loading import context_length, load_tokenizer
from rarft.models.number_types import compute_type

SEEDS = 2**20
"""vLLM gives sample s of a prompt the seed + s: seeds of prompts lie that far apart."""
NOT_FOR_VLLM = {
    "model": "--model",
    "tokenizer": "--model",
    "dtype": "the stage's dtype option",
    "seed": "--seed",
    "trust_remote_code": "nothing: code from a model's folder is not run",
    "load_format": "nothing: weights are read from safetensors",
}


class VllmEngine:
    """Samples and scores with vLLM.

    Args:
        model: Hugging Face id or folder with safetensors.

    Raises:
        InputError: vLLM is not installed, or cannot read this model or these options.
        StageError: the model does not fit, or an engine did not start.
    """

    calls_at_once = 8
    call_tokens = 1

    def __init__(self, model: str, options: EngineOptions) -> None:
        arguments = engine_arguments(model, options)
        self.tokenizer = load_tokenizer(model)
        self._stop = stop_ids(model, self.tokenizer)
        machines = list(_devices(arguments))
        if len(machines) > 1:
            log(f"vllm: {len(machines)} engines")
        self._children = [_Child(arguments, env) for env in machines]
        try:
            lengths = [child.wait_until_ready(model) for child in self._children]
        except BaseException:
            self.close()
            raise
        self.context_length: int | None = min(lengths)

    def sample(
        self, prompts: Sequence[TokenIds], counts: Sequence[int], seeds: Sequence[int], sampling: Sampling
    ) -> list[list[Completion]]:
        """As `Engine.sample`."""
        answers = self._ask(
            {"prompt": list(prompt), "params": sampling_params(count, seed, sampling, self._stop)}
            for prompt, count, seed in zip(prompts, counts, seeds, strict=True)
        )
        return [[Completion(ids, reason != "length") for ids, reason in answer] for answer in answers]

    def score(self, prompts: Sequence[TokenIds], completions: Sequence[Sequence[TokenIds]]) -> list[list[np.ndarray]]:
        """As `Engine.score`. Raises InputError as `check_room`."""
        check_room(prompts, completions, self.context_length)
        answers = iter(
            self._ask(
                {"prompt": [*prompt, *row], "params": SCORING, "from": len(prompt)}
                for prompt, rows in zip(prompts, completions, strict=True)
                for row in rows
            )
        )
        return [[np.array(next(answers), dtype=np.float32) for _ in rows] for rows in completions]

    def close(self) -> None:
        """End the engines' processes."""
        for child in self._children:
            child.close()

    def _ask(self, requests: Iterable[dict[str, Any]]) -> list[Any]:
        waiting = [min(self._children, key=lambda child: child.load).ask(request) for request in requests]
        return [future.result() for future in waiting]


def check_room(
    prompts: Sequence[TokenIds], completions: Sequence[Sequence[TokenIds]], context_length: int | None
) -> None:
    """Raise InputError for a text that fills the context: vLLM wants room for a token of its own, also to score."""
    longest = max(len(prompt) + len(row) for prompt, of in zip(prompts, completions, strict=True) for row in of)
    if context_length is not None and longest >= context_length:
        raise InputError(
            f"a text of {longest} tokens to be scored, of which vLLM takes one less than the model's {context_length}; "
            "lower max-trace-tokens, or use --engine transformers"
        )


SCORING: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}


def sampling_params(count: int, seed: int, sampling: Sampling, stop: list[int]) -> dict[str, Any]:
    """vLLM's sampling parameters. Nothing is left to defaults, which a server takes from the model's folder."""
    return {
        "n": count,
        "seed": seed * SEEDS % 2**62,
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p if sampling.temperature > 0 else 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "stop_token_ids": stop,
    }


def stop_ids(model: str, tokenizer: Any) -> list[int]:
    """Tokens that end a completion: the tokenizer's, and those that the model's generation config adds."""
    more: Any = None
    with suppress(OSError):
        more = GenerationConfig.from_pretrained(model).eos_token_id
    ids = {tokenizer.eos_token_id, *(more if isinstance(more, list) else [more])}
    return sorted(int(i) for i in ids if i is not None)


def engine_arguments(model: str, options: EngineOptions) -> dict[str, Any]:
    """What vLLM's engine is made with. Raises InputError for a model or an option that it does not take."""
    path = Path(model).expanduser()
    if path.is_file() or (path / "adapter_config.json").is_file():
        what = "a GGUF file" if path.is_file() else "a LoRA adapter"
        raise InputError(f"{model}: {what}, which --engine vllm does not read; use --engine transformers")
    for name in options.vllm:
        if name in NOT_FOR_VLLM:
            raise InputError(f"vllm.{name}: is set by {NOT_FOR_VLLM[name]}")
    try:
        config = AutoConfig.from_pretrained(path if path.is_dir() else model)
    except (OSError, ValueError) as error:
        raise InputError(f"{model}: no model configuration found ({str(error).strip().splitlines()[0]})") from None
    gpu = torch.cuda.is_available()
    own = str(getattr(config, "dtype", None) or "auto").removeprefix("torch.")  # vLLM's auto makes bfloat16 of float32
    dtype = compute_type(own if options.dtype == "auto" else options.dtype, "cuda" if gpu else "cpu")
    given = {"load_format": "safetensors", **options.vllm, "model": model, "dtype": dtype}
    if gpu:
        return given
    # a seeded request whose prompt comes in chunks ends vLLM 0.31's CPU backend ("CPU Generator does not use offset")
    longest = given.get("max_model_len") or context_length(config) or 0
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, longest), **given}


def _devices(arguments: dict[str, Any]) -> Iterable[dict[str, str]]:
    """The environment of each engine. Takes `data_parallel_size`, the number of engines, out of the arguments."""
    asked = arguments.pop("data_parallel_size", None)
    if torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        devices = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
        each = gpus_of(arguments)
        count = int(asked or len(devices) // each)
        if not 0 < count * each <= len(devices):
            raise InputError(
                f"vllm: {count or 1} engines of {each} GPUs each are asked for, and {len(devices)} are there; lower "
                "vllm.data-parallel-size or vllm.tensor-parallel-size"
            )
        for i in range(count):
            yield {"CUDA_VISIBLE_DEVICES": ",".join(devices[i * each : (i + 1) * each])}
        return
    count = int(asked or 1)
    threads = str(max(1, len(os.sched_getaffinity(0)) // count))
    for _ in range(count):
        yield {
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
            "VLLM_CPU_OMP_THREADS_BIND": os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "nobind"),
            "VLLM_CPU_KVCACHE_SPACE": os.environ.get("VLLM_CPU_KVCACHE_SPACE", "2"),
        }


class _Child:
    """An engine in a process of its own: JSON lines in, JSON lines out."""

    def __init__(self, arguments: dict[str, Any], env: dict[str, str]) -> None:
        self._process = start_child(
            [sys.executable, "-m", "rarft.models.engines.vllm_worker", str(os.getpid())],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._ids = itertools.count()
        self._waiting: dict[str, Future[Any]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._ready: Future[Any] = Future()
        self._send(arguments)
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def load(self) -> int:
        """Requests that wait for their answers."""
        return len(self._waiting)

    def wait_until_ready(self, model: str) -> int:
        """The engine's context length, in tokens. Raises InputError or StageError where it did not start."""
        told = self._ready.result()
        if "failed" in told:
            raise (InputError if told.get("bad_input") else StageError)(f"{model}: {told['failed']}")
        return int(told["context_length"])

    def ask(self, request: dict[str, Any]) -> Future[Any]:
        """Send a request; its answer comes in the future, or StageError if the process ends first."""
        future: Future[Any] = Future()
        with self._lock:
            name = str(next(self._ids))
            self._waiting[name] = future
            try:
                self._send({"id": name, **request})
            except OSError:
                if self._waiting.pop(name, None):  # else the listener has told
                    future.set_exception(self._what_happened())
        return future

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._process.kill()
        self._process.wait()

    def _send(self, value: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value).encode() + b"\n")
        self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            if "id" not in told:
                self._ready.set_result(told)
            elif "error" in told:
                self._take(told["id"]).set_exception(StageError(f"vllm: {told['error']}"))
            else:
                self._take(told["id"]).set_result(told["answer"])
        self._process.wait()
        if not self._ready.done():
            self._ready.set_result({"failed": str(self._what_happened())})
        with self._lock:
            for future in self._waiting.values():
                future.set_exception(self._what_happened())
            self._waiting.clear()

    def _take(self, name: str) -> Future[Any]:
        with self._lock:
            return self._waiting.pop(name)

    def _what_happened(self) -> StageError:
        if self._closed:
            return StageError("the vLLM engine was closed")
        code = self._process.wait()
        return StageError(
            f"the vLLM engine {ended(code)}; what it said stands above. The same command goes on where it stopped"
        )
