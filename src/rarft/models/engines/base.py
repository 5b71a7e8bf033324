"""What an engine is: prompts as token ids in, sampled completions or log-probs out.

Prompts are made by `rarft.models.prompts` alone and go in as token ids, so that every engine sees the same prompt to
the token. `transformers` runs in this process, `vllm` in child processes, one for each device, and a URL is a running
vLLM; each has a file beside this one. An engine of one's own is a class named as `module:Class`, made as
`Class(model, options)`. `open_engine` makes them all. Left out: chat, images, streaming.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

from pydantic import field_validator

from rarft.core.cluster import MOST_CALLS
from rarft.core.config import Config, NotInResult

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

TokenIds = Sequence[int]
T = TypeVar("T")
R = TypeVar("R")

OF_THE_MACHINE = frozenset({
    *("gpu_memory_utilization", "kv_cache_memory_bytes", "swap_space", "cpu_offload_gb", "block_size"),
    *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "distributed_executor_backend"),
    *("max_num_seqs", "max_num_batched_tokens", "max_model_len", "enforce_eager", "enable_prefix_caching"),
})  # fmt: skip
"""Arguments of vLLM that change what a run takes, and not what it finds. Any other counts as part of the result."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. Temperature 0 takes the likeliest token; top_p 1 cuts nothing off."""

    max_new_tokens: int
    """Most tokens of a completion, the end token included."""
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True)
class Completion:
    """A sampled completion. `finished` is false when it hit the token limit; the end token is kept when it did not."""

    token_ids: list[int]
    finished: bool


class Engine(Protocol):
    """Samples from one model and scores under it."""

    tokenizer: PreTrainedTokenizerBase
    context_length: int | None
    """Most tokens the model takes, prompt and completion together; None where nobody knows."""
    call_tokens: int
    """How many tokens a call for scores should hold at least: small models waste time on small ones. It is
    some minutes of work at most, which is what a kill may cost."""

    @property
    def calls_at_once(self) -> int:
        """How many calls to have in flight, from threads: more than 1 keeps a batch full while its longest samples end.

        May grow and shrink; a plain attribute will do.
        """
        ...

    def sample(
        self, prompts: Sequence[TokenIds], counts: Sequence[int], seeds: Sequence[int], sampling: Sampling
    ) -> list[list[Completion]]:
        """Sample completions of each prompt.

        Args:
            prompts: token ids; their lengths may differ.
            counts: how many completions of each prompt.
            seeds: a seed of each prompt's own: a sample does not depend on what else is asked for in the same call.

        Returns:
            `result[n][s]`: sample s of prompt n.
        """
        ...

    def score(self, prompts: Sequence[TokenIds], completions: Sequence[Sequence[TokenIds]]) -> list[list[np.ndarray]]:
        """Log-probs of given completions, in nats.

        Args:
            prompts: token ids, each at least one.
            completions: for each prompt its completions, each at least one token; their numbers may differ.

        Returns:
            `result[n][g]`: float32, one log-prob per token of `completions[n][g]`.
        """
        ...

    def close(self) -> None:
        """Give memory and processes back."""
        ...


class EngineConfig(Config):
    """Where tokens and log-probs come from: flags that every stage with an engine has."""

    engine: Annotated[str, NotInResult] = "auto"
    """transformers: in this process; vllm: one for each GPU; the URL of a running vLLM; or module:Class. auto: vllm
    where it is installed and a GPU is there, else transformers."""
    vllm: dict[str, Any] = {}
    """Arguments of vLLM's engine, as vLLM names them, such as max-model-len or gpu-memory-utilization."""

    @field_validator("vllm")
    @classmethod
    def _as_vllm_names_them(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {name.replace("-", "_"): argument for name, argument in value.items()}

    def result_values(self) -> dict[str, Any]:
        """As `Config.result_values`, without the arguments of vLLM that only say how to use the machine."""
        values = super().result_values()
        kept = {name: value for name, value in values.pop("vllm").items() if name not in OF_THE_MACHINE}
        return values | ({"vllm": kept} if kept else {})


@dataclass(frozen=True)
class EngineOptions:
    """What a stage asks of its engine."""

    dtype: str = "auto"
    """Number type: auto (that of the weights; float32 on a CPU without bfloat16), float32, bfloat16 or float16."""
    batch_size: int = 64
    """Completions sampled at once, in this process."""
    batch_tokens: int = 4096
    """Most tokens scored at once, in this process."""
    vllm: dict[str, Any] = field(default_factory=dict)
    """Arguments of vLLM's engine."""


def gpus_of(arguments: Mapping[str, Any]) -> int:
    """How many GPUs one engine of vLLM with these arguments takes."""
    return int(arguments.get("tensor_parallel_size", 1)) * int(arguments.get("pipeline_parallel_size", 1))


class Metered:
    """An engine, with its tokens and its busy time counted. Calls may come from several threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.tokenizer, self.context_length = engine.tokenizer, engine.context_length
        self.call_tokens: int = getattr(engine, "call_tokens", 1)
        self.tokens_in = self.tokens_out = 0
        self.seconds = 0.0
        self._running, self._since, self._lock = 0, 0.0, threading.Lock()

    @property
    def calls_at_once(self) -> int:
        """As `Engine.calls_at_once`; grows and shrinks where the engine's does."""
        return int(getattr(self.engine, "calls_at_once", 1))

    def sample(
        self, prompts: Sequence[TokenIds], counts: Sequence[int], seeds: Sequence[int], sampling: Sampling
    ) -> list[list[Completion]]:
        """As `Engine.sample`."""
        with self._busy():
            groups = self.engine.sample(prompts, counts, seeds, sampling)
        self._count(sum(map(len, prompts)), sum(len(row.token_ids) for group in groups for row in group))
        return groups

    def score(
        self,
        prompts: Sequence[TokenIds],
        completions: Sequence[Sequence[TokenIds]],
        wanted: Sequence[Sequence[int]] | None = None,
    ) -> list[list[np.ndarray]]:
        """As `Engine.score`.

        Args:
            wanted: of how many tokens at each completion's end; None: of all. An engine that `scores_ends` computes the
                log-probs of no others.
        """
        more = () if wanted is None or not getattr(self.engine, "scores_ends", False) else (wanted,)
        with self._busy():
            rows = self.engine.score(prompts, completions, *more)
        self._count(sum(map(len, prompts)) + sum(len(row) for group in completions for row in group), 0)
        if wanted is not None and not more:
            rows = [[row[-n:] for row, n in zip(*of, strict=True)] for of in zip(rows, wanted, strict=True)]
        return rows

    def each(self, call: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
        """Each item with its `call`, as they end; `calls_at_once` run at a time, in threads where there are several."""
        if self.calls_at_once == 1:
            for item in items:
                yield item, call(item)
            return
        running: dict[Future[R], T] = {}

        def ended() -> Iterator[tuple[T, R]]:
            done = wait(running, return_when=FIRST_COMPLETED).done
            for future in sorted(done, key=lambda one: one.exception() is not None):  # what was computed is not lost
                yield running.pop(future), future.result()

        pool = ThreadPoolExecutor(MOST_CALLS)
        try:
            for item in items:
                running[pool.submit(call, item)] = item
                while len(running) >= self.calls_at_once:
                    yield from ended()
            while running:
                yield from ended()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def throughput(self) -> dict[str, Any]:
        """For the manifest: seconds in which a call was running, in this run of the stage, and tokens per second."""
        rates = {"in": self.tokens_in, "out": self.tokens_out}
        per_second = {way: round(n / max(self.seconds, 1e-9), 1) for way, n in rates.items()}
        return {"engine_seconds": round(self.seconds, 3), "tokens_per_second": per_second}

    def close(self) -> None:
        """As `Engine.close`."""
        self.engine.close()

    @contextmanager
    def _busy(self) -> Iterator[None]:
        with self._lock:
            self._running += 1
            if self._running == 1:
                self._since = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    self.seconds += time.monotonic() - self._since

    def _count(self, tokens_in: int, tokens_out: int) -> None:
        with self._lock:
            self.tokens_in += tokens_in
            self.tokens_out += tokens_out
