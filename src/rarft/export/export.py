"""`rarft export`: the data and the reward of a run, in the formats of verl, TRL, SkyRL and OpenRLHF.

The folder holds `train.parquet` and `validation.parquet` (prompts with their demonstrations), `reward.py` (which calls
`rarft.rewards`), `run.sh` (the trainer's command, lengths filled in from the tokenized data) and `README.md`. Every
prompt has the token ids that `rarft train` would use. Left out: anything that runs a trainer.

    rarft export --to verl --problems P --traces T --analogies A --model M --output runs/for-verl
"""

import json
import math
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from rarft.core.config import Input, Seed, TemperatureAboveZero
from rarft.core.errors import InputError
from rarft.core.estimate import Estimate, Known
from rarft.core.progress import log
from rarft.core.stages import Work, stage
from rarft.models.prompts import PromptConfig
from rarft.policy.contexts import Demonstrations, both_analogies, check_choice
from rarft.rewards.sandbox import RewardConfig

TRAINERS = Path(__file__).parent / "trainers"
VERSIONS = {"verl": "verl 0.9.1", "trl": "TRL 1.16.0", "skyrl": "SkyRL 0.3.0 with skyrl-gym 0.4.0",
            "openrlhf": "OpenRLHF 0.11.2"}  # fmt: skip
"""The releases against whose source the formats were checked."""


class ExportConfig(RewardConfig):
    to: Literal["verl", "trl", "skyrl", "openrlhf"]
    """The trainer that is to read the export. Unsloth reads TRL's."""
    problems: Input
    """Problems to train on."""
    model: Input
    """Policy that is to be trained: Hugging Face id or folder. Its tokenizer decides the prompts and their lengths."""
    reward: str = "math"
    """Verifier of the answers: math, reasoning-gym, code, or module:Class."""
    traces: Input | None = None
    """Corpus of traces that the analogies name."""
    analogies: Input | None = None
    """analogies.parquet or the `rarft retrieve` folder that holds it; without it there are no demonstrations."""
    eval_problems: Input | None = None
    """Held-out problems, for validation.parquet; without them the trainer's validation is off."""
    eval_analogies: Input | None = None
    """Their demonstrations; by default `analogies`, as far as it covers them."""

    top_k: int = Field(1, ge=1)
    """Demonstrations per problem."""
    drop_demonstration: float = Field(0.0, ge=0, le=1)
    """Share of visits at which a problem is shown without demonstration; the visits are laid out as rows."""
    draw_top: int = Field(0, ge=0)
    """Draw the top-k at random from this many best traces at each visit, laid out as rows; 0 takes the best."""
    demonstration_schedule: str = "constant"
    """constant, or linear:FROM:TO, the share of visits with a demonstration from the first row to the last."""
    prompt: PromptConfig = PromptConfig()
    """How problem and demonstrations are put together."""

    num_generations: int = Field(16, ge=2)
    """Samples per problem and visit, G, for run.sh."""
    prompts_per_step: int = Field(16, ge=1)
    """Problems per optimiser step, for run.sh."""
    max_new_tokens: int = Field(2048, ge=1)
    """Most tokens of a rollout, for run.sh; prompt and rollout together must fit the model."""
    temperature: TemperatureAboveZero = 1.0
    """Temperature of rollouts, for run.sh."""
    learning_rate: float = Field(1e-6, ge=0)
    """Learning rate, for run.sh."""
    epochs: int = Field(1, ge=1)
    """Passes over the problems."""
    seed: Seed = 0
    """Seed of the order of visits and of every draw, as in `rarft train`."""


def estimate(config: ExportConfig, known: Known) -> Estimate:
    """Rows at least."""
    check(config)
    return Estimate({"problems": known.problems(config.problems)})


def check(config: ExportConfig) -> None:
    """Check what can be checked without reading anything.

    Raises:
        InputError: options that exclude each other, or that the trainer cannot honour.
    """
    first, last = check_choice(config)
    if first != last and config.to in ("skyrl", "openrlhf"):
        raise InputError(
            f"demonstration-schedule {config.demonstration_schedule}: {config.to} always shuffles its training data, "
            "so that no row has a place in time; export to verl or trl"
        )
    if config.model.endswith(".gguf"):
        raise InputError(f"{config.model}: no other trainer reads GGUF; give a Hugging Face id or folder")
    if (Path(config.model).expanduser() / "adapter_config.json").is_file():
        raise InputError(f"{config.model}: a LoRA adapter; merge it into its base model, and export for that")


@stage("export", "data and reward for verl, TRL, SkyRL or OpenRLHF", place=75, estimate=estimate, version=2)
def write_export(config: ExportConfig, work: Work) -> None:
    """Write an export.

    Raises:
        InputError: bad input; a prompt that does not fit the model; one that the trainer would tokenize otherwise.
    """
    check(config)
    from rarft.export.rows import Renderer, columns_of, each_once, laid_out, rows_of  # transformers: keeps --help quick
    from rarft.models.loading import context_length, load_tokenizer
    from rarft.records.problems import load_problems, load_traces
    from rarft.records.rows import TableWriter
    from rarft.rewards.problems import check_problems

    problems = load_problems(config.problems)
    held_out = load_problems(config.eval_problems) if config.eval_problems else []
    traces = {trace.id: trace for trace in load_traces(config.traces)} if config.traces else {}
    analogies, eval_analogies = both_analogies(config, problems, held_out, traces)
    check_problems(problems, config.problems, config.reward)
    if config.eval_problems:
        check_problems(held_out, config.eval_problems, config.reward)

    steps = max(1, math.ceil(len(problems) * config.epochs / config.prompts_per_step))
    demonstrations = Demonstrations.by(config, analogies, steps * config.prompts_per_step)
    in_order = bool(config.drop_demonstration or config.draw_top or demonstrations.shares != (1.0, 1.0))
    visits = laid_out(problems, demonstrations) if in_order else each_once(problems, demonstrations)
    tokenizer = load_tokenizer(config.model)
    limit = context_length(_model_config(config.model))
    renderer = Renderer(config.to, tokenizer, config.prompt, limit, config.max_new_tokens)
    splits = {"train": visits}
    if held_out:
        splits["validation"] = each_once(held_out, replace(demonstrations, analogies=eval_analogies))
    for split, rows in splits.items():
        with TableWriter[Any](work.path / f"{split}.parquet", columns_of(config.to, renderer.plain)) as out:
            for row in rows_of(renderer, rows, split, config.reward):
                out.write(row)
    shutil.copy(TRAINERS / f"{config.to}_reward.py", work.path / "reward.py")
    if renderer.template:
        tokenizer.chat_template = renderer.template
        tokenizer.save_pretrained(work.path / "tokenizer")
    script = work.path / "run.sh"
    script.write_text(_run(config, renderer.longest, len(visits), in_order, renderer.template is not None))
    script.chmod(0o755)
    (work.path / "README.md").write_text(_readme(config, renderer.longest, len(visits), in_order))
    if in_order:
        log(f"export: {_order(config)}")
    work.results.update(
        rows=len(visits),
        validation_rows=len(held_out),
        with_demonstration=sum(bool(visit.traces) for visit in visits),
        max_prompt_tokens=renderer.longest,
        plain=renderer.plain,
    )


def _model_config(model: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(Path(model).expanduser() if Path(model).exists() else model)
    except MemoryError:
        raise
    except Exception as error:
        raise InputError(f"{model}: its config.json cannot be read ({str(error).strip().splitlines()[0]})") from None


def _order(config: ExportConfig) -> str:
    if config.to in ("skyrl", "openrlhf"):
        return f"every visit is a row, once; {config.to} shuffles the rows, which changes their order alone"
    return "every visit is a row, in order; run.sh turns shuffling off, and it must stay off"


def _run(config: ExportConfig, longest: int, n_rows: int, in_order: bool, template: bool) -> str:
    """run.sh: what this export is, as variables that the environment may overrule, and the trainer's command."""
    local = Path(config.model).expanduser()
    options = config.prompt.chat_template_kwargs
    values = {
        "MODEL": str(local.resolve()) if local.exists() else config.model,
        "GPUS": 8,
        "PROMPTS_PER_STEP": min(config.prompts_per_step, n_rows),
        "SAMPLES": config.num_generations,
        "TEMPERATURE": config.temperature,
        "LEARNING_RATE": config.learning_rate,
    }
    fixed = {
        "MAX_PROMPT": longest,
        "MAX_NEW": config.max_new_tokens,
        "EPOCHS": 1 if in_order else config.epochs,
        "SHUFFLE": json.dumps(not in_order),
        "PLAIN": json.dumps(template),
        "HAS_VALIDATION": json.dumps(bool(config.eval_problems)),
        "VALIDATION": "validation.parquet" if config.eval_problems else "train.parquet",
        "TEMPLATE_JSON": json.dumps(options),
    }
    pairs = " ".join(shlex.quote(f"{name}={json.dumps(value)}") for name, value in options.items())
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            f"# Trains on this export with {VERSIONS[config.to]}. Arguments are passed on to the trainer.",
            f"# {_order(config)[0].upper()}{_order(config)[1:]}." if in_order else "# The trainer shuffles the rows.",
            "set -euo pipefail",
            'HERE=$(cd "$(dirname "$0")" && pwd)',
            "OUT=${OUT:-$HERE.run}",
            *(f"{name}=${{{name}:-{shlex.quote(str(value))}}}" for name, value in values.items()),
            *(f"{name}={shlex.quote(str(value))}" for name, value in fixed.items()),
            f"TEMPLATE_OPTIONS=({pairs})",
            "",
            (TRAINERS / f"{config.to}.sh").read_text(),
        ]
    )


def _readme(config: ExportConfig, longest: int, n_rows: int, in_order: bool) -> str:
    """A README without metadata: with it, `datasets` would give the rows of an export that was here before."""
    held_out = "validation.parquet: held-out problems." if config.eval_problems else "No held-out problems were given."
    order = f"- {_order(config)[0].upper()}{_order(config)[1:]}.\n" if in_order else ""
    return f"""# Data and reward for {config.to}

Made by `rarft export --to {config.to}` for {VERSIONS[config.to]}; manifest.json holds options and digests of the input.

- train.parquet: {n_rows:,} rows, a demonstration before the problem where one was retrieved. {held_out}
- The longest prompt has {longest:,} tokens; with {config.max_new_tokens:,} new ones that is what run.sh asks room for.
{order}- reward.py calls `rarft.rewards`: beside the trainer: `pip install math-verify`, `pip install --no-deps` rarft.
- Train: `GPUS=8 ./run.sh`, results in `OUT`, more options of the trainer behind it.
- Judge the result: `rarft evaluate --model FOLDER ...` (see docs/export.md).
"""
