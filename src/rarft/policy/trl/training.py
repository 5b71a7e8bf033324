"""A training run: TRL's arguments, the trainer, resuming, saving. Start at `train_policy`.

Every process of a distributed run executes it; only the first writes.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.utils import is_peft_model

from rarft.core.checkpoints import cut_log, last_checkpoint
from rarft.core.errors import InputError
from rarft.core.progress import log
from rarft.core.stages import Work
from rarft.policy.config import TrainConfig, mixed_precision, tokens_at_once
from rarft.policy.job import Job, first_process, load_job
from rarft.policy.trl import rl, sft
from rarft.policy.trl.monitor import Monitor, rollouts_files
from rarft.policy.trl.muon import Muon

ROWS_UNCUT = 16
"""Sequences of a micro-batch that cannot be cut by its tokens, where nobody says how many."""


def train_policy(config: TrainConfig, work: Work) -> None:
    """Train as `config` says, into `work.path`. See `rarft.policy.train.train`."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers.utils.logging.disable_progress_bar()
    job = load_job(config)
    checkpoint = last_checkpoint(work.scratch / "checkpoints")
    done = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    if first_process():
        for path in (work.path / "log.jsonl", work.path / "samples.jsonl", *rollouts_files(work.scratch)):
            cut_log(path, done)
    if checkpoint and first_process():
        log(f"train: going on from step {done} of {job.steps}")
    make_trainer = sft.make_trainer if config.algorithm == "sft" else rl.make_trainer
    monitor = Monitor(job, work.path, work.scratch)
    trainer = make_trainer(job, arguments(job, work.scratch / "checkpoints"), monitor)
    monitor.watch(trainer)
    if config.optimizer == "muon":
        trainer.optimizer = muon(trainer)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        monitor.close()
    monitor.finish()
    save(trainer, job.tokenizer, work.path)
    work.results.update(
        steps=job.steps, problems=len(job.problems), with_demonstration=job.n_with_demonstration, **monitor.results()
    )
    work.ledger.add(tokens_in=monitor.tokens_in, tokens_out=monitor.tokens_out)


# TRL arguments


def arguments(job: Job, checkpoints: Path) -> dict[str, Any]:
    """What the config means in the terms of TRL's GRPOConfig, RLOOConfig and SFTConfig alike."""
    config = job.config
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rows = config.prompts_per_step * (1 if config.algorithm == "sft" else config.num_generations)
    if rows % world:
        raise InputError(
            f"prompts-per-step times num-generations is {rows}, not a multiple of the {world} processes; change one"
        )
    micro = fitting_batch(rows // world, rows_at_once(job, rows // world), config.num_generations)
    accumulation = rows // world // micro
    every = 1 if config.algorithm == "sft" else steps_between_rollouts(config, accumulation)
    values = {
        "output_dir": str(checkpoints),
        "max_steps": job.steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": config.warmup_steps,
        "bf16": mixed_precision(config, torch.cuda.is_available()),
        "gradient_checkpointing": config.gradient_checkpointing,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "seed": config.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": math.ceil(config.save_every / every) * every,
        "save_total_limit": 2,
        "report_to": [] if config.report_to == "none" else [config.report_to],
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }
    return {**values, **(config.trl if config.algorithm == "sft" else {**rl_options(config), **config.trl})}


def rl_options(config: TrainConfig) -> dict[str, Any]:
    """The paper's choices for each algorithm."""
    values: dict[str, Any] = {
        "num_generations": config.num_generations,
        "max_completion_length": config.max_new_tokens,
        "temperature": config.temperature,
        "beta": config.beta,
        "mask_truncated_completions": config.mask_truncated,
        "shuffle_dataset": False,  # the schedule is shuffled already
        "use_vllm": config.vllm != "none",
    }
    if config.vllm != "none":
        values["vllm_mode"] = config.vllm
    if config.algorithm == "grpo":  # group-normalised advantages, mean over each sequence, one clip range
        values |= {"loss_type": "grpo", "scale_rewards": "group"}
    elif config.algorithm == "dapo":  # token-level loss, and more room upwards than downwards
        values |= {"loss_type": "dapo", "scale_rewards": "group", "epsilon_high": 0.28}
    return values


def steps_between_rollouts(config: TrainConfig, accumulation: int) -> int:
    """Optimiser steps from one sampling at a step's beginning to the next.

    In between the trainer takes its micro-batches from rollouts that no checkpoint holds.
    """
    uses = config.trl.get("num_iterations", 1) * (config.trl.get("steps_per_generation") or accumulation)
    return math.lcm(accumulation, uses) // accumulation


def rows_at_once(job: Job, rows: int) -> int:
    """Most sequences of a micro-batch: `micro_batch`; without it RL takes all and cuts them by their tokens.

    Where it cannot cut, for SFT as many as their tokens allow, else 16.

    Args:
        rows: of a step, in this process.
    """
    config = job.config
    if config.algorithm == "sft":
        by_tokens = max(1, tokens_at_once(config, torch.cuda.is_available()) // sft.Examples(job).longest())
        return min(config.micro_batch or rows, by_tokens)
    whole = getattr(job.model.config.get_text_config(), "output_router_logits", False)
    whole = whole or config.trl.get("top_entropy_quantile", 1.0) < 1 or config.trl.get("use_adaptive_entropy", False)
    whole = whole or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    return config.micro_batch or (ROWS_UNCUT if whole else rows)


def fitting_batch(rows: int, most: int, group: int) -> int:
    """The largest divisor of `rows` up to `most`; of those that hold whole groups, where there is one."""
    divisors = [n for n in range(1, min(rows, most) + 1) if rows % n == 0]
    return max([n for n in divisors if n % group == 0] or divisors)


def muon(trainer: Any) -> Muon:
    """Muon with the options that TRL would give AdamW.

    Raises:
        InputError: sharded weights.
    """
    args = trainer.args
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise InputError("optimizer muon needs whole matrices, which FSDP and DeepSpeed part; leave it at adamw")
    return Muon(
        trainer.model,
        lr=args.learning_rate,
        betas=(args.adam_beta1, args.adam_beta2),
        eps=args.adam_epsilon,
        weight_decay=args.weight_decay,
    )


# The result


def save(trainer: Any, tokenizer: Any, folder: Path) -> None:
    """Write the policy as a Hugging Face folder in safetensors, LoRA adapters merged in."""
    accelerator = trainer.accelerator
    model = accelerator.unwrap_model(trainer.model)
    if is_peft_model(model):
        if accelerator.is_main_process:
            model.merge_and_unload().save_pretrained(folder)
    else:
        trainer.save_model(str(folder))
        (folder / "training_args.bin").unlink(missing_ok=True)
    if accelerator.is_main_process:
        tokenizer.save_pretrained(folder)
    accelerator.wait_for_everyone()
