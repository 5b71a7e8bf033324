"""SFT and RA-SFT: imitate a solution given the problem, with or without demonstrations in the prompt.

The loss is TRL's, over the solution and the end token only. The prompt is the one RL and evaluation use, so a policy
warmed up here meets nothing new there.
"""

from __future__ import annotations

from array import array
from typing import Any

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from rarft.core.progress import log
from rarft.models.head import head_tiles
from rarft.models.prompts import completion_ids
from rarft.policy.job import Job, first_process
from rarft.policy.trl.lora import lora_config
from rarft.policy.trl.monitor import Monitor


class LeanSFTTrainer(SFTTrainer):
    """TRL's SFTTrainer, its head on the tokens that count; without reports to TRL's makers, README per checkpoint."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        with head_tiles(self.accelerator.device):
            return super().compute_loss(*args, **kwargs)

    def _send_telemetry(self) -> None:
        pass

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        pass


def make_trainer(job: Job, arguments: dict[str, Any], monitor: Monitor) -> Any:
    """The trainer for `job`; `arguments` are TRL's."""
    examples = Examples(job)
    visits = examples.by_length()
    monitor.cut_solutions = len(examples.cut)
    if examples.cut and first_process():
        log(
            f"train: {len(examples.cut)} of {len(set(job.visits))} solutions exceed max-new-tokens or the model's "
            "context and are cut; what is left has no end token, and often no answer"
        )
    return LeanSFTTrainer(
        model=job.model,
        args=SFTConfig(
            train_sampling_strategy="sequential",
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
            **arguments,
        ),
        train_dataset=Dataset.from_dict({"problem": [job.visits[v] for v in visits], "visit": visits}),
        data_collator=lambda rows: collate([examples.of(row["visit"]) for row in rows], job.tokenizer.pad_token_id),
        processing_class=job.tokenizer,
        peft_config=lora_config(job.config.lora),
    )


class Examples:
    """Prompt and solution at each visit, as token ids."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._solutions: dict[int, array[int]] = {}
        self.cut: set[int] = set()
        """Indices of the problems whose solution was cut at a visit asked for so far."""

    def of(self, visit: int) -> tuple[list[int], int]:
        """Token ids of prompt and solution at `visit`, and the number of those that are the prompt's."""
        job = self.job
        problem = job.problems[job.visits[visit]]
        prompt = job.prompts.of(problem, job.demonstrations.on_visit(problem, visit))
        solution, room = self._solution(job.visits[visit]), job.config.max_new_tokens
        if job.prompts.limit is not None:
            room = min(room, job.prompts.limit - len(prompt))
        if len(solution) > room:
            self.cut.add(job.visits[visit])
        return prompt + solution[:room], len(prompt)

    def by_length(self) -> list[int]:
        """The visits of each step, ordered by length, so that its micro-batches carry little padding.

        The step's loss and update stay the same: TRL averages over the tokens of the whole step.
        """
        per_step = self.job.config.prompts_per_step
        visits: list[int] = []
        for start in range(0, len(self.job.visits), per_step):
            visits += sorted(range(start, start + per_step), key=lambda visit: len(self.of(visit)[0]))
        return visits

    def longest(self) -> int:
        """Tokens of the longest visit."""
        return max(len(self.of(visit)[0]) for visit in range(len(self.job.visits)))

    def _solution(self, index: int) -> list[int]:
        """Token ids of a problem's solution and the end token."""
        job = self.job
        if index not in self._solutions:
            ids = completion_ids(job.tokenizer, job.targets[index], job.config.prompt)
            self._solutions[index] = array("I", [*ids, job.tokenizer.eos_token_id])
        return self._solutions[index].tolist()


def collate(examples: list[tuple[list[int], int]], pad: int) -> dict[str, torch.Tensor]:
    """A batch (B, T) padded on the right, of (prompt and solution, prompt's length); labels of the rest are -100."""
    width = max(len(ids) for ids, _ in examples)
    input_ids = torch.full((len(examples), width), pad)
    labels = torch.full((len(examples), width), -100)
    mask = torch.zeros((len(examples), width), dtype=torch.long)
    for i, (ids, prompt) in enumerate(examples):
        tokens = torch.tensor(ids)
        input_ids[i, : len(ids)] = tokens
        labels[i, prompt : len(ids)] = tokens[prompt:]
        mask[i, : len(ids)] = 1
    return {"input_ids": input_ids, "labels": labels, "attention_mask": mask}
