"""The engine in this process: transformers, with a group's prompt computed once (`generation.py`, `packing.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from rarft.models.engines.base import Completion, EngineOptions, Sampling, TokenIds
from rarft.models.generation import generate
from rarft.models.loading import context_length, load_policy
from rarft.models.number_types import compute_type
from rarft.models.packing import base_model, score

CPU_WORK, GPU_WORK = 6e13, 6e16
"""Floating-point operations of a call, for `call_tokens`: problems of one call share what their traces cost, and a kill
loses a call. On a CPU that computes in bfloat16, twice as many: a few minutes on two cores either way."""
MOST_CALL_TOKENS = 1 << 19


class TransformersEngine:
    """Samples from, and scores under, a model that is loaded already: also one that is being trained.

    Args:
        model: a causal language model, also inside PEFT or a distributed wrapper.
        autocast: run under autocast in this dtype.
    """

    calls_at_once = 1
    scores_ends = True

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        options: EngineOptions | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.model, self.tokenizer, self.autocast = model, tokenizer, autocast
        self.options = options or EngineOptions()
        base = base_model(model)
        self.context_length = context_length(base.config)
        work = GPU_WORK
        if base.get_input_embeddings().weight.device.type == "cpu":
            work = CPU_WORK * (2 if base.dtype == torch.bfloat16 else 1)
        self.call_tokens = min(MOST_CALL_TOKENS, int(work / (2 * base.num_parameters())))

    @classmethod
    def load(cls, model: str, options: EngineOptions) -> TransformersEngine:
        """Load the model called `model`. Raises InputError as `load_policy`."""
        policy, tokenizer = load_policy(model, dtype=options.dtype)
        number_type = str(policy.dtype).removeprefix("torch.")
        if compute_type(number_type, policy.device.type) != number_type:
            policy = policy.float()
        return cls(policy, tokenizer, options)

    def sample(
        self, prompts: Sequence[TokenIds], counts: Sequence[int], seeds: Sequence[int], sampling: Sampling
    ) -> list[list[Completion]]:
        """As `Engine.sample`."""
        return generate(
            self.model,
            self.tokenizer,
            prompts,
            num_samples=counts,
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=seeds,
            batch_size=self.options.batch_size,
            autocast=self.autocast,
        )

    def score(
        self,
        prompts: Sequence[TokenIds],
        completions: Sequence[Sequence[TokenIds]],
        wanted: Sequence[Sequence[int]] | None = None,
    ) -> list[list[np.ndarray]]:
        """As `Engine.score`; with `wanted`, of so many tokens at the end of each completion only."""
        batch_tokens, autocast = self.options.batch_tokens, self.autocast
        found = score(self.model, prompts, completions, wanted=wanted, batch_tokens=batch_tokens, autocast=autocast)
        return [[row.numpy() for row in rows] for rows in found]

    def close(self) -> None:
        """Let the model go."""
        self.model = None
