"""Sampling several completions per prompt: what the samples of a group have in common is computed once.

`model.generate` copies a prompt's keys and values to each of its G samples and reads all copies at every token. Here
the prompt's keys and values stay single: an attention function, active only during decoding, attends from the rows of
a group to the one prompt and to each row's own tokens, as under one softmax. The distribution is that of
`model.generate`.

On a CPU samples of a prompt share a row of the batch until they draw different tokens, so that a policy that is sure
of most of its tokens computes a fraction of them. On a GPU a step takes about as long with few rows as with many, and
there each sample has its row.

Each sample has its own stream of random numbers, drawn from (seed, prompt, sample), so that the result does not depend
on how prompts are batched. Rows without samples leave the batch. What is left out: beam search, repetition penalties,
constrained decoding, and models whose cache is not keys and values (these go through `model.generate`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from rarft.models.engines.base import Completion
from rarft.models.loading import eos_token_ids
from rarft.models.packing import TokenIds, _autocast, base_model, pad_left, why_not_shared

ATTENTION = "rarft_grouped"
GROW = 64
TILE = 128
SHARE_ROWS_ON = frozenset({"cpu"})
"""Kinds of device on which samples share a row until they differ."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. Temperature 0 takes the likeliest token; top_p 1, top_k 0 and min_p 0 cut nothing off."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0


def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[TokenIds],
    *,
    num_samples: int | Sequence[int] = 1,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    seed: int | Sequence[int] = 0,
    first_sample: Sequence[int] | None = None,
    batch_size: int = 64,
    eos_ids: Sequence[int] | None = None,
    autocast: torch.dtype | None = None,
) -> list[list[Completion]]:
    """Sample completions of each prompt.

    Args:
        prompts: token ids; their lengths may differ.
        num_samples: completions per prompt: one number, or one for each prompt.
        max_new_tokens: most tokens of a completion, the end token included.
        seed: one number, or one for each prompt. Equal seed, prompt and place give equal samples.
        first_sample: for each prompt the place of its first sample; another process takes those before it. Default 0.
        batch_size: most samples (of all prompts) decoded at a time. Does not change the result.
        eos_ids: tokens that end a completion; by default the tokenizer's and the model's own.
        autocast: run under autocast in this dtype.

    Returns:
        `result[n][s]`: sample s of prompt n.
    """
    counts = [num_samples] * len(prompts) if isinstance(num_samples, int) else list(num_samples)
    seeds = [(seed, n) for n in range(len(prompts))] if isinstance(seed, int) else [(s, 0) for s in seed]
    skip = list(first_sample) if first_sample is not None else [0] * len(prompts)
    sampling = Sampling(temperature, top_p, top_k, min_p)
    base = base_model(model)
    device = base.get_input_embeddings().weight.device
    ends = torch.tensor(list(eos_ids or eos_token_ids(base, tokenizer)), device=device)
    result: list[list[Completion]] = [[] for _ in prompts]
    was_training = base.training
    base.eval()
    try:
        with torch.no_grad(), _autocast(device, autocast):
            for jobs in _batches(prompts, counts, batch_size):
                noise = [
                    np.random.default_rng(seeds[n]).random((skip[n] + counts[n], max_new_tokens))[skip[n] + start :][
                        :size
                    ]
                    for n, start, size in jobs
                ]
                rows = [prompts[n] for n, _, _ in jobs]
                for (n, _, _), completions in zip(jobs, _decode(base, rows, noise, sampling, ends), strict=True):
                    result[n].extend(completions)
    finally:
        base.train(was_training)
    return result


def _batches(
    prompts: Sequence[TokenIds], counts: Sequence[int], batch_size: int
) -> Iterator[list[tuple[int, int, int]]]:
    """Batches of (prompt, first sample, number of samples), prompts of like length together."""
    batch: list[tuple[int, int, int]] = []
    rows = 0
    for n in sorted(range(len(prompts)), key=lambda n: len(prompts[n])):
        start = 0
        while start < counts[n]:
            room = batch_size - rows
            size = counts[n] - start
            if size > room and (rows or size > batch_size):
                if rows:
                    yield batch
                    batch, rows = [], 0
                    continue
                size = batch_size
            batch.append((n, start, size))
            start, rows = start + size, rows + size
    if batch:
        yield batch


# Decoding


def _decode(
    base: PreTrainedModel, prompts: list[TokenIds], noise: list[np.ndarray], sampling: Sampling, ends: Tensor
) -> list[list[Completion]]:
    """Sample `len(noise[n])` completions of each prompt n, of at most `noise[n].shape[1]` tokens."""
    config = base.config.get_text_config(decoder=True)
    latent = getattr(config, "kv_lora_rank", None)  # such a cache holds no keys and values
    if latent or why_not_shared(base) is not None or not getattr(base, "_supports_attention_backend", False):
        return _decode_plainly(base, prompts, noise, sampling, ends)
    device, steps = ends.device, noise[0].shape[1]
    ids, mask = pad_left(prompts, 0, device)
    lengths = mask.sum(-1)
    on_prompt = base(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        past_key_values=DynamicCache(),
        use_cache=True,
        logits_to_keep=1,
    )
    cache = GroupedCache(on_prompt.past_key_values, mask)
    samples = _Samples(noise, cache, device)
    logits = on_prompt.logits[:, -1]
    del on_prompt  # with it the keys and values of prompts that leave
    with _attention(base, cache):
        for step in range(steps):
            tokens = _draw(logits, samples.uniform(step), sampling, samples.row)
            samples.take(tokens, ends)
            if step + 1 == steps:
                break
            if step == 0 or device.type == "cpu" or step % 8 == 7:  # on a GPU, looking waits for it
                tokens = samples.arrange(tokens)
                if not len(tokens):
                    break
            logits = base(
                input_ids=samples.of_rows(tokens).unsqueeze(1),
                position_ids=(lengths[samples.prompt] + step).unsqueeze(1),
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
    return samples.completions(set(ends.tolist()))


def _decode_plainly(
    base: PreTrainedModel, prompts: list[TokenIds], noise: list[np.ndarray], sampling: Sampling, ends: Tensor
) -> list[list[Completion]]:
    """The same through `model.generate`: the prompt copied to every row."""
    ids, mask = pad_left([p for p, of in zip(prompts, noise, strict=True) for _ in of], 0, ends.device)
    draw: dict[str, Any] = {"do_sample": False}
    if sampling.temperature > 0:
        draw = {"do_sample": True, **sampling.__dict__, "min_p": sampling.min_p or None}
    with torch.random.fork_rng(devices=[ends.device] if ends.device.type == "cuda" else []):
        torch.manual_seed(int(noise[0][0, 0] * 2**53))
        out = base.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=noise[0].shape[1],
            eos_token_id=ends.tolist(),
            pad_token_id=int(ends[0]),
            **draw,
        )[:, ids.size(1) :]
    rows = iter(out.tolist())
    stop = set(ends.tolist())
    return [[_cut(next(rows), stop) for _ in of] for of in noise]


def _cut(tokens: list[int], stop: set[int]) -> Completion:
    end = next((i for i, token in enumerate(tokens) if token in stop), None)
    return Completion(tokens if end is None else tokens[: end + 1], end is not None)


class _Samples:
    """What has been drawn, and which row of the batch computes what comes next.

    Attributes:
        row: (S,) the row of each sample that is still drawn; ended ones are among them until `arrange`.
        prompt: (R,) the prompt of each row.
    """

    def __init__(self, noise: list[np.ndarray], cache: GroupedCache, device: torch.device) -> None:
        self.counts = [len(of) for of in noise]
        self.noise = torch.from_numpy(np.concatenate(noise)).to(device)
        self.cache = cache
        self.shares = device.type in SHARE_ROWS_ON
        self.sample = torch.arange(sum(self.counts), device=device)  # (S,) as `row`
        self.prompt = torch.arange(len(noise), device=device)
        self.row = self.prompt.repeat_interleave(torch.tensor(self.counts, device=device))
        self.done = torch.zeros_like(self.row, dtype=torch.bool)
        self.out: list[tuple[Tensor, Tensor]] = []  # per step: samples and their tokens

    def uniform(self, step: int) -> Tensor:
        """(S,)"""
        return self.noise[self.sample, step]

    def take(self, tokens: Tensor, ends: Tensor) -> None:
        """Note the token (S,) of each sample."""
        self.out.append((self.sample, tokens))
        self.done |= torch.isin(tokens, ends)

    def of_rows(self, tokens: Tensor) -> Tensor:
        """The token (R,) of each row, from those of the samples (S,); 0 for a row without samples."""
        return tokens.new_zeros(len(self.prompt)).index_copy_(0, self.row, tokens)

    def arrange(self, tokens: Tensor) -> Tensor:
        """Let ended samples go, and give a row to all samples of a row that drew the same token; the tokens (S,) left.

        The first such samples stay in their row, the others get a copy of it. The batch is made anew where a quarter of
        its rows have no samples any more, and before it holds anything.
        """
        running = (~self.done).nonzero().squeeze(1)
        tokens, self.row, self.done = tokens[running], self.row[running], self.done[running]
        self.sample = self.sample[running]
        if not len(tokens):
            return tokens
        way = tokens if self.shares else torch.arange(len(tokens), device=tokens.device)
        ways = way.max() + 1
        distinct, new = torch.unique(self.row * ways + way, return_inverse=True)  # in the order of their rows
        parent = distinct // ways
        copied = torch.zeros_like(parent, dtype=torch.bool)
        copied[1:] = parent[1:] == parent[:-1]
        before, copies = len(self.prompt), parent[copied]
        if len(distinct) <= 0.75 * (before + len(copies)) or self.cache.holds_nothing():
            self.prompt = self.prompt[parent]
            self.cache.select(parent, self.prompt)
            self.row = new
            return tokens
        if len(copies):
            self.prompt = torch.cat([self.prompt, self.prompt[copies]])
            self.cache.copy(copies, self.prompt, most=len(tokens))
        self.row = torch.where(copied, before - 1 + copied.cumsum(0), parent)[new]
        return tokens

    def completions(self, stop: set[int]) -> list[list[Completion]]:
        drawn: list[list[int]] = [[] for _ in range(sum(self.counts))]
        for samples, tokens in self.out:
            for sample, token in zip(samples.tolist(), tokens.tolist(), strict=True):
                drawn[sample].append(token)
        rows = iter(drawn)
        return [[_cut(next(rows), stop) for _ in range(count)] for count in self.counts]


def _draw(logits: Tensor, uniform: Tensor, sampling: Sampling, row: Tensor | None = None) -> Tensor:
    """A token for each of `uniform` (S,), by inverting the cumulated probabilities of its row of logits (R, V) there.

    Args:
        row: (S,); by default sample s has row s.
    """
    row = torch.arange(len(uniform), device=logits.device) if row is None else row
    if sampling.temperature == 0:
        return logits.argmax(-1)[row]
    logits = logits.float()
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if sampling.top_k:
        least = logits.topk(min(sampling.top_k, logits.size(-1))).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1:
        ordered, where = logits.sort(descending=False)
        drop = ordered.softmax(-1).cumsum(-1) <= 1 - sampling.top_p
        drop[:, -1] = False
        logits = logits.masked_fill(drop.scatter(1, where, drop), -torch.inf)
    weights = (logits - logits.amax(-1, keepdim=True)).exp_()  # 1 for the likeliest
    if sampling.min_p:
        weights = weights.masked_fill(weights < sampling.min_p, 0.0)
    return _invert(weights, uniform.unsqueeze(1), row)


def _invert(weights: Tensor, uniform: Tensor, row: Tensor) -> Tensor:
    """Where the cumulated weights (R, V) of `row` (S,) pass the share `uniform` (S, 1) of their sum: tile, then token.

    Cumulating in float64 costs more than all else, so it is done for sums of tiles, and within one tile of each row.
    """
    vocabulary = weights.size(1)
    weights = torch.nn.functional.pad(weights, (0, -vocabulary % TILE))
    tiles = weights.view(len(weights), -1, TILE)
    until = tiles.sum(-1).double().cumsum(-1)
    tile, share = _pass(until[row], uniform)
    inside = tiles[row, tile.squeeze(1)].double().cumsum(-1)
    token, _ = _pass(inside, share)
    return (tile * TILE + token).squeeze(1).clamp(max=vocabulary - 1)  # beyond it only where a weight is not a number


def _pass(cumulated: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """The first of cumulated weights (R, N) above the share (R, 1) of the last, and how far into it, from 0 to 1.

    A share so near to 1 that rounding makes it the whole counts as a little less: what passes it has weight.
    """
    target = share.clamp(0, 1 - 2**-40) * cumulated[:, -1:]
    place = torch.searchsorted(cumulated, target, right=True).clamp_(max=cumulated.size(1) - 1)
    before = torch.where(place > 0, cumulated.gather(1, (place - 1).clamp(min=0)), 0.0)
    return place, (target - before) / (cumulated.gather(1, place) - before)


# Keys and values, and attention over them


class _GroupedLayer(DynamicLayer):
    """One layer: the prompts' keys and values once, and a buffer for each row's own, with room for more of both."""

    def __init__(self, prompt_keys: Tensor, prompt_values: Tensor) -> None:
        super().__init__()
        self.prompt_keys, self.prompt_values = prompt_keys, prompt_values  # (N, heads, P, d)
        self.length = 0
        self.buffer: tuple[Tensor, Tensor] | None = None
        self.is_initialized = True

    def get_seq_length(self) -> int:
        return int(self.prompt_keys.size(-2)) + self.length

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        rows = len(key_states)
        if self.buffer is None:
            self.buffer = _room(rows, GROW, key_states), _room(rows, GROW, value_states)
        elif self.length == self.buffer[0].size(2):
            self._grow(rows, len(self.buffer[0]), self.length + max(GROW, self.length // 2))
        keys, values = self.buffer
        keys[:rows, :, self.length] = key_states[:, :, 0]
        values[:rows, :, self.length] = value_states[:, :, 0]
        self.length += 1
        return keys[:rows, :, : self.length], values[:rows, :, : self.length]

    def copy(self, rows: int, parents: Tensor, room: int) -> None:
        """Put copies of the `parents` after the first `rows` rows, with room for so many in all."""
        assert self.buffer is not None
        if rows + len(parents) > len(self.buffer[0]):
            self._grow(rows, max(rows + len(parents), room), self.buffer[0].size(2))
        for own in self.buffer:
            own[rows : rows + len(parents), :, : self.length] = own[parents, :, : self.length]

    def select(self, rows: Tensor) -> None:
        if self.buffer is not None:
            self.buffer = self.buffer[0][rows], self.buffer[1][rows]

    def _grow(self, rows: int, room: int, length: int) -> None:
        """A buffer of `room` rows and `length` tokens, with the first `rows` rows."""
        assert self.buffer is not None
        keys, values = (_room(room, length, own) for own in self.buffer)
        for new, old in zip((keys, values), self.buffer, strict=True):
            new[:rows, :, : self.length] = old[:rows, :, : self.length]
        self.buffer = keys, values


def _room(rows: int, length: int, like: Tensor) -> Tensor:
    """An uninitialized tensor (rows, heads, length, d)."""
    return like.new_empty(rows, like.size(1), length, like.size(3))


class GroupedCache(DynamicCache):
    """Keys and values of N prompts, and of the rows that continue them; at first one row to a prompt.

    Attributes:
        width: most rows of a prompt.
        cell: (R,) where each row stands in a grid of N by `width`; None where the rows fill it in their order.
    """

    def __init__(self, prompts: DynamicCache, prompt_mask: Tensor) -> None:
        super().__init__()
        self.layers = [_GroupedLayer(layer.keys, layer.values) for layer in prompts.layers]
        self.layer_class_to_replicate = None
        self.prompt_mask = prompt_mask.bool()
        self.padded = not bool(self.prompt_mask.all())
        self.prompts = torch.arange(len(prompt_mask), device=prompt_mask.device)  # those that still have rows
        self.width = 1
        self.cell: Tensor | None = None

    def holds_nothing(self) -> bool:
        """Whether no row has keys and values of its own yet."""
        return self.layers[0].buffer is None

    def copy(self, parents: Tensor, prompt: Tensor, most: int) -> None:
        """Add copies of rows at the end.

        Args:
            prompt: (R,) the prompt of each row, the new ones included.
            most: rows that samples will want at a time.
        """
        for layer in self.layers:
            layer.copy(len(prompt) - len(parents), parents, room=most * 4 // 3 + 1)  # a quarter may stand empty
        self.place(prompt)

    def select(self, rows: Tensor, prompt: Tensor) -> None:
        """Make the batch of these rows, which may repeat; `prompt` (R,) is that of each."""
        for layer in self.layers:
            layer.select(rows)
        self.place(prompt)

    def place(self, prompt: Tensor) -> None:
        """Say which prompt each row has: (R,). Prompts without rows leave once they are a quarter of all."""
        of_row = torch.searchsorted(self.prompts, prompt)
        counts = torch.bincount(of_row, minlength=len(self.prompts))
        here = counts.nonzero().squeeze(1)
        if len(here) <= 0.75 * len(counts):
            for layer in self.layers:
                layer.prompt_keys, layer.prompt_values = layer.prompt_keys[here], layer.prompt_values[here]
            self.prompts, self.prompt_mask, counts = self.prompts[here], self.prompt_mask[here], counts[here]
            of_row = torch.searchsorted(self.prompts, prompt)
        self.width = int(counts.max())
        order = of_row.argsort(stable=True)
        rank = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        cell = torch.empty_like(order).index_copy_(0, order, of_row[order] * self.width + rank)
        fills = len(cell) == len(counts) * self.width and bool((cell[1:] > cell[:-1]).all())
        self.cell = None if fills else cell

    def grid(self, rows: Tensor) -> Tensor:
        """(R, ..) as (N, width, ..), with zeros where there is no row."""
        n = len(self.prompts)
        if self.cell is not None:
            rows = rows.new_zeros(n * self.width, *rows.shape[1:]).index_copy_(0, self.cell, rows)
        return rows.unflatten(0, (n, self.width))

    def rows(self, grid: Tensor) -> Tensor:
        """(N, width, ..) as (R, ..)."""
        rows = grid.flatten(0, 1)
        return rows if self.cell is None else rows[self.cell]


_CACHE: ContextVar[GroupedCache] = ContextVar("rarft_grouped_cache")


@contextmanager
def _attention(base: PreTrainedModel, cache: GroupedCache) -> Iterator[None]:
    """Within it, `base` attends through `grouped_attention` to `cache`."""
    config = base.config.get_text_config(decoder=True)
    before = config._attn_implementation
    token = _CACHE.set(cache)
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before
        _CACHE.reset(token)


def grouped_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one new token per row, to its group's prompt and to its own earlier tokens.

    Args:
        query: (R, heads, 1, d).
        key: (R, kv heads, t, d), the row's own; `value` likewise. The prompt's are in the active `GroupedCache`.

    Returns:
        (R, 1, heads, d).
    """
    cache = _CACHE.get()
    layer = cache.layers[module.layer_idx]
    rows, heads, _, dim = query.shape
    n, kv_heads, length, _ = layer.prompt_keys.shape
    g, per_kv = cache.width, heads // kv_heads
    query = query.reshape(rows, kv_heads, per_kv, dim) * (dim**-0.5 if scaling is None else scaling)
    to_prompt = cache.grid(query).transpose(1, 2).reshape(n, kv_heads, g * per_kv, dim)
    on_prompt = (to_prompt @ layer.prompt_keys.to(query.dtype).transpose(-1, -2)).float()  # (N, kv, G*per_kv, P)
    on_own = (query @ key.to(query.dtype).transpose(-1, -2)).float()  # (R, kv, per_kv, t)
    if softcap is not None:
        on_prompt, on_own = (softcap * torch.tanh(s / softcap) for s in (on_prompt, on_own))
    seen = cache.prompt_mask[:, None, None, :] if cache.padded else None
    if sliding_window is not None:
        oldest = length + key.size(-2) - sliding_window  # first visible place, counted over prompt and own tokens
        if oldest > 0:
            in_window = torch.arange(length, device=query.device) >= oldest
            seen = in_window if seen is None else seen & in_window
        if oldest > length:
            on_own[..., : oldest - length] = -torch.inf
    if seen is not None:
        on_prompt = on_prompt.masked_fill_(~seen, torch.finfo(torch.float32).min)  # not -inf: all may be hidden
    from_prompt, prompt_norm = (
        cache.rows(part.unflatten(2, (g, per_kv)).transpose(1, 2)) for part in _attend(on_prompt, layer.prompt_values)
    )
    from_own, own_norm = _attend(on_own, value)
    norm = torch.logaddexp(prompt_norm, own_norm)
    if s_aux is not None:  # attention sinks: a logit per head that takes weight and adds nothing
        norm = torch.logaddexp(norm, s_aux.float().view(kv_heads, per_kv, 1))
    out = from_prompt * (prompt_norm - norm).exp() + from_own * (own_norm - norm).exp()
    return out.to(value.dtype).reshape(rows, 1, heads, -1), None


def _attend(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Values (.., K, d) weighted by the softmax of scores (.., Q, K), and the log of the softmax's sum (.., Q, 1)."""
    top = scores.amax(-1, keepdim=True)
    weights = (scores - top).exp_()
    total = weights.sum(-1, keepdim=True)
    return (weights / total).to(values.dtype) @ values, top + total.log()


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, grouped_attention)
