"""TRL's chunked head on a CPU: wanted tokens alone, narrower tiles, and the gradient added where it is kept.

The head is the largest matrix of a small model (0.5 GiB for Qwen2.5-0.5B in float32). TRL projects on tiles, so that
the logits of all tokens are never there at once, but makes the whole matrix's gradient anew in each backward pass. What
is left out: GPUs, where its kernels suit, and several processes, whose gradients are gathered by hooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from trl.kernels import ChunkedLogProbFunction
from trl.trainer import utils

TILE = 2048
"""Words of the vocabulary that are projected on at a time."""
SLICE = 8 * TILE
"""Words whose gradient is made at a time."""


@contextmanager
def head_tiles(device: torch.device) -> Iterator[None]:
    """Within it, TRL's chunked head projects the tokens that have a label, on tiles that suit the device.

    Without Triton TRL projects all tokens, labelled or not. A tile is 4,096 tokens by 32,768 words of the vocabulary at
    most, of which the backward pass holds about nine on a CPU. There they are 2,048 words wide: a fifth of the memory
    in two thirds of the time (`benchmarks/train_memory.py --head`).
    """
    before = utils._CHUNKED_LOGPROB_CHUNK_SIZE, utils._ChunkedLogProbFunction, utils._use_triton
    utils._use_triton = lambda device: True
    if device.type == "cpu":
        utils._CHUNKED_LOGPROB_CHUNK_SIZE, utils._ChunkedLogProbFunction = TILE, LogProbs
    try:
        yield
    finally:
        utils._CHUNKED_LOGPROB_CHUNK_SIZE, utils._ChunkedLogProbFunction, utils._use_triton = before


class LogProbs(ChunkedLogProbFunction):
    """The head, whose second and later backward passes of a step add to the gradient that is there, slice by slice."""

    @staticmethod
    def backward(ctx: Any, for_logps: Tensor | None, for_entropy: Tensor | None, *rest: Any) -> Any:
        hidden, weight, bias, targets, log_z, entropy = ctx.saved_tensors
        if not ctx.needs_input_grad[1] or bias is not None or not _keeps_gradient(weight):
            return ChunkedLogProbFunction.backward(ctx, for_logps, for_entropy, *rest)
        for_hidden = torch.zeros_like(hidden, dtype=torch.float32)
        for start in range(0, len(weight), SLICE):
            words = slice(start, start + SLICE)  # a softmax's gradient at some words needs the others' sum alone: log_z
            part = SimpleNamespace(
                saved_tensors=(hidden, weight[words], None, targets - start, log_z, entropy),
                needs_input_grad=(ctx.needs_input_grad[0], True, False),
                compute_dtype=ctx.compute_dtype,
                chunk_size=ctx.chunk_size,
                kernel_args=ctx.kernel_args,
            )
            of_hidden, of_weight, *_ = ChunkedLogProbFunction.backward(part, for_logps, for_entropy)
            weight.grad[words] += of_weight
            if of_hidden is not None:
                for_hidden += of_hidden
        return for_hidden.to(hidden.dtype) if ctx.needs_input_grad[0] else None, *[None] * 8


def _keeps_gradient(weight: Tensor) -> bool:
    """Whether autograd would do no more with the gradient than add it to one that is there."""
    hooks = weight._backward_hooks or getattr(weight, "_post_accumulate_grad_hooks", None)
    plain = weight.is_leaf and weight.device.type == "cpu" and not hooks
    return plain and weight.grad is not None and not torch.distributed.is_initialized()
