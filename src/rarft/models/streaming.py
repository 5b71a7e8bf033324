"""Sampling token by token for many requests at once: who comes joins the batch, who has ended leaves it.

Each turn of `Batch.step` runs the model once for all rows and gives every row its next token. A request's prompt runs
once and is copied to its rows; rows of different lengths stand side by side, padded on the left. Samples are drawn as
`generation.generate` draws them: the same seed gives the same tokens, up to floating-point sums that depend on who
else is in the batch. Models whose memory is more than keys and values take one request at a time. Left out: prompts in
chunks, so that a long prompt holds up the others while it is computed; a prefix cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from rarft.models.generation import Sampling, _draw
from rarft.models.packing import TokenIds, base_model, why_not_shared


@dataclass(frozen=True)
class Drawn:
    """A token that was drawn."""

    token: int
    logprob: float | None = None
    """In nats, before temperature and top-p; None unless asked for."""
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens with their log-probs."""


class Row(Protocol):
    """Where a row's tokens go."""

    def take(self, drawn: Drawn) -> bool:
        """One more token; whether the row has ended with it."""
        ...

    def is_wanted(self) -> bool:
        """Whether somebody still waits for it."""
        ...


@dataclass
class _Place:
    """A row in the batch."""

    row: Row
    sampling: Sampling
    noise: np.ndarray
    """Uniform numbers, one for each token it may have."""
    n_prompt: int
    top: int | None
    taken: int = 0


class Batch:
    """The rows that are being sampled.

    Args:
        model: a causal language model in evaluation mode.
    """

    def __init__(self, model: Any) -> None:
        self.base = base_model(model)
        self.device = self.base.get_input_embeddings().weight.device
        self.mixes = why_not_shared(self.base) is None
        """Whether requests may share the batch."""
        self._places: list[_Place] = []
        self._cache: Any = None
        self._mask = torch.zeros(0, 0, dtype=torch.long, device=self.device)
        self._tokens: list[int] = []

    def __len__(self) -> int:
        return len(self._places)

    @torch.inference_mode()
    def join(
        self,
        prompt: TokenIds,
        rows: Sequence[Row],
        sampling: Sampling,
        seed: int,
        max_new_tokens: int,
        top: int | None = None,
    ) -> None:
        """Run a prompt and draw the first token of each of its rows.

        Args:
            seed: as `generation.generate` has it for one prompt.
            max_new_tokens: most tokens of a row; the caller's rows end by then.
            top: how many alternatives to give with each token's log-prob; None for no log-probs.
        """
        cache = DynamicCache() if self.mixes else DynamicCache(config=self.base.config)
        ids = torch.tensor([list(prompt)], device=self.device)
        logits = self.base(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        noise = np.random.default_rng((seed, 0)).random((len(rows), max_new_tokens))
        places = [_Place(row, sampling, of, len(prompt), top) for row, of in zip(rows, noise, strict=True)]
        cache.batch_repeat_interleave(len(rows))
        self._add(cache, places, torch.ones(len(rows), len(prompt), dtype=torch.long, device=self.device))
        self._give(range(len(self._places) - len(rows), len(self._places)), logits.expand(len(rows), -1))
        self._thin_out()

    @torch.inference_mode()
    def step(self) -> None:
        """Draw the next token of every row; those that end with it leave, and those that nobody wants."""
        self._thin_out(lambda place: place.row.is_wanted())
        if not self._places:
            return
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self), 1)], 1)
        positions = [place.n_prompt + place.taken - 1 for place in self._places]
        logits = self.base(
            input_ids=torch.tensor(self._tokens, device=self.device).unsqueeze(1),
            attention_mask=self._mask,
            position_ids=torch.tensor(positions, device=self.device).unsqueeze(1),
            past_key_values=self._cache,
            use_cache=True,
        ).logits[:, -1]
        self._give(range(len(self)), logits)
        self._thin_out()

    def drop_all(self) -> list[Row]:
        """Empty the batch; the rows that were in it."""
        rows = [place.row for place in self._places]
        self._places, self._tokens, self._cache = [], [], None
        return rows

    def _give(self, which: range, logits: Tensor) -> None:
        """Draw a token for each of these rows from its logits (rows, vocabulary), and hand it over."""
        for i, row_logits in zip(which, logits, strict=True):
            place = self._places[i]
            uniform = torch.tensor([place.noise[place.taken]], dtype=torch.float64, device=self.device)
            token = int(_draw(row_logits.unsqueeze(0), uniform, place.sampling))
            place.taken += 1
            self._tokens[i] = token
            if place.row.take(_told(row_logits, token, place.top)):
                self._tokens[i] = -1

    def _add(self, cache: Any, places: list[_Place], mask: Tensor) -> None:
        """Put rows with their own cache beside those that are there, the shorter ones padded on the left."""
        if not self._places:
            self._cache, self._mask = cache, mask
        else:
            width = max(mask.size(1), self._mask.size(1))
            own, new = width - self._mask.size(1), width - mask.size(1)
            self._mask = torch.cat([pad(self._mask, (own, 0)), pad(mask, (new, 0))])
            for ours, theirs in zip(self._cache.layers, cache.layers, strict=True):
                ours.keys = torch.cat([pad(ours.keys, (0, 0, own, 0)), pad(theirs.keys, (0, 0, new, 0))])
                ours.values = torch.cat([pad(ours.values, (0, 0, own, 0)), pad(theirs.values, (0, 0, new, 0))])
        self._places = [*self._places, *places]
        self._tokens += [0] * len(places)

    def _thin_out(self, wanted: Callable[[_Place], bool] = lambda place: True) -> None:
        """Let rows go that have ended or that are not wanted, and the padding that no row needs any more."""
        keep = [i for i, place in enumerate(self._places) if self._tokens[i] >= 0 and wanted(place)]
        if len(keep) == len(self._places):
            return
        self._places, self._tokens = [self._places[i] for i in keep], [self._tokens[i] for i in keep]
        if not keep:
            self._cache = None
            return
        index = torch.tensor(keep, device=self.device)
        self._mask = self._mask[index]
        self._cache.batch_select_indices(index)
        empty = int(self._mask.argmax(1).min())  # leading zeros that all rows have
        if empty and self.mixes:
            self._mask = self._mask[:, empty:]
            for layer in self._cache.layers:
                layer.keys, layer.values = layer.keys[:, :, empty:], layer.values[:, :, empty:]


def _told(logits: Tensor, token: int, top: int | None) -> Drawn:
    if top is None:
        return Drawn(token)
    logprobs = logits.float().log_softmax(-1)
    values, ids = logprobs.topk(top) if top else (logprobs[:0], logprobs[:0].long())
    return Drawn(token, float(logprobs[token]), tuple(zip(ids.tolist(), values.tolist(), strict=True)))
