"""Sampling several completions per prompt: the prompt is run once per group, and read once per group in every step.

`model.generate` copies a prompt's keys and values to each of its G rows and reads all copies at every token. Here the
prompt's keys and values stay single: an attention function, active only during decoding, attends from the G rows of a
group to the one prompt and to each row's own tokens, under one softmax. The distribution is that of `model.generate`.

Each sample has its own stream of random numbers, drawn from (seed, prompt, sample), so that the result does not depend
on how prompts are batched. Rows that ended leave the batch. What is left out: beam search, repetition penalties,
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
        batch_size: most rows (prompts times samples) decoded at a time. Does not change the result.
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
    if why_not_shared(base) is not None or not getattr(base, "_supports_attention_backend", False):
        return _decode_plainly(base, prompts, noise, sampling, ends)
    device, steps = ends.device, noise[0].shape[1]
    ids, mask = pad_left(prompts, 0, device)
    width = max(len(of) for of in noise)
    on_prompt = base(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        past_key_values=DynamicCache(),
        use_cache=True,
        logits_to_keep=1,
    )
    cache = GroupedCache(on_prompt.past_key_values, mask, width)
    state = _State(len(prompts), width, noise, device)
    positions = mask.sum(-1).repeat_interleave(width)
    logits = on_prompt.logits[:, -1].repeat_interleave(width, dim=0)
    with _attention(base, cache):
        for step in range(steps):
            tokens = state.take(_draw(logits, state.uniform(step), sampling), ends)
            if step + 1 == steps:
                break
            look = device.type == "cpu" or step % 8 == 7  # on a GPU, looking waits for it
            if look and state.all_done():
                break
            keep = state.thin_out() if look else None
            if keep is not None:
                cache.select(keep)
                tokens, positions = keep.of(tokens), keep.of(positions)
            logits = base(
                input_ids=tokens.unsqueeze(1),
                position_ids=(positions + step).unsqueeze(1),
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
    return state.completions([len(of) for of in noise])


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


@dataclass(frozen=True)
class _Keep:
    """Which prompts and rows stay in the batch: `prompt` (N', 1) and `row` (N', G') index the old (N, G)."""

    prompt: Tensor
    row: Tensor
    width: int

    def of(self, rows: Tensor) -> Tensor:
        """The rows that stay, of one value per row (N*G,)."""
        return rows.view(-1, self.width)[self.prompt, self.row].flatten()


class _State:
    """What has been sampled: rows as (prompts N, samples G); places beyond a prompt's own number count as ended."""

    def __init__(self, n_prompts: int, width: int, noise: list[np.ndarray], device: torch.device) -> None:
        padded = np.zeros((n_prompts, width, noise[0].shape[1]), dtype=np.float64)
        done = torch.ones(n_prompts, width, dtype=torch.bool)
        for n, of in enumerate(noise):
            padded[n, : len(of)] = of
            done[n, : len(of)] = False
        self.noise = torch.from_numpy(padded)
        self.done = done.to(device)
        self.place = torch.arange(n_prompts * width).view(n_prompts, width)
        self.out: list[tuple[Tensor, Tensor, Tensor]] = []  # per step: places, tokens, whether the row was running
        self.device = device
        self.size = n_prompts, width

    def uniform(self, step: int) -> Tensor:
        return self.noise[:, :, step].flatten().to(self.device)

    def take(self, tokens: Tensor, ends: Tensor) -> Tensor:
        running = ~self.done.flatten()
        self.out.append((self.place.flatten(), tokens, running))
        self.done |= torch.isin(tokens, ends).view_as(self.done)
        return tokens

    def all_done(self) -> bool:
        return bool(self.done.all())

    def thin_out(self) -> _Keep | None:
        """Drop ended rows once at least a quarter of the batch can go."""
        running = ~self.done
        per_prompt = running.sum(-1)
        width = int(per_prompt.max())
        prompts = per_prompt.nonzero().squeeze(1)
        if len(prompts) * width > 0.75 * running.numel():
            return None
        rows = running[prompts].int().argsort(dim=1, descending=True, stable=True)[:, :width]
        keep = _Keep(prompts.unsqueeze(1), rows, self.done.size(1))
        self.done = self.done[keep.prompt, keep.row]
        on_cpu = keep.prompt.cpu(), keep.row.cpu()
        self.place, self.noise = self.place[on_cpu], self.noise[on_cpu]
        return keep

    def completions(self, counts: list[int]) -> list[list[Completion]]:
        n_prompts, width = self.size
        tokens: list[list[int]] = [[] for _ in range(n_prompts * width)]
        for places, drawn, running in self.out:
            keep = running.cpu()
            for place, token in zip(places[keep].tolist(), drawn.cpu()[keep].tolist(), strict=True):
                tokens[place].append(token)
        running_still = set(self.place[~self.done.cpu()].tolist())
        return [
            [Completion(tokens[i], i not in running_still) for i in range(n * width, n * width + count)]
            for n, count in enumerate(counts)
        ]


def _draw(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """One token per row of logits (R, V), by inverting the cumulated probabilities at `uniform` (R,)."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
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
    return _invert(weights, uniform.unsqueeze(1))


def _invert(weights: Tensor, uniform: Tensor) -> Tensor:
    """Where the cumulated weights (R, V) pass the share `uniform` (R, 1) of their sum: first the tile, then the token.

    Cumulating in float64 costs more than all else, so it is done for sums of tiles, and within one tile of each row.
    """
    vocabulary = weights.size(1)
    weights = torch.nn.functional.pad(weights, (0, -vocabulary % TILE))
    tiles = weights.view(len(weights), -1, TILE)
    until = tiles.sum(-1).double().cumsum(-1)
    tile, share = _pass(until, uniform)
    inside = tiles[torch.arange(len(tiles), device=tile.device), tile.squeeze(1)].double().cumsum(-1)
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
    """One layer: the prompts' keys and values once, and a buffer for each row's own."""

    def __init__(self, prompt_keys: Tensor, prompt_values: Tensor, repeats: int) -> None:
        super().__init__()
        self.prompt_keys, self.prompt_values = prompt_keys, prompt_values  # (N, heads, P, d)
        self.rows = prompt_keys.size(0) * repeats
        self.length = 0
        self.buffer: tuple[Tensor, Tensor] | None = None
        self.is_initialized = True

    def get_seq_length(self) -> int:
        return int(self.prompt_keys.size(-2)) + self.length

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if self.buffer is None or self.length == self.buffer[0].size(-2):
            self.buffer = (self._grown(0, key_states), self._grown(1, value_states))
        keys, values = self.buffer
        keys[:, :, self.length] = key_states[:, :, 0]
        values[:, :, self.length] = value_states[:, :, 0]
        self.length += 1
        return keys[:, :, : self.length], values[:, :, : self.length]

    def _grown(self, which: int, like: Tensor) -> Tensor:
        rows, heads, _, dim = like.shape
        grown = like.new_empty(rows, heads, self.length + max(GROW, self.length // 2), dim)
        if self.buffer is not None:
            grown[:, :, : self.length] = self.buffer[which][:, :, : self.length]
        return grown


class GroupedCache(DynamicCache):
    """Keys and values of N prompts, and of the rows, G to a prompt, that continue them."""

    def __init__(self, prompts: DynamicCache, prompt_mask: Tensor, repeats: int) -> None:
        super().__init__()
        self.layers = [_GroupedLayer(layer.keys, layer.values, repeats) for layer in prompts.layers]
        self.layer_class_to_replicate = None
        self.prompt_mask = prompt_mask.bool()
        self.padded = not bool(self.prompt_mask.all())
        self.repeats = repeats

    def select(self, keep: _Keep) -> None:
        """Keep only some prompts and rows."""
        prompts = keep.prompt.squeeze(1)
        rows = (keep.prompt * keep.width + keep.row).flatten()
        self.prompt_mask, self.repeats = self.prompt_mask[prompts], keep.row.size(1)
        for layer in self.layers:
            if len(prompts) < layer.prompt_keys.size(0):
                layer.prompt_keys, layer.prompt_values = layer.prompt_keys[prompts], layer.prompt_values[prompts]
            if layer.buffer is not None:
                layer.buffer = layer.buffer[0][rows], layer.buffer[1][rows]


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
        query: (N*G, heads, 1, d).
        key: (N*G, kv heads, t, d), the row's own; `value` likewise. The prompt's are in the active `GroupedCache`.

    Returns:
        (N*G, 1, heads, d).
    """
    cache = _CACHE.get()
    layer = cache.layers[module.layer_idx]
    rows, heads, _, dim = query.shape
    n, kv_heads, length, _ = layer.prompt_keys.shape
    g, per_kv = rows // n, heads // kv_heads
    scaling = dim**-0.5 if scaling is None else scaling
    query = query.squeeze(2) * scaling
    to_prompt = query.view(n, g, kv_heads, per_kv, dim).transpose(1, 2).reshape(n, kv_heads, g * per_kv, dim)
    on_prompt = (to_prompt @ layer.prompt_keys.to(query.dtype).transpose(-1, -2)).float()  # (N, kv, G*per_kv, P)
    on_own = (query.view(rows, kv_heads, per_kv, dim) @ key.to(query.dtype).transpose(-1, -2)).float()
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
        on_prompt = on_prompt.masked_fill_(~seen, -torch.inf)
    # one softmax over both parts: (N, kv, G, per_kv, P + t)
    logits = [
        on_prompt.view(n, kv_heads, g, per_kv, length),
        on_own.view(n, g, kv_heads, per_kv, -1).transpose(1, 2),
    ]
    if s_aux is not None:  # attention sinks: a logit per head that takes weight and adds nothing
        logits.append(s_aux.float().view(1, kv_heads, 1, per_kv, 1).expand(n, -1, g, -1, -1))
    weights = torch.cat(logits, -1).softmax(-1).to(value.dtype)
    to_own = weights[..., length : length + key.size(-2)].transpose(1, 2).reshape(rows, kv_heads, per_kv, -1)
    own = to_own @ value
    weights = weights[..., :length].reshape(n, kv_heads, g * per_kv, length)
    from_prompt = weights @ layer.prompt_values.to(value.dtype)
    out = from_prompt.view(n, kv_heads, g, per_kv, -1).transpose(1, 2).reshape(rows, heads, -1)
    return (out + own.view(rows, heads, -1)).unsqueeze(1), None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, grouped_attention)
