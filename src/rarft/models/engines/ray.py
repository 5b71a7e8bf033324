"""The engines of a Ray cluster: one in each of its workers (`rarft.core.cluster`), fed from this process.

    rarft label --ray 10.0.0.1:6379 --labeler likelihood --model /shared/policy ...

A call goes to one engine whole, so what comes out is what that engine gives for it: with `transformers` and one kind of
machine, that of a run without Ray to the bit. The tokenizer is loaded here as well; prompts are made here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rarft.core.cluster import Pool
from rarft.models.engines.base import Completion, EngineOptions, Metered, Sampling, TokenIds, gpus_of
from rarft.models.loading import load_tokenizer


class RayEngine:
    """Samples and scores with the engines of a cluster.

    Args:
        address: `local` or `host:port`.
        make: makes a worker's engine.
        model: Hugging Face id, folder or GGUF file, at the same path on every node.

    Raises:
        InputError: no such model, here or on a node; Ray is not installed.
        StageError: no such cluster, or no worker starts.
    """

    scores_ends = True

    def __init__(self, address: str, make: Callable[[], Metered], model: str, options: EngineOptions) -> None:
        self.tokenizer = load_tokenizer(model)
        self._pool = Pool(address, make, gpus=gpus_of(options.vllm))
        self.context_length: int | None = self._pool.get("context_length")
        self.call_tokens: int = self._pool.get("call_tokens")

    @property
    def calls_at_once(self) -> int:
        """One call more than the workers take now, so that none of them waits for the next."""
        return self._pool.places + 1

    def sample(
        self, prompts: Sequence[TokenIds], counts: Sequence[int], seeds: Sequence[int], sampling: Sampling
    ) -> list[list[Completion]]:
        """As `Engine.sample`."""
        groups: list[list[Completion]] = self._pool.call("sample", prompts, counts, seeds, sampling)
        return groups

    def score(
        self,
        prompts: Sequence[TokenIds],
        completions: Sequence[Sequence[TokenIds]],
        wanted: Sequence[Sequence[int]] | None = None,
    ) -> list[list[np.ndarray]]:
        """As `Metered.score`."""
        rows: list[list[np.ndarray]] = self._pool.call("score", prompts, completions, wanted)
        return rows

    def close(self) -> None:
        """End the workers."""
        self._pool.close()
