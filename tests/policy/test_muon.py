"""Muon against an exact orthogonalisation, torch's own Muon and AdamW; its state goes on; the train stage takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rarft.core.errors import InputError
from rarft.policy.train import TrainConfig, train
from rarft.policy.trl.muon import MOMENTUM, Muon, orthogonal
from tests.policy.tiny import save_policy, tiny_model, write_problems


@pytest.mark.parametrize("shape", [(8, 8), (8, 24), (24, 8)])
def test_orthogonal_keeps_singular_vectors_and_evens_out_singular_values(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape) * torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    for matrix, found in zip(matrices, orthogonal(matrices), strict=True):
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        values = u.T @ found @ v.T
        assert (values - values.diag().diag()).abs().max() < 1e-4
        assert values.diag().min() > 0.6 and values.diag().max() < 1.3


def gradients(model: torch.nn.Module, step: int) -> None:
    torch.manual_seed(step)
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_matrices_move_as_by_torchs_muon_and_the_rest_as_by_adamw(decay: float) -> None:
    ours, theirs = tiny_model("llama"), tiny_model("llama")
    start = {name: weight.detach().clone() for name, weight in ours.named_parameters()}
    matrices = {n: w for n, w in theirs.named_parameters() if w.ndim == 2 and "embed" not in n and "lm_head" not in n}
    others = [weight for name, weight in theirs.named_parameters() if name not in matrices]
    assert len(matrices) > 5 and len(others) > 2
    optimizers = [
        Muon(ours, lr=0.01, weight_decay=decay),
        torch.optim.Muon(
            matrices.values(), lr=0.01, weight_decay=decay, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=0.01, weight_decay=decay),
    ]
    for step in range(3):
        gradients(ours, step)
        gradients(theirs, step)
        for optimizer in optimizers:
            optimizer.step()
    for name, weight in theirs.named_parameters():
        found, expected = dict(ours.named_parameters())[name] - start[name], weight - start[name]
        tolerance = 0.03 if name in matrices else 1e-6  # torch computes in bfloat16
        assert (found - expected).norm() / expected.norm() < tolerance, name


def test_its_state_goes_on_where_it_was() -> None:
    whole, halved = tiny_model("llama"), tiny_model("llama")
    first, second = Muon(whole, lr=0.01), Muon(halved, lr=0.01)
    for step in range(4):
        if step == 2:
            state, second = second.state_dict(), Muon(halved, lr=0.01)
            second.load_state_dict(state)
        for model, optimizer in ((whole, first), (halved, second)):
            gradients(model, step)
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), halved.parameters(), strict=True))


def test_the_train_stage_takes_it(tmp_path: Path) -> None:
    data, model = write_problems(tmp_path / "data"), save_policy(tmp_path / "model")

    def run(name: str, **options: Any) -> list[float]:
        values = {"problems": str(data), "traces": str(data), "model": model, "algorithm": "sft", "steps": 6}
        more: dict[str, Any] = {"learning_rate": 5e-3, "prompts_per_step": 4, "max_new_tokens": 12, **options}
        out = train(TrainConfig.parse({**values, **more}, "test"), tmp_path / name)
        return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]

    muon, adamw = run("muon", optimizer="muon"), run("adamw")
    assert muon[0] == adamw[0] and muon[-1] < muon[0] - 0.1 and muon[1:] != adamw[1:]
    with pytest.raises(InputError, match=r"optimizer is muon and trl\.optim sgd"):
        run("both", optimizer="muon", trl={"optim": "sgd"})
