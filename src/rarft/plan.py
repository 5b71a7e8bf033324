"""The plan of a recipe without running it: what each stage would do, in pairs, rollouts and tokens.

Numbers of rows come from files that are there, from the stages before, or from the recipe's `sizes` for data that
cannot be read now (a hub dataset without network). Rollout and token counts are upper bounds: every completion is
taken to be as long as it may be. What is left out: money and hours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rarft.core.artifacts import read_manifest
from rarft.core.errors import InputError
from rarft.records.rows import read_rows

if TYPE_CHECKING:
    from rarft.recipe import Recipe, Step


@dataclass(frozen=True)
class Sizes:
    """Rows that a path holds; None where nobody knows yet."""

    problems: int | None = None
    traces: int | None = None


Known = dict[str, Sizes]
Count = int | None


def print_plan(recipe: Recipe, steps: Sequence[Step]) -> None:
    """Print one line per stage, then what the whole run adds up to."""
    known: Known = {path: Sizes(count, count) for path, count in recipe.sizes.items()}
    totals = {"pairs": 0, "rollouts": 0, "tokens": 0}
    unknown = False
    print(f"{recipe.name}: {len(steps)} stages into {recipe.output}")
    for step in steps:
        status = step.stage.status(step.config, step.output).state if _inputs_exist(step) else "to do"
        facts, made = ESTIMATES.get(step.stage.name, _nothing)(step.config, known, str(step.output))
        known.update(made)
        shown = ", ".join(f"{_number(count)} {what}" for what, count in facts.items())
        print(f"  {step.name:<26} {step.stage.name:<19} {status:<12} {shown}")
        for what in totals:
            count = facts.get(what, 0)
            unknown = unknown or count is None
            totals[what] += count or 0
    sum_up = ", ".join(f"{_number(count)} {what}" for what, count in totals.items())
    print(f"in all: {sum_up} at most" + ("; ? needs data that is not there yet (see `sizes`)" if unknown else ""))


def _inputs_exist(step: Step) -> bool:
    try:
        for _, value in step.config.input_paths():
            if "/" in value and not Path(value).exists():
                return False
        step.stage.status(step.config, step.output)
    except InputError:
        return False
    return True


def _number(count: Count) -> str:
    return "?" if count is None else f"{count:,}"


def _times(*factors: float | None) -> Count:
    """The product, or None where a factor is unknown."""
    product = 1.0
    for factor in factors:
        if factor is None:
            return None
        product *= factor
    return math.ceil(product)


def _rows(value: str | None, known: Known, what: str) -> Count:
    """Number of problems or traces behind an input: from an earlier stage, from `sizes`, or counted in the file."""
    if value is None:
        return 0
    if value in known:
        return int(getattr(known[value], what)) if getattr(known[value], what) is not None else None
    path = Path(value)
    if path.name in ("problems.jsonl", "traces.jsonl") and str(path.parent) in known:
        return _rows(str(path.parent), known, path.stem)
    if path.is_dir():
        path = path / f"{what}.jsonl"
    if not path.is_file() or path.suffix not in (".jsonl", ".parquet", ".csv"):
        return None
    return sum(1 for _ in read_rows(str(path)))


# One estimate per kind of stage: what it does, and the rows it leaves for those after it


def _nothing(config: Any, known: Known, output: str) -> tuple[dict[str, Count], Known]:
    return {}, {}


def _prepare(config: Any, known: Known, output: str) -> tuple[dict[str, Count], Known]:
    if (Path(output) / "manifest.json").is_file():
        results = read_manifest(output)["results"]
        sizes = Sizes(results["n_problems"], results["n_traces"])
        return {"problems": sizes.problems, "traces": sizes.traces}, {output: sizes}
    problems, traces = _rows(config.problems, known, "problems"), _rows(config.traces, known, "traces")
    if problems is not None and config.max_problems is not None:
        problems = min(problems, config.max_problems)
    if traces is not None and config.max_traces is not None:
        traces = min(traces, config.max_traces)
    return {"problems": problems, "traces": traces}, {output: Sizes(problems, traces)}


def _testbed(config: Any, known: Known, output: str) -> tuple[dict[str, Count], Known]:
    made = {
        f"{output}/warmup": Sizes(config.n_warmup, config.n_warmup),
        f"{output}/train": Sizes(config.n_train, config.n_train),
        f"{output}/eval": Sizes(config.n_eval, config.n_eval),
        f"{output}/corpus": Sizes(None, config.n_corpus),
    }
    return {"problems": config.n_warmup + config.n_train + config.n_eval, "traces": config.n_corpus}, made


def _label(config: Any, known: Known, output: str) -> tuple[dict[str, Count], Known]:
    problems, traces = _rows(config.problems, known, "problems"), _rows(config.traces, known, "traces")
    per_problem = config.candidates.per_problem if traces is None else min(config.candidates.per_problem, traces)
    pairs = _times(problems, per_problem)
    facts = {"pairs": pairs}
    if config.labeler == "judge":
        facts["calls"] = _times(pairs, config.judge.votes)
    if config.labeler == "pass-rate":
        rollouts = _times(pairs, config.pass_rate.samples)
        facts |= {"rollouts": rollouts, "tokens": _times(rollouts, config.pass_rate.max_new_tokens)}
    return facts, {}


def _train_retriever(config: Any, known: Known, output: str) -> tuple[dict[str, Count], Known]:
    problems = _times(_rows(config.problems, known, "problems"), 1 - config.held_out)
    steps = _times(problems, config.epochs / config.batch_size)
    return {"steps": min(filter(None, (steps, config.max_steps)), default=None)}, {}


def _index(config: Any, known: Known, output: str) -> tuple[dict[str, Count], Known]:
    return {"traces": _rows(config.traces, known, "traces")}, {}


def _retrieve(config: Any, known: Known, output: str) -> tuple[dict[str, Count], Known]:
    counts = [_rows(value, known, "problems") for value in config.problems]
    return {"queries": None if None in counts else sum(count or 0 for count in counts)}, {}


def _train(config: Any, known: Known, output: str) -> tuple[dict[str, Count], Known]:
    problems = _rows(config.problems, known, "traces" if config.problems.endswith("traces.jsonl") else "problems")
    steps = config.steps or _times(problems, config.epochs / config.prompts_per_step)
    if config.algorithm == "sft":
        return {"steps": steps, "solutions": _times(steps, config.prompts_per_step)}, {}
    rollouts = _times(steps, config.prompts_per_step, config.num_generations)
    tokens = _times(rollouts, config.max_completion_length)
    return {"steps": steps, "rollouts": rollouts, "tokens": tokens}, {}


def _evaluate(config: Any, known: Known, output: str) -> tuple[dict[str, Count], Known]:
    counts = [_rows(value, known, "problems") for value in config.problems]
    if config.limit is not None:
        counts = [None if count is None else min(count, config.limit) for count in counts]
    problems = None if None in counts else sum(count or 0 for count in counts)
    prompts = _times(problems, config.top_k if config.contexts == "each" else 1)
    rollouts = _times(prompts, config.samples)
    return {"rollouts": rollouts, "tokens": _times(rollouts, config.max_new_tokens)}, {}


Estimate = Callable[[Any, Known, str], tuple[dict[str, Count], Known]]
ESTIMATES: dict[str, Estimate] = {
    "prepare": _prepare,
    "testbed": _testbed,
    "label": _label,
    "train-retriever": _train_retriever,
    "index": _index,
    "retrieve": _retrieve,
    "train": _train,
    "evaluate": _evaluate,
}
