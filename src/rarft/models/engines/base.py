"""What an engine is: prompts as token ids in, sampled completions or log-probs out.

Prompts are made by `rarft.models.prompts` alone and go in as token ids, so that every engine sees the same prompt to
the token. `open_engine`, beside this file, makes one. An engine of one's own is a class named as
`module:Class`, made as `Class(model, options)`. Left out: chat, images, streaming.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

from rarft.core.config import Config, NotInResult

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

TokenIds = Sequence[int]


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
    """transformers: in this process; vllm; the URL of a running vLLM; or module:Class. auto: vllm where it is installed
    and a GPU is there, else transformers."""


@dataclass(frozen=True)
class EngineOptions:
    """What a stage asks of its engine."""

    dtype: str = "auto"
    """Number type of the weights: auto (that of the weights), float32, bfloat16 or float16."""
    batch_size: int = 64
    """Completions sampled at once, in this process."""
    batch_tokens: int = 16384
    """Most tokens scored at once, in this process."""
