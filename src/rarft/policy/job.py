"""What a training run works on, loaded and checked: problems, their demonstrations, prompts, the policy."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rarft.core.errors import InputError
from rarft.core.progress import log
from rarft.models.loading import context_length, load_policy
from rarft.models.prompts import with_answer
from rarft.policy.config import TrainConfig
from rarft.policy.contexts import Analogies, Demonstrations, Prompts, both_analogies, schedule
from rarft.records.problems import Problem, Trace, load_problems, load_traces
from rarft.rewards.problems import check_problems


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
    eval_demonstrations: Demonstrations
    eval_prompts: Prompts
    steps: int
    visits: list[int]
    """Index of the problem at each visit, `prompts_per_step` to a step."""
    model: Any
    tokenizer: Any

    @property
    def n_with_demonstration(self) -> int:
        """Number of problems with a demonstration."""
        return sum(problem.id in self.demonstrations.analogies for problem in self.problems)


def load_job(config: TrainConfig) -> Job:
    """Load and check everything that training needs, so that bad input fails before the first step.

    Raises:
        InputError: bad input; a prompt longer than the model takes.
    """
    if config.vllm != "none":
        if find_spec("vllm") is None:
            raise InputError(f"vllm {config.vllm} needs vLLM: pip install 'rarft[vllm]'")
        path = Path(config.model).expanduser()
        if path.is_file() or (path / "adapter_config.json").is_file():
            raise InputError(f"{config.model}: vLLM reads no GGUF file or LoRA adapter; give a folder of whole weights")
    problems = load_problems(config.problems)
    traces = {trace.id: trace for trace in load_traces(config.traces)} if config.traces else {}
    eval_problems = load_problems(config.eval_problems)[: config.eval_limit] if config.eval_problems else []
    analogies: Analogies = {}
    eval_analogies: Analogies = {}
    if config.retrieval and config.analogies:
        analogies, eval_analogies = both_analogies(config, problems, eval_problems, traces)
    elif config.retrieval and first_process():
        log("train: no analogies given, so training without demonstrations")
    targets = (
        [solution_of(problem, traces, config.problems) for problem in problems] if config.algorithm == "sft" else []
    )
    if not targets:
        check_problems(problems, config.problems, config.reward)
    if config.eval_problems:
        check_problems(eval_problems, config.eval_problems, config.reward)

    per_step = config.prompts_per_step
    steps = config.steps or max(1, math.ceil(len(problems) * config.epochs / per_step))
    model, tokenizer = load_policy(config.model, dtype=config.dtype)
    limit = context_length(model.config)
    demonstrations = Demonstrations.by(config, analogies, steps * per_step)
    job = Job(
        config,
        problems,
        demonstrations,
        Prompts(tokenizer, config.prompt, limit, 1 if targets else config.max_new_tokens),
        targets,
        eval_problems,
        replace(demonstrations, analogies=eval_analogies),
        Prompts(tokenizer, config.prompt, limit, config.max_new_tokens),
        steps,
        schedule(len(problems), steps * per_step, config.seed),
        model,
        tokenizer,
    )
    for visit, i in enumerate(job.visits):
        for context in range(config.contexts_per_group):
            job.prompts.of(problems[i], demonstrations.on_visit(problems[i], visit, context))
    for problem in eval_problems:
        job.eval_prompts.of(problem, job.eval_demonstrations.best(problem))
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


def first_process() -> bool:
    """Whether this process is the one that writes, of those that `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"
