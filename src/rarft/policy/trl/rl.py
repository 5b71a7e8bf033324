"""The RL trainers: TRL's GRPO and RLOO with shared prompts, fed with problems and their demonstrations."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig, RLOOConfig

from rarft.policy.config import tokens_at_once
from rarft.policy.job import Job
from rarft.policy.trl.lora import lora_config
from rarft.policy.trl.monitor import Monitor
from rarft.policy.trl.shared import Base, SharedGRPOTrainer, SharedRLOOTrainer
from rarft.policy.trl.vllm_sync import weights_without_cuda
from rarft.rewards import REASONS
from rarft.rewards.problems import verify_problems


class WithDemonstrations(Base):
    """Mixin: rows name a problem and a visit; the prompt, with the visit's demonstrations, is made here.

    Sampling and update see the same token ids: TRL carries the ones that `_tokenize_prompts` returns through both.
    """

    job: Job
    prompt_tokens = 0
    """Prompt tokens computed, each group's once."""

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Any:
        job, group = self.job, self.num_generations
        rows, self._contexts = [], []
        for i, row in enumerate(inputs):
            problem = job.problems[row["problem"]]
            sample = (self.accelerator.process_index * len(inputs) + i) % group
            context = sample * job.config.contexts_per_group // group
            traces = job.demonstrations.on_visit(problem, row["visit"], context)
            ids = job.prompts.of(problem, traces)
            self._contexts.append(ids)
            if not self._contexts[:-1] or ids != self._contexts[-2]:
                self.prompt_tokens += len(ids)
            told = {"demonstrations": [trace.id for trace in traces], "sample": sample, "prompt_length": len(ids)}
            rows.append({**row, "prompt": problem.question, **told})
        return super()._generate_and_score_completions(rows)

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return self._contexts, None, {}


class DemonstratedGRPOTrainer(WithDemonstrations, SharedGRPOTrainer):
    """GRPO (also DAPO and TRL's other losses) with demonstrations in the prompt."""


class DemonstratedRLOOTrainer(WithDemonstrations, SharedRLOOTrainer):
    """RLOO with demonstrations in the prompt."""


def make_trainer(job: Job, arguments: dict[str, Any], monitor: Monitor) -> Any:
    """The trainer for `job`; `arguments` are TRL's."""
    config = job.config
    rows = {
        "prompt": [job.problems[i].question for i in job.visits],
        "problem": job.visits,
        "visit": list(range(len(job.visits))),
    }
    rloo = config.algorithm == "rloo"
    with weights_without_cuda() if config.vllm != "none" else nullcontext():
        trainer = (DemonstratedRLOOTrainer if rloo else DemonstratedGRPOTrainer)(
            model=job.model,
            reward_funcs=make_reward(job, monitor),
            args=(RLOOConfig if rloo else GRPOConfig)(**arguments),
            train_dataset=Dataset.from_dict(rows),
            processing_class=job.tokenizer,
            peft_config=lora_config(config.lora),
        )
    trainer.job = job
    trainer.rollout_batch = config.rollout_batch
    trainer.micro_batch_tokens = tokens_at_once(config, torch.cuda.is_available())
    return trainer


def make_reward(job: Job, monitor: Monitor) -> Any:
    """The reward function: verification of each completion, with the share of each reason logged."""

    def reward(
        completions: list[str],
        completion_ids: list[list[int]],
        problem: list[int],
        log_metric: Any,
        **columns: Any,
    ) -> list[float]:
        problems = [job.problems[i] for i in problem]
        verdicts = verify_problems(problems, completions, job.config.reward)
        for reason in REASONS:
            log_metric(f"reason/{reason}", sum(v.reason == reason for v in verdicts) / len(verdicts))
        monitor.note_rollouts(problems, columns, completions, completion_ids, verdicts)
        return [v.reward for v in verdicts]

    reward.__name__ = job.config.reward.replace("/", "_")
    return reward
