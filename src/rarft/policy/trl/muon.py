"""Muon for the matrices of a model, AdamW for its other weights: fewer steps from random weights.

A matrix moves by its momentum made orthogonal, so that all directions of it learn alike (Jordan et al., 2024); the
length of the step is such that AdamW's learning rates fit (Liu et al., arXiv 2502.16982). `torch.optim.Muon` is not
used: it computes in bfloat16, which takes many times as long on a CPU without bfloat16 products, and knows no other
weights than matrices. Left out: sharded weights (FSDP, DeepSpeed), whose matrices are nowhere whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.8  # on the testbed's warm-up ahead of 0.6, 0.9 and the usual 0.95 (docs/testbed.md)
RMS = 0.2  # of an update's entries at learning rate 1, as of AdamW's
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # of Jordan et al.: singular values end between 0.7 and 1.2
ITERATIONS = 5


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest orthogonal matrices, nearly: singular vectors stay, singular values go to about 1.

    Args:
        matrices: (N, rows, columns).

    Returns:
        (N, rows, columns), float32 on a CPU and bfloat16 on a GPU.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrices.to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    tall = x.size(1) > x.size(2)
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + torch.baddbmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x.mT if tall else x


class Muon(torch.optim.AdamW):
    """Muon for the matrices of the first group, AdamW for the weights of the second."""

    def __init__(self, model: nn.Module, lr: float, **options: Any) -> None:
        """Divide the weights of `model` that are trained; embedding and head count as no matrices.

        Args:
            lr: learning rate of both.
            options: AdamW's; `weight_decay` holds for matrices too.
        """
        ends = [model.get_input_embeddings(), model.get_output_embeddings()]
        apart = {id(weight) for end in ends if end is not None for weight in end.parameters()}
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for weight in model.parameters():
            if weight.requires_grad:
                (matrices if weight.ndim == 2 and id(weight) not in apart else others).append(weight)
        super().__init__([{"params": matrices}, {"params": others}], lr=lr, **options)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update; the matrices' gradients are gone after it."""
        group = self.param_groups[0]
        alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for weight in group["params"]:
            if weight.grad is not None:
                alike[weight.shape].append(weight)
        for shape, weights in alike.items():
            updates = orthogonal(torch.stack([self._momentum(weight) for weight in weights]))
            for weight, update in zip(weights, updates, strict=True):
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * RMS * max(shape) ** 0.5)
                weight.grad = None  # AdamW passes over it
        return super().step(closure)

    def _momentum(self, weight: nn.Parameter) -> Tensor:
        """The gradient, looked at a step ahead (Nesterov)."""
        state = self.state[weight]
        if not state:
            state.update(momentum=torch.zeros_like(weight), step=torch.tensor(0.0))  # AdamW looks for steps on loading
        state["momentum"].lerp_(weight.grad, 1 - MOMENTUM)
        return weight.grad.lerp(state["momentum"], MOMENTUM)
