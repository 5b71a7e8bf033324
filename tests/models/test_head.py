"""The head on a CPU against TRL's: values and gradients, with what the first backward pass has left."""

from __future__ import annotations

import pytest
import torch
from trl.kernels import ChunkedLogProbFunction

from rarft.models import head


@pytest.mark.parametrize("softcap, dtype", [(None, torch.float32), (5.0, torch.float32), (None, torch.bfloat16)])
def test_a_second_pass_adds_trls_gradient_to_the_first(
    softcap: float | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "SLICE", 48)  # the last one is not whole
    found = []
    for function, width in ((head.LogProbs, 16), (ChunkedLogProbFunction, 200)):
        torch.manual_seed(0)
        weight = torch.randn(200, 8, requires_grad=True)
        for _ in range(2):
            states = torch.randn(30, 8, requires_grad=True)
            targets = torch.randint(200, (30,))
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                logps, entropy, *_ = function.apply(
                    states, weight, None, targets, 0.7, width, softcap, 1.5, ("log_probs", "entropy")
                )
            (logps.sum() + 0.3 * entropy.square().sum()).backward()
        found.append((logps, entropy, states.grad, weight.grad))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4 if dtype == torch.float32 else 0.1)


def test_it_is_there_within_the_tiles_alone() -> None:
    from trl.trainer import utils

    before = utils._ChunkedLogProbFunction, utils._CHUNKED_LOGPROB_CHUNK_SIZE
    with head.head_tiles(torch.device("cpu")):
        assert (utils._ChunkedLogProbFunction, utils._CHUNKED_LOGPROB_CHUNK_SIZE) == (head.LogProbs, head.TILE)
    with head.head_tiles(torch.device("cuda")):
        assert (utils._ChunkedLogProbFunction, utils._CHUNKED_LOGPROB_CHUNK_SIZE) == before
    assert (utils._ChunkedLogProbFunction, utils._CHUNKED_LOGPROB_CHUNK_SIZE) == before
