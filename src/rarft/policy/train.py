"""`rarft train`: reinforcement fine-tuning of a policy with retrieved demonstrations in its prompt, and its baselines.

For each problem q take the top-k traces, sample G completions from `M(. | q, c_1..c_k)`, reward each by verification,
normalise within the group, and update `M` under the same context. `--no-retrieval` is the same code without c. The
losses are TRL's (GRPO, DAPO, RLOO; SFT for warm-up and baseline). Left out: DAPO's dynamic sampling, reward models.

    rarft train --problems P --traces T --analogies A --model M --algorithm grpo --output runs/ra-rft
"""

import difflib
import json
import subprocess
import sys
from typing import Any, ClassVar, Literal

from pydantic import Field

from rarft.core.artifacts import Work, stage, write_json
from rarft.core.config import Config, Input
from rarft.core.errors import InputError
from rarft.models.prompts import PromptConfig


class LoraOptions(Config):
    rank: int = Field(0, ge=0)
    """Rank of the LoRA adapters; 0 trains all parameters. The adapters are merged into the saved model."""
    alpha: float = 32.0
    """Scale: adapters are multiplied by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout before the adapters."""
    target_modules: str = "all-linear"
    """Module names, separated by commas, or all-linear."""


class TrainConfig(Config):
    problems: Input
    """Problems to train on: JSONL, Parquet, CSV, a `rarft prepare` folder, or a Hugging Face dataset id."""
    model: Input
    """Policy to start from: Hugging Face id, folder, or GGUF file."""
    traces: Input | None = None
    """Corpus of traces that the analogies name; for sft also the solutions of problems with the same id."""
    analogies: Input | None = None
    """analogies.parquet or the `rarft retrieve` folder that holds it; without it there are no demonstrations."""
    algorithm: Literal["grpo", "dapo", "rloo", "sft"] = "grpo"
    """grpo, dapo and rloo learn from verified samples; sft from solutions."""
    retrieval: bool = True
    """Put the demonstrations into the prompt; --no-retrieval is the baseline, all else equal."""
    top_k: int = Field(1, ge=1)
    """Demonstrations per problem."""
    prompt: PromptConfig = PromptConfig()
    """How problem and demonstrations are put together."""
    reward: str = "math"
    """Verifier of the answers: math, reasoning-gym, or module:Class."""
    num_generations: int = Field(16, ge=1)
    """Samples per problem and visit, G."""
    prompts_per_step: int = Field(16, ge=1)
    """Problems per optimiser step, over all processes."""
    steps: int | None = Field(None, ge=1)
    """Optimiser steps; by default as many as `epochs` takes."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the problems, where `steps` is not given."""
    learning_rate: float = 1e-6
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls after warm-up."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises to its peak."""
    temperature: float = Field(1.0, gt=0)
    """Temperature of rollouts, and of the log-probs that are trained."""
    beta: float = 0.0
    """Weight of the KL penalty towards the starting policy; 0 needs no second model."""
    max_completion_length: int = Field(2048, ge=1)
    """Most tokens of a rollout; for sft, longer solutions are cut."""
    mask_truncated: bool = False
    """Leave rollouts that hit the token limit out of the loss."""
    drop_demonstration: float = Field(0.0, ge=0, le=1)
    """Share of visits at which a problem is shown without demonstration (beyond the paper)."""
    draw_top: int = Field(0, ge=0)
    """Draw the top-k at random from this many best traces at each visit; 0 takes the best (beyond the paper)."""
    lora: LoraOptions = LoraOptions()
    """Low-rank adapters."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of weights and optimiser. bfloat16 rounds away updates at small learning rates."""
    bf16: bool = False
    """Mixed precision: compute in bfloat16, keep weights in `dtype`."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass. Excludes computing the prompt once per group."""
    micro_batch: int = Field(16, ge=1)
    """Most sequences in one forward and backward pass on a device; whole groups where it holds one."""
    rollout_batch: int = Field(128, ge=1)
    """Most sequences sampled at a time on a device, without vLLM."""
    vllm: Literal["none", "colocate", "server"] = "none"
    """Sample with vLLM: none, in this process (colocate), or from `trl vllm-serve` (server). Needs rarft[vllm]."""
    trl: dict[str, Any] = {}
    """Any option of TRL's GRPOConfig, RLOOConfig or SFTConfig; wins over the ones above."""
    launch: str = ""
    """Arguments of `accelerate launch`, such as `--num_processes 8 --config_file fsdp.yaml`; empty: this process."""
    eval_problems: Input | None = None
    """Held-out problems whose accuracy is logged during training."""
    eval_analogies: Input | None = None
    """Their demonstrations; by default `analogies`, as far as it covers them."""
    eval_every: int = Field(0, ge=0)
    """Steps between evaluations, the first before training; 0: only before and after."""
    eval_samples: int = Field(1, ge=1)
    """Samples per held-out problem."""
    eval_limit: int = Field(256, ge=1)
    """Most held-out problems evaluated: the first ones."""
    save_every: int = Field(50, ge=1)
    """Steps between checkpoints, from which a killed run goes on."""
    samples_per_step: int = Field(1, ge=0)
    """Rollouts written to samples.jsonl at each step, with demonstration and reward."""
    constant_reward_steps: int = Field(10, ge=1)
    """Report it when no group had differing rewards for this many steps: there was nothing to learn from."""
    report_to: Literal["none", "trackio", "wandb", "tensorboard"] = "none"
    """Experiment tracker; log.jsonl is written in any case."""
    seed: int = 0
    """Seed of every random choice."""

    not_in_fingerprint: ClassVar[frozenset[str]] = frozenset(
        {"micro_batch", "rollout_batch", "save_every", "report_to", "launch"}
    )


@stage("train")
def train(config: TrainConfig, work: Work) -> None:
    """Train a policy.

    The output is a Hugging Face model folder, with log.jsonl (one row per step: loss, reward, share of each
    verification reason `reason/...`, mean_length, truncated, seconds, learning_rate, eval_accuracy) and samples.jsonl
    (rollouts with their demonstrations and rewards). A killed run goes on from its last checkpoint with the same
    curve.

    Raises:
        InputError: bad input; a prompt longer than the model takes; a loss that is not a number.
    """
    check(config)
    if config.launch:
        _launch(config, work)
        return
    from rarft.policy.run import train_policy

    train_policy(config, work)


def check(config: TrainConfig) -> None:
    """Check what can be checked without reading anything.

    Raises:
        InputError: options that exclude each other, or an unknown TRL option.
    """
    if config.algorithm != "sft" and config.num_generations < 2:
        raise InputError("num-generations is 1: an advantage needs at least 2 samples per problem")
    if config.analogies and not config.traces:
        raise InputError("analogies name traces: give the corpus they come from with --traces")
    if config.draw_top and config.draw_top < config.top_k:
        raise InputError(f"draw-top is {config.draw_top}, below top-k {config.top_k}; raise it or set it to 0")
    if config.trl:
        known = _trl_options(config.algorithm)
        for key in config.trl:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                hint = f"; did you mean `{near[0]}`?" if near else ""
                raise InputError(f"trl.{key}: TRL's options for {config.algorithm} have no such key{hint}")


def _trl_options(algorithm: str) -> list[str]:
    import dataclasses

    import trl

    options = {"rloo": "RLOOConfig", "sft": "SFTConfig"}.get(algorithm, "GRPOConfig")
    return [field.name for field in dataclasses.fields(getattr(trl, options)) if field.init]


def _launch(config: TrainConfig, work: Work) -> None:
    """Train in the processes of `accelerate launch`, each of which runs `rarft.policy.worker`."""
    import shlex

    job = work.scratch / "job.json"
    write_json(job, config.model_copy(update={"launch": ""}).model_dump(mode="json"))
    command = [sys.executable, "-m", "accelerate.commands.launch", *shlex.split(config.launch)]
    done = subprocess.run([*command, "-m", "rarft.policy.worker", str(job)], check=False)
    facts = work.scratch / "facts.json"
    if done.returncode:
        failed = work.scratch / "error.txt"
        reason = failed.read_text(encoding="utf-8") if failed.is_file() else f"exit code {done.returncode}, see above"
        raise InputError(f"accelerate launch {config.launch}: {reason}")
    found = json.loads(facts.read_text(encoding="utf-8"))
    work.results.update(found["results"])
    work.ledger.add(**found["ledger"])
