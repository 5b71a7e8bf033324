"""Log-probs of several completions per prompt, with the prompt computed once.

All completions of a group continue the same prompt. The prompt runs through the model once, its keys and values
(with their gradients) serve every completion of the group, and only the completions run G times. The result equals
running `prompt + completion` G times; only the order of floating-point sums differs.

It needs a decoder whose memory of the prompt is keys and values. `why_not_shared` names what it is not for: gradient
checkpointing (which drops the cache), linear-attention or state-space layers, encoder-decoders, prompt-learning
adapters. Sliding-window attention is exact: the full prompt is kept and the model's mask applies the window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

TokenIds = Sequence[int]


# Which models


def base_model(model: Any) -> PreTrainedModel:
    """The causal language model inside PEFT and distributed wrappers."""
    while hasattr(model, "module"):
        model = model.module
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def why_not_shared(model: Any) -> str | None:
    """Why `model` cannot share a prompt's computation; None when it can."""
    base = base_model(model)
    config = base.config.get_text_config(decoder=True)
    wrapped = model
    while hasattr(wrapped, "module"):
        wrapped = wrapped.module
    adapters = getattr(wrapped, "peft_config", None) or {}
    if any(getattr(a, "is_prompt_learning", False) for a in (adapters.values() if isinstance(adapters, dict) else ())):
        return "prompt-learning adapters change the prompt's cache"
    if base.config.is_encoder_decoder:
        return "it is an encoder-decoder"
    if base.is_activation_checkpointing and base.training and torch.is_grad_enabled():
        return "gradient checkpointing drops the cache of the prompt"
    if getattr(config, "num_kv_shared_layers", 0):
        return "its layers share keys and values"
    kinds = set(getattr(config, "layer_types", None) or ())
    others = kinds - {"full_attention", "sliding_attention"}
    if others:
        return f"it has layers of kind {', '.join(sorted(others))}"
    if getattr(base, "_is_stateful", False):
        return "its cache is not keys and values alone"
    layers = DynamicCache(config=config).layers
    if any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        return "its cache is not keys and values alone"
    return None


# One batch


def pad_left(rows: Sequence[TokenIds], pad: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Token ids (N, P) padded on the left, and their 0/1 mask."""
    width = max(len(row) for row in rows)
    ids = [[pad] * (width - len(row)) + list(row) for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def pad_right(rows: Sequence[TokenIds], pad: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Token ids (N, C) padded on the right, and their 0/1 mask."""
    width = max(len(row) for row in rows)
    ids = [list(row) + [pad] * (width - len(row)) for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


class _PrefixLayer(DynamicLayer):
    """One layer's prompt keys and values, of N prompts, handed out to the rows that continue them."""

    def __init__(self, keys: Tensor, values: Tensor, group: Tensor, repeats: int) -> None:
        super().__init__()
        self.prompt = keys, values
        self.group, self.repeats = group, repeats
        self.is_initialized = True
        self.keys, self.values = keys, values  # what `get_seq_length` measures

    def _spread(self, prompt: Tensor, new: Tensor) -> Tensor:
        if self.repeats:  # every prompt has the same number of rows, side by side: one copy, no gather
            prompt = prompt.unsqueeze(1).expand(-1, self.repeats, -1, -1, -1).flatten(0, 1)
        else:
            prompt = prompt.index_select(0, self.group)
        return torch.cat([prompt.to(new.dtype), new], dim=-2)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        keys, values = self.prompt
        return self._spread(keys, key_states), self._spread(values, value_states)


def prefix_cache(cache: DynamicCache, group: Tensor, n_prompts: int) -> DynamicCache:
    """A cache in which row i continues prompt `group[i]`. One forward pass only: it does not grow.

    Args:
        cache: keys and values of N prompts.
        group: (B,) index of each row's prompt.
    """
    repeats, rest = divmod(len(group), n_prompts)
    in_order = torch.arange(n_prompts, device=group.device).repeat_interleave(repeats)
    regular = not rest and torch.equal(group, in_order)
    shared = DynamicCache()
    shared.layers = [
        _PrefixLayer(layer.keys, layer.values, group.to(layer.keys.device), repeats if regular else 0)
        for layer in cache.layers
    ]
    shared.layer_class_to_replicate = None
    return shared


def run_shared(
    forward: Callable[..., Any],
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    completion_ids: Tensor,
    completion_mask: Tensor,
    group: Tensor,
    prompt_kwargs: dict[str, Any] | None = None,
) -> tuple[Any, Any]:
    """Run N prompts once and B completions on their keys and values.

    Args:
        forward: a decoder's or causal language model's forward; called twice, with `use_cache=True`.
        prompt_ids: (N, P), padded on the left; `prompt_mask` likewise.
        completion_ids: (B, C), padded on the right; `completion_mask` likewise. The last token is not run, since
            nothing follows it.
        group: (B,) index of each completion's prompt.
        prompt_kwargs: more arguments for the pass over the prompts, such as `logits_to_keep=1`.

    Returns:
        The two outputs: over the prompts, and over `completion_ids[:, :-1]` (None when C = 1). Completion token 0 is
        predicted at the prompts' last position, token t at position t - 1 of the second output.
    """
    prompt_positions = (prompt_mask.cumsum(-1) - 1).clamp(min=0)
    on_prompt = forward(
        input_ids=prompt_ids,
        attention_mask=prompt_mask,
        position_ids=prompt_positions,
        past_key_values=DynamicCache(),
        use_cache=True,
        **(prompt_kwargs or {}),
    )
    if completion_ids.size(1) == 1:
        return on_prompt, None
    width = completion_ids.size(1) - 1
    lengths = prompt_mask.sum(-1).index_select(0, group)
    on_completion = forward(
        input_ids=completion_ids[:, :-1],
        attention_mask=torch.cat([prompt_mask.index_select(0, group), completion_mask[:, :-1]], dim=1),
        position_ids=lengths.unsqueeze(1) + torch.arange(width, device=group.device),
        past_key_values=prefix_cache(on_prompt.past_key_values, group, prompt_ids.size(0)),
        use_cache=True,
    )
    return on_prompt, on_completion


def completion_logps(
    model: Any,
    prompt_ids: Sequence[TokenIds],
    completion_ids: Sequence[Sequence[TokenIds]],
    *,
    temperature: float = 1.0,
    autocast: torch.dtype | None = None,
) -> list[list[Tensor]]:
    """Log-probs of each completion's tokens given its prompt, with gradients; one batch.

    Args:
        model: a causal language model, also inside PEFT.
        prompt_ids: N prompts, each at least one token.
        completion_ids: for each prompt its completions, each at least one token; their numbers may differ.
        temperature: logits are divided by it.
        autocast: run under autocast in this dtype.

    Returns:
        `result[n][g]`: float32 tensor, one log-prob per token of `completion_ids[n][g]`.
    """
    rows = [row for group in completion_ids for row in group]
    if not rows:
        return [[] for _ in completion_ids]
    device = base_model(model).get_input_embeddings().weight.device
    group = torch.tensor([n for n, of in enumerate(completion_ids) for _ in of], device=device)
    completions, completion_mask = pad_right(rows, 0, device)
    shared = why_not_shared(model) is None
    with _autocast(device, autocast):
        if shared:
            prompts, prompt_mask = pad_left(prompt_ids, 0, device)
            on_prompt, rest = run_shared(
                model, prompts, prompt_mask, completions, completion_mask, group, {"logits_to_keep": 1}
            )
            first = on_prompt.logits[:, -1:].index_select(0, group)
            logits = first if rest is None else torch.cat([first, rest.logits], dim=1)
        else:
            logits = _plain_logits(model, prompt_ids, rows, group, device, completions.size(1))
    logps = _gather_logps(logits, completions, temperature)
    flat = iter(logps[i, : len(row)] for i, row in enumerate(rows))
    return [[next(flat) for _ in of] for of in completion_ids]


def score(
    model: Any,
    prompt_ids: Sequence[TokenIds],
    completion_ids: Sequence[Sequence[TokenIds]],
    *,
    temperature: float = 1.0,
    batch_tokens: int = 16384,
    batch_logits: int = 2**27,
    autocast: torch.dtype | None = None,
) -> list[list[Tensor]]:
    """`completion_logps` for any number of prompts, without gradients, in batches of like length.

    Args:
        batch_tokens: most tokens, padding included, that one batch computes (at least one prompt goes in).
        batch_logits: most logits (completion tokens times vocabulary) that one batch holds.

    Returns:
        As `completion_logps`, on the CPU.
    """

    def cost(n: int) -> tuple[int, int]:
        return len(prompt_ids[n]), max((len(row) for row in completion_ids[n]), default=0)

    order = sorted((n for n in range(len(prompt_ids)) if completion_ids[n]), key=cost)
    result: list[list[Tensor]] = [[] for _ in prompt_ids]
    base = base_model(model)
    most_completion = max(1, batch_logits // base.get_output_embeddings().weight.size(0))
    was_training = base.training
    base.eval()
    try:
        with torch.no_grad():
            for batch in _batches(order, [len(of) for of in completion_ids], cost, batch_tokens, most_completion):
                logps = completion_logps(
                    model,
                    [prompt_ids[n] for n in batch],
                    [completion_ids[n] for n in batch],
                    temperature=temperature,
                    autocast=autocast,
                )
                for n, of in zip(batch, logps, strict=True):
                    result[n] = [row.cpu() for row in of]
    finally:
        base.train(was_training)
    return result


def _batches(
    order: list[int],
    counts: list[int],
    cost: Callable[[int], tuple[int, int]],
    most_tokens: int,
    most_completion: int,
) -> list[list[int]]:
    batches: list[list[int]] = []
    batch: list[int] = []
    prompt = completion = rows = 0
    for n in order:
        p, c = cost(n)
        prompt, completion, rows = max(prompt, p), max(completion, c), rows + counts[n]
        total = prompt * (len(batch) + 1) + completion * rows
        if batch and (total > most_tokens or completion * rows > most_completion):
            batches.append(batch)
            batch, prompt, completion, rows = [], p, c, counts[n]
        batch.append(n)
    return [*batches, batch] if batch else batches


def _plain_logits(
    model: Any,
    prompt_ids: Sequence[TokenIds],
    rows: Sequence[TokenIds],
    group: Tensor,
    device: torch.device,
    width: int,
) -> Tensor:
    """Logits (B, C, V) by running every `prompt + completion` in full."""
    full, mask = pad_right([[*prompt_ids[n], *row] for n, row in zip(group.tolist(), rows, strict=True)], 0, device)
    logits = model(input_ids=full, attention_mask=mask, use_cache=False).logits
    starts = torch.tensor([len(prompt_ids[n]) - 1 for n in group.tolist()], device=device)
    where = (starts.unsqueeze(1) + torch.arange(width, device=device)).clamp(max=full.size(1) - 1)
    return logits.gather(1, where.unsqueeze(-1).expand(-1, -1, logits.size(-1)))


def _gather_logps(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    def of(row: Tensor, target: Tensor) -> Tensor:
        row = row.float() / temperature if temperature != 1.0 else row.float()
        return row.gather(-1, target.unsqueeze(-1)).squeeze(-1) - row.logsumexp(-1)

    return torch.stack([of(row, target) for row, target in zip(logits, targets, strict=True)])


def _autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
