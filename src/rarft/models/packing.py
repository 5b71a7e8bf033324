"""Log-probs of several completions per prompt, with the prompt computed once: groups packed side by side in one row.

All completions of a group continue the same prompt. Here the row `[prompt][c_1]..[c_G]` runs through the model once:
position ids restart after the prompt, and each completion sees the prompt and itself. There is no cache and no padding,
so gradient checkpointing works as in any row, and several groups fit in one. The result equals running every
`prompt + completion` by itself; only the order of floating-point sums differs.

Attention over the row is one function, `packed_attention`, which stands in for a model's "sdpa": on a CPU the flash
kernel over the parts of the row that see each other, joined by their log-sum-exp; on a GPU FlexAttention with a block
mask. Sliding windows are kept. `accept_packs` says which models it is not for: linear-attention or state-space layers,
encoder-decoders, prompt-learning adapters, attention other than PyTorch's SDPA, attention dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_outputs import BaseModelOutputWithPast

TokenIds = Sequence[int]
ATTENTION = "rarft_packed"


# The row


class Group(NamedTuple):
    """Where a group stands in its row: the prompt at [start, prompt_end), then a completion up to each of `ends`."""

    start: int
    prompt_end: int
    ends: list[int]


@dataclass
class Pack:
    """Groups in one row of T tokens. A completion's last token predicts nothing and is not in the row."""

    ids: Tensor
    """(1, T)"""
    positions: Tensor
    """(1, T), restarting at 0 with each group and after its prompt with each completion."""
    predictors: Tensor
    """(N,) the place in the row that predicts each completion token, completions one after another."""
    targets: Tensor
    """(N,) the completion tokens."""
    groups: list[Group]
    windows: set[int | None] = field(default_factory=set)
    """Sliding windows that the layers asked for so far; None for full attention."""
    _masks: dict[int | None, BlockMask] = field(default_factory=dict)

    def sees(self, window: int | None = None) -> Callable[..., Tensor]:
        """FlexAttention's `mask_mod`: whether the token at place q sees the one at place k."""
        size, device = self.ids.size(1), self.ids.device
        group, completion = torch.zeros(2, size, dtype=torch.int32, device=device)
        for n, (start, prompt_end, ends) in enumerate(self.groups):
            group[start : ends[-1] if ends else prompt_end] = n
            for i, (a, b) in enumerate(zip([prompt_end, *ends], ends, strict=False)):
                completion[a:b] = i + 1
        positions = self.positions[0]

        def mask_mod(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
            own = (completion[k] == 0) | (completion[k] == completion[q])
            seen = (k <= q) & (group[k] == group[q]) & own
            return seen if window is None else seen & (positions[q] - positions[k] < window)

        return mask_mod

    def block_mask(self, window: int | None) -> BlockMask:
        if window not in self._masks:
            size = self.ids.size(1)
            self._masks[window] = create_block_mask(self.sees(window), None, None, size, size, str(self.ids.device))
        return self._masks[window]


def pack(groups: Sequence[tuple[Tensor, Sequence[Tensor]]]) -> Pack:
    """Put groups side by side.

    Args:
        groups: (prompt (P,), completions [(C_1,), (C_2,), ..]) of token ids on one device, each of at least one token.
    """
    ids: list[Tensor] = []
    positions: list[Tensor] = []
    predictors: list[Tensor] = []
    places: list[Group] = []
    place = 0
    device = groups[0][0].device
    for prompt, completions in groups:
        start, place = place, place + len(prompt)
        ids.append(prompt)
        positions.append(torch.arange(len(prompt), device=device))
        prompt_end, ends = place, []
        for completion in completions:
            ids.append(completion[:-1])
            inside = torch.arange(len(completion) - 1, device=device)
            positions.append(len(prompt) + inside)
            predictors += [torch.tensor([prompt_end - 1], device=device), place + inside]
            place += len(completion) - 1
            ends.append(place)
        places.append(Group(start, prompt_end, ends))
    targets = [completion for _, completions in groups for completion in completions]
    return Pack(
        torch.cat(ids).unsqueeze(0),
        torch.cat(positions).unsqueeze(0),
        torch.cat(predictors),
        torch.cat(targets),
        places,
    )


# Attention over it


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed: Pack | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention over a packed row; without `packed`, SDPA.

    Args:
        query: (1, heads, T, d).
        key: (1, kv heads, T, d); `value` likewise.
        sliding_window: tokens that a token sees, itself included; None for all.

    Returns:
        (1, T, heads, d).
    """
    if packed is None:
        more = {"dropout": dropout, "scaling": scaling, "sliding_window": sliding_window, **kwargs}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **more)
    if dropout or kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise ValueError("packed attention has no dropout, soft cap or sinks")
    packed.windows.add(sliding_window)
    device = query.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if device == "cuda":
        mask = packed.block_mask(sliding_window)
        return flex_attention_forward(module, query, key, value, mask, scaling=scaling)
    scaling = query.size(-1) ** -0.5 if scaling is None else scaling
    return _PartsAttention.apply(query, key, value, packed.groups, sliding_window, scaling), None


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)

Part = tuple[slice, slice, Tensor | None]


def _parts(groups: list[Group], window: int | None, like: Tensor) -> Iterator[Part]:
    """Which tokens see which: (queries, keys, mask). Without mask a part with itself is causal, another is full.

    A part with itself comes before others with the same queries or keys.
    """
    for start, prompt_end, ends in groups:
        yield _with_itself(start, prompt_end, window, like)
        spans = [(a, b) for a, b in zip([prompt_end, *ends], ends, strict=False) if a < b]
        for a, b in spans:
            yield _with_itself(a, b, window, like)
        if window is None:
            if spans:
                yield slice(prompt_end, ends[-1]), slice(start, prompt_end), None
            continue
        keys = slice(max(start, prompt_end - window + 1), prompt_end)
        for a, b in spans if window > 1 else []:
            queries = slice(a, min(b, a + window - 1))
            there = torch.arange(prompt_end, prompt_end + queries.stop - a, device=like.device)
            yield (
                queries,
                keys,
                _in_window(there, torch.arange(keys.start, prompt_end, device=like.device), window, like),
            )


def _with_itself(a: int, b: int, window: int | None, like: Tensor) -> Part:
    places = torch.arange(a, b, device=like.device)
    mask = None if window is None or b - a <= window else _in_window(places, places, window, like)
    return slice(a, b), slice(a, b), mask


def _in_window(queries: Tensor, keys: Tensor, window: int, like: Tensor) -> Tensor:
    """Additive mask (Q, K) for places in one sequence."""
    distance = queries.unsqueeze(1) - keys
    hidden = (distance < 0) | (distance >= window)
    return like.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)


class _PartsAttention(torch.autograd.Function):
    """Flash attention part by part. Where two parts share queries, their log-sum-exps say how they add up.

    The backward pass of flash attention needs the output and the log-sum-exp only, so with the joint ones each part
    gives its own share of the gradient. Nothing is copied: a prompt's keys are read where they are.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, groups: list[Group], window: int | None, scaling: float
    ) -> Tensor:
        _, heads, length, dim = query.shape
        kv_heads = key.size(1)
        query = query.reshape(kv_heads, heads // kv_heads, length, dim)
        key, value = (x.transpose(0, 1).expand(-1, query.size(1), -1, -1) for x in (key, value))
        out = query.new_empty(length, *query.shape[:2], dim).permute(1, 2, 0, 3)
        lse = query.new_empty(query.shape[:3], dtype=torch.float32)
        for q, k, mask in _parts(groups, window, query):
            causal = q == k and mask is None
            part, norm = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                query[:, :, q], key[:, :, k], value[:, :, k], 0.0, causal, attn_mask=mask, scale=scaling
            )
            if q != k:
                before, own_norm = out[:, :, q], lse[:, :, q]
                joint = torch.logaddexp(own_norm, norm)
                part = part * (norm - joint).exp_().unsqueeze(-1) + before * (own_norm - joint).exp_().unsqueeze(-1)
                norm = joint
            out[:, :, q], lse[:, :, q] = part, norm
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.groups, ctx.window, ctx.scaling = groups, window, scaling
        return out.permute(2, 0, 1, 3).reshape(1, length, heads, dim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        kv_heads, per_kv, length, dim = query.shape
        grad = grad.view(length, kv_heads, per_kv, dim).permute(1, 2, 0, 3)
        for_query = torch.empty_like(query)
        for_key, for_value = query.new_empty(2, kv_heads, length, dim)
        for q, k, mask in _parts(ctx.groups, ctx.window, query):
            of_query, of_key, of_value = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad[:, :, q], query[:, :, q], key[:, :, k], value[:, :, k], out[:, :, q], lse[:, :, q].contiguous(),
                0.0, q == k and mask is None, attn_mask=mask, scale=ctx.scaling,
            )  # fmt: skip
            if q == k:
                for_query[:, :, q], for_key[:, k], for_value[:, k] = of_query, of_key.sum(1), of_value.sum(1)
            else:
                for_query[:, :, q] += of_query
                for_key[:, k] += of_key.sum(1)
                for_value[:, k] += of_value.sum(1)
        for_query = for_query.reshape(1, kv_heads * per_kv, length, dim)
        return for_query, for_key.unsqueeze(0), for_value.unsqueeze(0), None, None, None


# Which models


def base_model(model: Any) -> PreTrainedModel:
    """The causal language model inside PEFT and distributed wrappers."""
    while hasattr(model, "module"):
        model = model.module
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def why_not_shared(model: Any) -> str | None:
    """Why `model` cannot share a prompt's keys and values between rows; None when it can."""
    base = base_model(model)
    config = base.config.get_text_config(decoder=True)
    wrapped = model
    while hasattr(wrapped, "module"):
        wrapped = wrapped.module
    adapters = getattr(wrapped, "peft_config", None) or {}
    if any(getattr(a, "is_prompt_learning", False) for a in (adapters.values() if isinstance(adapters, dict) else ())):
        return "prompt-learning adapters change the prompt"
    if base.config.is_encoder_decoder:
        return "it is an encoder-decoder"
    if getattr(config, "num_kv_shared_layers", 0):
        return "its layers share keys and values"
    others = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if others:
        return f"it has layers of kind {', '.join(sorted(others))}"
    layers = DynamicCache(config=config).layers
    kinds = (DynamicLayer, DynamicSlidingWindowLayer)
    if getattr(base, "_is_stateful", False) or any(type(layer) not in kinds for layer in layers):
        return "its memory is not keys and values alone"
    return None


def accept_packs(model: Any, probe: bool = True) -> str | None:
    """Let the decoder inside `model` take `packed=pack`, and say why it cannot; None when it can.

    `model(input_ids=pack.ids, packed=pack, ...)` then goes through the model's own forward, with PEFT, DDP, FSDP,
    gradient checkpointing and TRL's chunked log-probs in place; the decoder returns the hidden states (1, N, H) that
    predict each completion token. A model is believed after a probe: two short groups packed, against each run alone.
    """
    base = base_model(model)
    reason = why_not_shared(model)
    if reason is None and not hasattr(base, "why_not_packed"):
        base.why_not_packed = _prepare(base, probe)
    return reason or base.why_not_packed


def _prepare(base: PreTrainedModel, probe: bool) -> str | None:
    config = base.config.get_text_config(decoder=True)
    before = config._attn_implementation
    if before != "sdpa":
        return f"its attention is {before}, not sdpa"
    if getattr(config, "attention_dropout", 0):
        return "it has attention dropout"
    config._attn_implementation = ATTENTION
    base.base_model.forward = MethodType(_forward, base.base_model)
    reason = _probe(base) if probe else None
    if reason:
        config._attn_implementation = before
        del base.base_model.forward
    return reason


def _forward(self: Any, *args: Any, packed: Pack | None = None, **kwargs: Any) -> Any:
    """A decoder's forward that also takes a packed row."""
    plain = type(self).forward
    if packed is None:
        return plain(self, *args, **kwargs)
    kwargs |= {
        "position_ids": packed.positions,
        "attention_mask": packed.ids.new_ones(
            1, 1, 1, 1, dtype=torch.bool
        ),  # 4D: passed on as it is, and not looked at
        "use_cache": False,
    }
    hidden = plain(self, *args, packed=packed, **kwargs).last_hidden_state
    return BaseModelOutputWithPast(last_hidden_state=hidden[:, packed.predictors])


@torch.no_grad()
def _probe(base: PreTrainedModel) -> str | None:
    config, decoder = base.config.get_text_config(decoder=True), base.base_model
    device = base.get_input_embeddings().weight.device
    ids = torch.arange(18, device=device) % config.vocab_size
    groups = [(ids[:5], [ids[5:8], ids[8:9], ids[9:12]]), (ids[12:14], [ids[14:18]])]
    row = pack(groups)
    was_training = base.training
    base.eval()
    try:
        found = decoder(input_ids=row.ids, packed=row).last_hidden_state[0]
    except (TypeError, ValueError, RuntimeError) as error:
        return f"its attention does not take a packed row ({str(error).splitlines()[0]})"
    else:
        expected = torch.cat(
            [
                decoder(input_ids=torch.cat([prompt, c])[None, :-1], use_cache=False).last_hidden_state[0, -len(c) :]
                for prompt, completions in groups
                for c in completions
            ]
        )
    finally:
        base.train(was_training)
    window = getattr(config, "sliding_window", None)
    if window and set(getattr(config, "layer_types", None) or ()) != {"full_attention"} and window not in row.windows:
        return "its attention is not told of its sliding window"
    if not torch.allclose(found, expected, rtol=0, atol=0.02 * float(expected.abs().max())):
        return "a packed row gives it other hidden states"
    return None


# Log-probs


def pad_left(rows: Sequence[TokenIds], pad: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Token ids (N, P) padded on the left, and their 0/1 mask."""
    width = max(len(row) for row in rows)
    ids = [[pad] * (width - len(row)) + list(row) for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def completion_logps(
    model: Any,
    prompt_ids: Sequence[TokenIds],
    completion_ids: Sequence[Sequence[TokenIds]],
    *,
    wanted: Sequence[Sequence[int]] | None = None,
    temperature: float = 1.0,
    autocast: torch.dtype | None = None,
) -> list[list[Tensor]]:
    """Log-probs of each completion's tokens given its prompt, with gradients; one row.

    The head runs in tiles (TRL's, `head_tiles`): the logits of all tokens are never held at once.

    Args:
        model: a causal language model, also inside PEFT.
        prompt_ids: N prompts, each at least one token.
        completion_ids: for each prompt its completions, each at least one token; their numbers may differ.
        wanted: of how many tokens at each completion's end; None: of all. The head runs for these only.
        temperature: logits are divided by it.
        autocast: run under autocast in this dtype.

    Returns:
        `result[n][g]`: float32 tensor, one log-prob per wanted token of `completion_ids[n][g]`.
    """
    from rarft.models.head import head_tiles  # trl: not needed to load a model

    base = base_model(model)
    device = base.get_input_embeddings().weight.device
    groups = [
        (torch.tensor(list(prompt), device=device), [torch.tensor(list(c), device=device) for c in completions])
        for prompt, completions in zip(prompt_ids, completion_ids, strict=True)
        if completions
    ]
    if not groups:
        return [[] for _ in completion_ids]
    lengths = [len(c) for _, of in groups for c in of]
    left_out = [0] * len(lengths)
    if wanted is not None:
        left_out = [length - n for length, n in zip(lengths, [n for of in wanted for n in of], strict=True)]
    with _autocast(device, autocast), _chunked_head(base, temperature), head_tiles(device):
        if accept_packs(model) is None:
            row = pack(groups)
            targets = row.targets
            for target, n in zip(targets.split(lengths), left_out, strict=True):
                target[:n] = -100  # the head leaves these out
            output = model(input_ids=row.ids, packed=row, shift_labels=targets.unsqueeze(0), fused_lm_head=True)
            found = output.log_probs[0].split(lengths)
        else:
            found = _plain_logps(model, groups)
    logps = (logp[n:] for logp, n in zip(found, left_out, strict=True))
    return [[next(logps) for _ in of] for of in completion_ids]


def _plain_logps(model: Any, groups: list[tuple[Tensor, list[Tensor]]]) -> list[Tensor]:
    """The same by running every `prompt + completion` in full, padded on the right."""
    pairs = [(prompt, completion) for prompt, of in groups for completion in of]
    rows = [torch.cat(pair) for pair in pairs]
    labels = [torch.cat([torch.full_like(prompt, -100), completion]) for prompt, completion in pairs]
    output = model(
        input_ids=pad_sequence(rows, batch_first=True),
        attention_mask=pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
        labels=pad_sequence(labels, batch_first=True, padding_value=-100),
        fused_lm_head=True,
    )
    spans = [(len(prompt) - 1, len(row) - 1) for (prompt, _), row in zip(pairs, rows, strict=True)]
    return [logps[a:b] for logps, (a, b) in zip(output.log_probs, spans, strict=True)]


@contextmanager
def _chunked_head(base: PreTrainedModel, temperature: float) -> Iterator[None]:
    """Within it, `base(..., fused_lm_head=True)` gives log-probs, by TRL's chunked projection."""
    from trl.trainer.utils import add_fused_lm_head

    before = base.__dict__.get("forward")
    add_fused_lm_head(base, temperature=temperature)
    try:
        yield
    finally:
        del base.forward
        if before is not None:
            base.forward = before


def score(
    model: Any,
    prompt_ids: Sequence[TokenIds],
    completion_ids: Sequence[Sequence[TokenIds]],
    *,
    wanted: Sequence[Sequence[int]] | None = None,
    temperature: float = 1.0,
    batch_tokens: int = 4096,
    autocast: torch.dtype | None = None,
) -> list[list[Tensor]]:
    """`completion_logps` for any number of prompts, without gradients, a batch at a time.

    Args:
        batch_tokens: most tokens that one batch computes (at least one prompt goes in).

    Returns:
        As `completion_logps`, on the CPU.
    """
    base = base_model(model)
    packs = accept_packs(model) is None

    def cost(n: int) -> int:
        prompt, completions = len(prompt_ids[n]), [len(c) for c in completion_ids[n]]
        return prompt + sum(completions) if packs else len(completions) * (prompt + max(completions))

    order = sorted((n for n in range(len(prompt_ids)) if completion_ids[n]), key=cost)
    result: list[list[Tensor]] = [[] for _ in prompt_ids]
    was_training = base.training
    base.eval()
    try:
        with torch.no_grad():
            for batch in _batches(order, cost, batch_tokens):
                logps = completion_logps(
                    model,
                    [prompt_ids[n] for n in batch],
                    [completion_ids[n] for n in batch],
                    wanted=None if wanted is None else [wanted[n] for n in batch],
                    temperature=temperature,
                    autocast=autocast,
                )
                for n, of in zip(batch, logps, strict=True):
                    result[n] = [row.cpu() for row in of]
    finally:
        base.train(was_training)
    return result


def _batches(order: list[int], cost: Callable[[int], int], most: int) -> Iterator[list[int]]:
    batch: list[int] = []
    total = 0
    for n in order:
        if batch and total + cost(n) > most:
            yield batch
            batch, total = [], 0
        batch.append(n)
        total += cost(n)
    if batch:
        yield batch


def _autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
