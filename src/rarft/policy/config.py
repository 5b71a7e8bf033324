"""What `rarft train` takes, in the order in which a run is thought out: data, contexts, rollouts, update, machine."""

import dataclasses
import difflib
import shlex
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from rarft.core.config import Config, Input, NotInResult, Seed, TemperatureAboveZero
from rarft.core.doors import check_installed
from rarft.core.errors import InputError
from rarft.models.number_types import fast_bfloat16
from rarft.models.prompts import PromptConfig
from rarft.policy.contexts import check_choice
from rarft.rewards.sandbox import RewardConfig


class LoraOptions(Config):
    rank: int = Field(0, ge=0)
    """Rank of the LoRA adapters; 0 trains all parameters. The adapters are merged into the saved model."""
    alpha: float = Field(32.0, gt=0)
    """Scale: adapters are multiplied by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout before the adapters."""
    target_modules: str = "all-linear"
    """Module names, separated by commas, or all-linear."""


class TrainConfig(RewardConfig):
    # What is trained on what

    problems: Input
    """Problems to train on: JSONL, Parquet, CSV, a `rarft prepare` folder, or a Hugging Face dataset id."""
    model: Input
    """Policy to start from: Hugging Face id, folder, or GGUF file."""
    algorithm: Literal["grpo", "dapo", "rloo", "sft"] = "grpo"
    """grpo, dapo and rloo learn from verified samples; sft from solutions."""
    reward: str = "math"
    """Verifier of the answers: math, reasoning-gym, code, or module:Class."""

    # What stands in the prompt

    traces: Input | None = None
    """Corpus of traces that the analogies name; for sft also the solutions of problems with the same id."""
    analogies: Input | None = None
    """analogies.parquet or the `rarft retrieve` folder that holds it; without it there are no demonstrations."""
    retrieval: bool = True
    """Put the demonstrations into the prompt; --no-retrieval is the baseline, all else equal."""
    top_k: int = Field(1, ge=1)
    """Demonstrations per problem."""
    drop_demonstration: float = Field(0.0, ge=0, le=1)
    """Share of visits at which a problem is shown without demonstration (beyond the paper)."""
    draw_top: int = Field(0, ge=0)
    """Draw the top-k at random from this many best traces at each visit; 0 takes the best (beyond the paper)."""
    demonstration_schedule: str = "constant"
    """constant, or linear:FROM:TO, the share of visits with a demonstration from the first step to the last (beyond the
    paper)."""
    contexts_per_group: int = Field(1, ge=1)
    """Different demonstrations within a group of samples, which then compete: the best ones, or as many draws (beyond
    the paper). It divides num-generations."""
    prompt: PromptConfig = PromptConfig()
    """How problem and demonstrations are put together."""

    # Rollouts

    num_generations: int = Field(16, ge=1)
    """Samples per problem and visit, G."""
    prompts_per_step: int = Field(16, ge=1)
    """Problems per optimiser step, over all processes."""
    temperature: TemperatureAboveZero = 1.0
    """Temperature of rollouts, and of the log-probs that are trained."""
    max_new_tokens: int = Field(2048, ge=1)
    """Most tokens of a rollout; for sft, longer solutions are cut."""
    mask_truncated: bool = False
    """Leave rollouts that hit the token limit out of the loss."""

    # The update

    steps: int | None = Field(None, ge=1)
    """Optimiser steps; by default as many as `epochs` takes."""
    epochs: float = Field(1.0, gt=0, le=1e6)
    """Passes over the problems, where `steps` is not given."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """adamw, or muon for matrices and AdamW for other weights, which needs fewer steps from random weights."""
    learning_rate: float = Field(1e-6, ge=0)
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls after warm-up."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises to its peak."""
    beta: float = Field(0.0, ge=0, le=1000)
    """Weight of the KL penalty towards the starting policy; 0 needs no second model."""
    lora: LoraOptions = LoraOptions()
    """Low-rank adapters."""
    trl: dict[str, Any] = {}
    """Any other option of TRL's GRPOConfig, RLOOConfig or SFTConfig."""
    seed: Seed = 0
    """Seed of every random choice."""

    @field_validator("trl")
    @classmethod
    def _as_trl_names_them(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {name.replace("-", "_"): option for name, option in value.items()}

    # The machine

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of weights and optimiser. bfloat16 rounds away updates at small learning rates."""
    bf16: bool = False
    """Mixed precision: compute in bfloat16, keep weights in `dtype`. Not on a CPU without bfloat16 products."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: a third more time, a fraction of the memory."""
    micro_batch_tokens: Annotated[int | None, NotInResult] = Field(None, ge=1)
    """Most tokens in one forward and backward pass on a device, a group's prompt counted once; a sequence that is
    longer runs alone. By default 2048 on a CPU and 16384 on a GPU."""
    micro_batch: Annotated[int | None, NotInResult] = Field(None, ge=1)
    """Most sequences in one forward and backward pass on a device besides; by default only tokens count."""
    rollout_batch: Annotated[int, NotInResult] = Field(128, ge=1)
    """Most sequences sampled at a time on a device, without vLLM."""
    vllm: Literal["none", "colocate", "server"] = "none"
    """Sample with vLLM: none, in this process (colocate), or from a `vllm serve` (server). Needs rarft[vllm]."""
    device_memory: Annotated[float, NotInResult] = Field(0.0, ge=0, le=1e6)
    """GiB of a device that --dry-run plans for; 0: those of this machine."""
    launch: Annotated[str, NotInResult] = ""
    """Arguments of `accelerate launch`, such as `--num_processes 8 --config_file fsdp.yaml`; empty: this process."""

    # What is watched and kept

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
    save_every: Annotated[int, NotInResult] = Field(50, ge=1)
    """Steps between checkpoints, from which a killed run goes on; where steps share rollouts, the next multiple of
    their number."""
    samples_per_step: int = Field(1, ge=0)
    """Rollouts written to samples.jsonl at each step, with demonstration and reward."""
    constant_reward_steps: Annotated[int, NotInResult] = Field(10, ge=1)
    """Report it when no group had differing rewards for this many steps: there was nothing to learn from."""
    report_to: Annotated[Literal["none", "trackio", "wandb", "tensorboard"], NotInResult] = "none"
    """Experiment tracker; log.jsonl is written in any case."""

    old_names: ClassVar[dict[str, str]] = {"max_completion_length": "max_new_tokens"}

    def rewards(self) -> dict[str, str]:
        """As `Config.rewards`; imitation asks none unless there are problems to evaluate on."""
        return super().rewards() if self.algorithm != "sft" or self.eval_problems else {}


OURS = {
    "max_steps": "steps",
    "num_train_epochs": "epochs",
    "output_dir": "output",
    "resume_from_checkpoint": "output",
    "per_device_train_batch_size": "micro-batch",
    "gradient_accumulation_steps": "micro-batch-tokens",
    "generation_batch_size": "prompts-per-step",
    "lr_scheduler_type": "schedule",
    "max_completion_length": "max-new-tokens",
    "mask_truncated_completions": "mask-truncated",
    "save_steps": "save-every",
    "use_vllm": "vllm",
    "vllm_mode": "vllm",
    **{name: name.replace("_", "-") for name in ("learning_rate", "warmup_steps", "bf16", "gradient_checkpointing")},
    **{name: name.replace("_", "-") for name in ("num_generations", "temperature", "beta", "seed", "report_to")},
}
"""Options of TRL that have a flag of ours: set there, so that the manifest and the dry run say what was trained."""


def mixed_precision(config: TrainConfig, gpu: bool) -> bool:
    """Whether products are computed in bfloat16: `bf16`, but not on a CPU without bfloat16 products."""
    return config.bf16 and (gpu or fast_bfloat16("cpu"))


def tokens_at_once(config: TrainConfig, gpu: bool) -> int:
    """Most tokens in one forward and backward pass: `micro_batch_tokens` or its default.

    With `micro_batch` alone it is what it was before there was a budget of tokens.
    """
    return config.micro_batch_tokens or (16384 if gpu or config.micro_batch else 2048)


def check(config: TrainConfig) -> None:
    """Check what can be checked without reading anything.

    Raises:
        InputError: options that exclude each other, an unknown TRL option, or one that has a flag of ours.
    """
    if config.algorithm != "sft" and config.num_generations < 2:
        raise InputError("num-generations is 1: an advantage needs at least 2 samples per problem")
    check_choice(config)
    if config.num_generations % config.contexts_per_group:
        raise InputError(
            f"contexts-per-group is {config.contexts_per_group}, which does not divide num-generations "
            f"{config.num_generations}; change one"
        )
    if config.contexts_per_group > 1 and config.algorithm == "sft":
        raise InputError("contexts-per-group compares samples, and sft has none; leave it at 1")
    if config.vllm != "none" and config.algorithm == "sft":
        raise InputError(f"vllm is {config.vllm}, which samples rollouts, and sft has none; leave it at none")
    try:
        shlex.split(config.launch)
    except ValueError as error:
        raise InputError(f"launch is {config.launch!r}: {error}; quote it as in a shell") from None
    if config.optimizer == "muon" and config.trl.get("optim"):
        raise InputError(f"optimizer is muon and trl.optim {config.trl['optim']}; give one of them")
    if config.report_to != "none":
        check_installed(config.report_to, "report-to")
    if config.trl:
        known = _trl_options(config.algorithm)
        for key in config.trl:
            if key in OURS:
                raise InputError(f"trl.{key}: is set by --{OURS[key]}; give that instead")
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                hint = f"; did you mean `{near[0]}`?" if near else ""
                raise InputError(f"trl.{key}: TRL's options for {config.algorithm} have no such key{hint}")


def _trl_options(algorithm: str) -> list[str]:
    import trl  # torch: keeps --help quick

    options = {"rloo": "RLOOConfig", "sft": "SFTConfig"}.get(algorithm, "GRPOConfig")
    return [field.name for field in dataclasses.fields(getattr(trl, options)) if field.init]
