"""The SFT trainer scores fewer positions than TRL's; its loss and gradients must be TRL's all the same."""

from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from rarft.policy.trl.sft import LeanSFTTrainer
from tests.policy.tiny import tiny_model, tiny_tokenizer


def batch() -> dict[str, torch.Tensor]:
    """Four rows of different length, whose prompts and padding do not count."""
    torch.manual_seed(1)
    ids = torch.randint(3, 60, (4, 20))
    labels, mask = ids.clone(), torch.ones_like(ids)
    for row, (prompt, length) in enumerate([(5, 20), (12, 17), (1, 9), (8, 10)]):
        labels[row, :prompt] = labels[row, length:] = -100
        mask[row, length:] = 0
        ids[row, length:] = 0
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_loss_and_gradients_are_trls(kind: str, tmp_path: Any) -> None:
    found = []
    for cls in (LeanSFTTrainer, SFTTrainer):
        trainer = cls(
            model=tiny_model(kind),
            args=SFTConfig(
                output_dir=str(tmp_path), use_cpu=True, report_to="none", bf16=False, max_length=None,
                dataset_kwargs={"skip_prepare_dataset": True},
            ),
            train_dataset=Dataset.from_dict({"input_ids": [[3, 4]], "labels": [[3, 4]]}),
            processing_class=tiny_tokenizer(),
        )  # fmt: skip
        trainer.model.train()
        inputs = batch()
        loss = trainer.compute_loss(trainer.model, inputs, num_items_in_batch=(inputs["labels"] != -100).sum())
        loss.backward()
        found.append((loss.item(), torch.cat([p.grad.flatten() for p in trainer.model.parameters()])))
    (ours, a), (theirs, b) = found
    assert ours == pytest.approx(theirs, rel=1e-6)
    assert b.norm() > 1e-3 and (a - b).norm() / b.norm() < 1e-5
