"""`rarft train`: reinforcement fine-tuning of a policy with retrieved demonstrations in its prompt, and its baselines.

For each problem q take the top-k traces, sample G completions from `M(. | q, c_1..c_k)`, reward each by verification,
normalise within the group, and update `M` under the same context. `--no-retrieval` is the same code without c. The
losses are TRL's (GRPO, DAPO, RLOO; SFT for warm-up and baseline). Left out: DAPO's dynamic sampling, reward models.

    rarft train --problems P --traces T --analogies A --model M --algorithm grpo --output runs/ra-rft
"""

import json
import os
import re
import shlex
import sys
from typing import Any

from rarft.core.artifacts import write_json
from rarft.core.errors import InputError, StageError
from rarft.core.estimate import Estimate, Known, times
from rarft.core.processes import STARTED_BY, WANTED_PROCESSES, ended, start_child
from rarft.core.stages import Work, stage
from rarft.policy.config import TrainConfig, check


def estimate(config: TrainConfig, known: Known) -> Estimate:
    """Steps, rollouts, and their tokens at most; memory at the peak."""
    check(config)
    from rarft.policy.memory import describe, shape_of  # transformers: keeps --help quick

    memory = describe(config, shape_of(known.shaped_like(config.model)))
    more: dict[str, Any] = {"like": config.model, "notes": (memory,)}
    steps = config.steps or times(known.problems(config.problems), config.epochs / config.prompts_per_step)
    if config.algorithm == "sft":
        return Estimate({"steps": steps, "solutions": times(steps, config.prompts_per_step)}, **more)
    rollouts = times(steps, config.prompts_per_step, config.num_generations)
    tokens = times(rollouts, config.max_new_tokens)
    return Estimate({"steps": steps, "rollouts": rollouts, "tokens": tokens}, **more)


@stage("train", "stage 3: train the policy by RL or SFT, with or without traces", place=70, estimate=estimate)
def train(config: TrainConfig, work: Work) -> None:
    """Train a policy.

    The output is a Hugging Face model folder, with log.jsonl (one row per step: loss, reward, share of each
    verification reason `reason/...`, mean_length, truncated, seconds, learning_rate, eval_accuracy), rollouts.parquet
    (all of RL's rollouts, with `step`, `visit` and the traces in their prompts) and samples.jsonl (some of them, with
    the whole text). A killed run goes on from its last checkpoint with the same curve.

    Raises:
        InputError: bad input; a prompt longer than the model takes.
        StageError: a loss that is not a number, or a process of `--launch` that died.
    """
    check(config)
    if config.launch:
        _launch(config, work)
        return
    from rarft.policy.trl.training import train_policy  # torch, trl: keeps --help quick

    train_policy(config, work)


def _launch(config: TrainConfig, work: Work) -> None:
    """Train in the processes of `accelerate launch`, each of which runs `rarft.policy.worker`."""
    job, failed, facts = (work.scratch / name for name in ("job.json", "error.json", "facts.json"))
    write_json(job, config.model_copy(update={"launch": ""}).model_dump(mode="json"))
    failed.unlink(missing_ok=True)
    options = shlex.split(config.launch)
    wanted = re.search(r"--num_processes[ =](\d+)", " ".join(options))
    child = start_child(
        [sys.executable, "-m", "accelerate.commands.launch", *options, "-m", "rarft.policy.worker", str(job)],
        lock=work.lock,
        env={STARTED_BY: str(os.getpid()), WANTED_PROCESSES: wanted[1] if wanted else ""},
    )
    try:
        code = child.wait()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    if failed.is_file():
        told = json.loads(failed.read_text(encoding="utf-8"))
        raise (InputError if told["bad_input"] else StageError)(f"accelerate launch {config.launch}: {told['message']}")
    if code or not facts.is_file():
        raise StageError(
            f"accelerate launch {config.launch}: a process {ended(code)}; what it said stands above. If memory ran "
            "out: lower micro-batch-tokens or rollout-batch, or turn gradient-checkpointing on; the same command goes "
            "on from the last checkpoint"
        )
    found = json.loads(facts.read_text(encoding="utf-8"))
    work.results.update(found["results"])
    work.ledger.add(**found["ledger"])
