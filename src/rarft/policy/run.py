"""A training run, from config to saved policy: data, prompts, TRL arguments, trainer, resume, saving.

Reads top to bottom: `train_policy` does it all; below it what it needs. Every process of a distributed run executes
it; only the first writes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rarft.core.artifacts import Work
from rarft.core.errors import InputError
from rarft.core.progress import log
from rarft.models.prompts import with_answer
from rarft.policy.contexts import Demonstrations, Prompts, load_analogies, schedule
from rarft.policy.train import TrainConfig
from rarft.records.problems import Problem, Trace, load_problems, load_traces


@dataclass
class Job:
    """What is trained on what."""

    config: TrainConfig
    problems: list[Problem]
    demonstrations: Demonstrations
    prompts: Prompts
    targets: list[str]
    """Solutions to imitate, one per problem; empty unless the algorithm is sft."""
    eval_problems: list[Problem]
    steps: int
    visits: list[int]
    """Index of the problem at each visit, `prompts_per_step` to a step."""
    model: Any
    tokenizer: Any


def train_policy(config: TrainConfig, work: Work) -> None:
    """Train as `config` says, into `work.path`. See `rarft.policy.train.train`."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import transformers

    transformers.utils.logging.disable_progress_bar()
    from rarft.policy.trl.monitor import Monitor, read_rows_up_to

    job = prepare(config)
    checkpoint = last_checkpoint(work.scratch / "checkpoints")
    done = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    if first_process():
        for name in ("log.jsonl", "samples.jsonl"):
            read_rows_up_to(work.path / name, done)
    if checkpoint and first_process():
        log(f"train: going on from step {done} of {job.steps}")
    if config.algorithm == "sft":
        from rarft.policy.trl.sft import make_trainer
    else:
        from rarft.policy.trl.rl import make_trainer
    monitor = Monitor(job, work.path)
    trainer = make_trainer(job, arguments(job, work.scratch / "checkpoints"), monitor)
    monitor.watch(trainer)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        monitor.close()
    monitor.finish()
    save(trainer, job.tokenizer, work.path)
    work.results.update(
        steps=job.steps, problems=len(job.problems), with_demonstration=covered(job), **monitor.results()
    )
    work.ledger.add(tokens_in=monitor.tokens_in, tokens_out=monitor.tokens_out)


def first_process() -> bool:
    """Whether this process is the one that writes, of those that `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"


# Data


def prepare(config: TrainConfig) -> Job:
    """Load and check everything that training needs, so that bad input fails before the first step."""
    from rarft.models.loading import context_length, load_policy
    from rarft.rewards import require_golds

    problems = load_problems(config.problems)
    traces = {trace.id: trace for trace in load_traces(config.traces)} if config.traces else {}
    eval_problems = load_problems(config.eval_problems)[: config.eval_limit] if config.eval_problems else []
    analogies: dict[str, Sequence[Trace]] = {}
    if config.retrieval and config.analogies:
        analogies.update(load_analogies(config.analogies, traces))
        if config.eval_analogies:
            analogies.update(load_analogies(config.eval_analogies, traces))
        if not any(problem.id in analogies for problem in problems):
            raise InputError(f"{config.analogies}: has no analogy for any problem of {config.problems}; retrieve anew")
    elif config.retrieval and first_process():
        log("train: no analogies given, so training without demonstrations")
    targets = (
        [solution_of(problem, traces, config.problems) for problem in problems] if config.algorithm == "sft" else []
    )
    if not targets:
        require_golds(problems, config.reward, config.problems)
    if config.eval_problems:
        require_golds(eval_problems, config.reward, config.eval_problems)

    per_step = config.prompts_per_step
    steps = config.steps or max(1, math.ceil(len(problems) * config.epochs / per_step))
    model, tokenizer = load_policy(config.model, dtype=config.dtype)
    limit = context_length(model.config)
    job = Job(
        config,
        problems,
        Demonstrations(analogies, config.top_k, config.drop_demonstration, config.draw_top, config.seed),
        Prompts(tokenizer, config.prompt, limit, 1 if targets else config.max_completion_length),
        targets,
        eval_problems,
        steps,
        schedule(len(problems), steps * per_step, config.seed),
        model,
        tokenizer,
    )
    for problem in {i: problems[i] for i in job.visits}.values():
        job.prompts.of(problem, job.demonstrations.best(problem))
    for problem in eval_problems:
        job.prompts.of(problem, job.demonstrations.best(problem))
    return job


def solution_of(problem: Problem, traces: dict[str, Trace], where: str) -> str:
    """The solution that sft imitates, with its answer boxed. Raises InputError where there is none."""
    solution = problem.extra.get("solution")
    if solution is None and problem.id in traces:
        solution = traces[problem.id].solution
    if not isinstance(solution, str) or not solution.strip():
        raise InputError(
            f"{where}: problem {problem.id} has no column `solution` and no trace with its id; sft needs one"
        )
    return with_answer(solution, problem.answer)


def covered(job: Job) -> int:
    """Number of problems with a demonstration."""
    return sum(problem.id in job.demonstrations.analogies for problem in job.problems)


# TRL arguments


def arguments(job: Job, checkpoints: Path) -> dict[str, Any]:
    """What the config means in the terms of TRL's GRPOConfig, RLOOConfig and SFTConfig alike."""
    import torch

    config = job.config
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rows = config.prompts_per_step * (1 if config.algorithm == "sft" else config.num_generations)
    if rows % world:
        raise InputError(
            f"prompts-per-step times num-generations is {rows}, not a multiple of the {world} processes; change one"
        )
    micro = fitting_batch(rows // world, config.micro_batch, config.num_generations)
    values = {
        "output_dir": str(checkpoints),
        "max_steps": job.steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": rows // world // micro,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": config.warmup_steps,
        "bf16": config.bf16,
        "gradient_checkpointing": config.gradient_checkpointing,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "seed": config.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": config.save_every,
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
        "max_completion_length": config.max_completion_length,
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


def fitting_batch(rows: int, most: int, group: int) -> int:
    """The largest divisor of `rows` up to `most`; of those that hold whole groups, where there is one."""
    divisors = [n for n in range(1, min(rows, most) + 1) if rows % n == 0]
    return max([n for n in divisors if n % group == 0] or divisors)


# Checkpoints and the result


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint. The trainer's state is written last, so one without it was cut off."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            continue
        whole.append((int(path.name.split("-")[1]), path))
    return max(whole)[1] if whole else None


def save(trainer: Any, tokenizer: Any, folder: Path) -> None:
    """Write the policy as a Hugging Face folder in safetensors, LoRA adapters merged in."""
    from accelerate.utils import is_peft_model

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
