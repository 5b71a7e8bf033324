"""An engine that keeps the prompts it is given: a door for `rarft evaluate --engine tests.serve.recording:Engine`."""

from __future__ import annotations

from typing import Any

from rarft.models.engines.base import Completion, EngineOptions
from rarft.models.loading import load_tokenizer

PROMPTS: list[list[int]] = []


class Engine:
    """Answers nothing, and remembers what it was asked."""

    context_length = None
    calls_at_once = 1
    call_tokens = 1

    def __init__(self, model: str, options: EngineOptions) -> None:
        self.tokenizer = load_tokenizer(model)

    def sample(self, prompts: Any, counts: Any, seeds: Any, sampling: Any) -> list[list[Completion]]:
        PROMPTS.extend(list(prompt) for prompt in prompts)
        return [[Completion([1], True)] * count for count in counts]

    def close(self) -> None:
        """Nothing to give back."""
