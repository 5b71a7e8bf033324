"""The recipe: every stage of a run in one typed YAML file, and the runner that walks it.

    name: mine
    output: runs/mine
    inputs: {model: ../models/smollm2}         # named values, used as ${model}
    stages:
      prepare: {problems: ${problems}, traces: ${traces}}
      warmup: {stage: train, algorithm: sft, problems: ${prepare}, traces: ${prepare}, model: ${model}}
    arms:
      - {name: RA-RFT, evaluate: evaluate-ra-rft, train: ra-rft}

`${stage}` is that stage's output folder, `${output}` the run's. A stage is done again when its config or the content
of its inputs changed; what follows it then follows. Everything is checked before the first stage starts. Left out:
parallel stages, remote runs, conditions.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from pydantic import Field
from typing_extensions import TypedDict

from rarft.core.artifacts import looks_like_path, read_json, read_manifest, write_json
from rarft.core.config import Config, Seed, Size, nearest, read_yaml, set_dotted, shown
from rarft.core.errors import InputError
from rarft.core.estimate import ADDED_UP, Estimate, Known, number
from rarft.core.progress import format_seconds, log
from rarft.core.stages import Stage, find_stages
from rarft.records.rows import count_rows
from rarft.rewards.sandbox import refusal

REFERENCE = re.compile(r"\$\{([^}]*)\}")
STAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
RUN_FILE, REDO_FILE = "run.json", "redo.json"


class Arm(Config):
    """A row of the final table: one system, where it was evaluated, and what it was made by."""

    name: str
    """What the table calls it."""
    evaluate: str
    """The `evaluate` stage that scored it."""
    train: str | None = None
    """The `train` stage that made it."""
    retriever: str | None = None
    """The `evaluate-retriever` stage that measured its retriever."""
    system: str | None = None
    """Which row of that stage's table is this arm's retriever."""
    retrieve: str | None = None
    """The `retrieve` stage that chose its demonstrations."""


class Recipe(Config):
    """A whole run."""

    name: str
    """What the run is called."""
    output: str = Field(min_length=1)
    """The run's folder; each stage gets a folder of its name in it."""
    description: str = ""
    """What it shows and how long that took, in a sentence or two; `--dry-run` prints it."""
    seed: Seed = 0
    """Seed of every stage that does not set its own."""
    inputs: dict[str, Any] = {}
    """Named values, used in stages as `${name}`."""
    sizes: dict[str, Size] = {}
    """Number of rows of an input that cannot be read when planning (a hub dataset): counts for `--dry-run`."""
    stages: dict[str, dict[str, Any]]
    """Name of each stage -> its config; `stage` names the command where it is not the name itself."""
    arms: list[Arm] = []
    """Rows of the final table."""


@dataclass(frozen=True)
class Step:
    """One stage of a recipe, ready to run."""

    name: str
    stage: Stage[Any]
    config: Config
    output: Path
    needs: tuple[str, ...]


def read_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None, output: str | None = None) -> Recipe:
    """Read and check a recipe file.

    Args:
        path: the YAML file.
        overrides: dotted names -> values: `inputs.model`, `seed`, or `train.max-steps` (a stage's field).
        output: the run's folder, instead of the recipe's own.

    Raises:
        InputError: names the key and the nearest right one.
    """
    values = read_yaml(path)
    stages = values.get("stages") or {}
    for dotted, value in (overrides or {}).items():
        head, _, tail = dotted.partition(".")
        if head in stages and tail:
            set_dotted(values, f"stages.{head}.{tail.replace('-', '_')}", value)
        elif head in Recipe.model_fields:
            set_dotted(values, dotted, value)
        else:
            known = [*stages, *Recipe.model_fields]
            raise InputError(f"unknown flag `--{dotted}`; {nearest(head, known)}")
    if output is not None:
        values["output"] = output
    return Recipe.parse(values, str(path))


def plan_steps(recipe: Recipe) -> list[Step]:
    """Every stage with its typed config and its output folder, in order.

    Raises:
        InputError: unknown stage, unknown key, a reference to nothing or to a later stage, a name that is no plain name
            or that an input has already.
    """
    root = Path(recipe.output)
    stages = find_stages()
    steps: list[Step] = []
    for name, section in recipe.stages.items():
        where = f"recipe {recipe.name}, stage {name}"
        if not STAGE_NAME.fullmatch(name):
            raise InputError(f"{where}: its name is a folder's; use letters, digits, `_`, `-` and `.` alone")
        if name in recipe.inputs or name == "output":
            raise InputError(f"{where}: `${{{name}}}` would name an input too; give one of them another name")
        command = (section or {}).get("stage", name)
        if command not in stages:
            raise InputError(f"{where}: no stage `{command}`; {nearest(str(command), stages)}")
        known = {"output": recipe.output} | {step.name: str(step.output) for step in steps} | recipe.inputs
        needs: list[str] = []
        values = {key: _resolve(value, known, needs, where) for key, value in (section or {}).items() if key != "stage"}
        stage = stages[command]
        if "seed" in stage.config_type.model_fields:
            values.setdefault("seed", recipe.seed)
        upstream = tuple(dict.fromkeys(need for need in needs if need in recipe.stages))
        steps.append(Step(name, stage, stage.config_type.parse(values, where), root / name, upstream))
    for arm in recipe.arms:
        for field in ("evaluate", "train", "retriever", "retrieve"):
            target = getattr(arm, field)
            if target is not None and target not in recipe.stages:
                raise InputError(f"recipe {recipe.name}, arm {arm.name}: no stage `{target}` for `{field}`")
    return steps


def run_recipe(
    recipe: Recipe,
    *,
    dry_run: bool = False,
    from_stage: str | None = None,
    until: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Walk the recipe: skip what is done, go on with what was interrupted, do the rest.

    Args:
        recipe: what to run.
        dry_run: check and print the plan only.
        from_stage: do this stage and all after it again; each old result stays until its new one is whole.
        until: stop after this stage.
        overwrite: also replace results whose files were edited after they were made.

    Returns:
        The run's folder.

    Raises:
        InputError: bad recipe or bad input; what is finished stays.
    """
    steps = plan_steps(recipe)
    names = [step.name for step in steps]
    for chosen in (from_stage, until):
        if chosen is not None and chosen not in names:
            raise InputError(f"recipe {recipe.name}: no stage `{chosen}`; {nearest(chosen, names)}")
    check_inputs(steps)
    root = Path(recipe.output)
    redo = _Redo(root, names, from_stage, until)
    refused = sandbox_refusal(steps[: names.index(until) + 1] if until else steps, redo.left)
    if dry_run:
        print_plan(recipe, steps)
        if refused:
            print(f"not on this machine: {refused}")
        return root
    if refused:
        raise InputError(refused)
    _write_run(recipe, root, names)
    redo.write()
    for count, step in enumerate(steps, start=1):
        run_step(step, f"[{count}/{len(steps)}]", redo=step.name in redo.left, overwrite=overwrite)
        redo.is_done(step.name)
        if step.name == until:
            return root
    if recipe.arms:
        from rarft.report.table import headline_table  # numpy and pyarrow: keeps --help quick

        print(headline_table(root))
    for step in steps:
        if step.stage.name == "report":
            print(f"\nreport: {step.output / 'report.html'}")
    return root


def _write_run(recipe: Recipe, root: Path, names: list[str]) -> None:
    """Note in the run's folder what made it."""
    file = root / RUN_FILE
    try:
        root.mkdir(parents=True, exist_ok=True)
        if file.exists() and "stages" not in file.read_text(encoding="utf-8", errors="replace"):
            raise InputError(f"{root}: holds a {RUN_FILE} that is not ours; choose another --output")
        write_json(file, {**recipe.model_dump(mode="json"), "order": names})
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{shown(str(root))}: cannot be written ({why}); choose another --output") from None


_Left = TypedDict("_Left", {"from": str, "left": list[str]})


class _Redo:
    """The stages that `--from` asked to do again and that are not yet; a run that is cut off goes on with them."""

    def __init__(self, root: Path, names: list[str], from_stage: str | None, until: str | None) -> None:
        self.file = root / REDO_FILE
        last = names.index(until) + 1 if until else len(names)
        self.from_stage, self.left = from_stage, names[names.index(from_stage) : last] if from_stage else []
        if self.file.is_file():
            there = read_json(_Left, self.file, f"delete it, and give --from again (was at work: {root})")
            if from_stage in (None, there["from"]):
                self.from_stage, self.left = there["from"], [name for name in there["left"] if name in names]
                log(f"going on to redo from {self.from_stage}: {', '.join(self.left)}")

    def is_done(self, name: str) -> None:
        """Forget a stage that was done again."""
        if name in self.left:
            self.left.remove(name)
            self.write()

    def write(self) -> None:
        """Keep what is left, for a run that is cut off."""
        if self.left:
            write_json(self.file, {"from": self.from_stage, "left": self.left})
        else:
            self.file.unlink(missing_ok=True)


def run_step(step: Step, label: str, *, redo: bool = False, overwrite: bool = False) -> None:
    """Run one stage unless it is done, saying which and why."""
    status = step.stage.status(step.config, step.output)
    if status.state == "done" and not redo:
        log(f"{label} {step.name}: done already")
        return
    why = "redone, as asked" if redo else f"{status.state}: {status.why}" if status.why else status.state
    log(f"{label} {step.name} ({why})")
    step.stage(step.config, step.output, overwrite=overwrite or status.state == "changed", redo=redo)
    ledger = read_manifest(step.output)["ledger"]
    log(f"{label} {step.name}: {format_seconds(ledger['wall_seconds'])}, {ledger['peak_memory_mb']:.0f} MiB")


# The plan


def print_plan(recipe: Recipe, steps: list[Step]) -> None:
    """Print one line per stage, then what the whole run adds up to."""
    known = Known(count_rows, recipe.sizes)
    totals: dict[str, int] = dict.fromkeys(ADDED_UP, 0)
    unknown = False
    print(f"{recipe.name}: {len(steps)} stages into {recipe.output}")
    if recipe.description:
        print(fill(recipe.description, 118, break_on_hyphens=False, initial_indent="  ", subsequent_indent="  "))
    for step in steps:
        estimate = step.stage.estimate(step.config, known)
        known.add(str(step.output), estimate)
        print(f"  {step.name:<26} {step.stage.name:<19} {_state(step):<12} {plan_line(estimate)}")
        for what in totals:
            count = estimate.counts.get(what, 0)
            unknown = unknown or count is None
            totals[what] += count or 0
    sum_up = ", ".join(f"{number(count)} {what}" for what, count in totals.items() if count)
    print(f"in all: {sum_up} at most" + ("; ? needs data that is not there yet (see `sizes`)" if unknown else ""))


def plan_line(estimate: Estimate) -> str:
    """What a stage would do, such as `1,440 pairs`, with its notes on lines of their own."""
    counts = ", ".join(f"{number(count)} {what}" for what, count in estimate.counts.items())
    return "\n".join([counts, *(f"    {note}" for note in estimate.notes)])


def _state(step: Step) -> str:
    """Where a step stands; what a coming stage will make cannot be looked at."""
    try:
        missing = any("/" in value and not Path(value).exists() for _, value in step.config.input_paths())
        return "to do" if missing else step.stage.status(step.config, step.output).state
    except InputError:
        return "to do"


def check_inputs(steps: list[Step]) -> None:
    """Check that every input that is a path of this machine, not a coming stage's output, is there.

    Raises:
        InputError: names the stage and the path.
    """
    outputs = [str(step.output) for step in steps]
    for step in steps:
        for field, value in step.config.input_paths():
            coming = any(value == output or value.startswith(output + "/") for output in outputs)
            if not coming and looks_like_path(value) and not Path(value).exists():
                raise InputError(
                    f"stage {step.name}: {field} is {value}, and no such file or folder exists; check the path"
                )


def sandbox_refusal(steps: Sequence[Step], redo: Sequence[str]) -> str | None:
    """Why stages that are still to do cannot judge programs here, in one line: told before hours go into others."""
    if not any("code" in step.config.rewards().values() for step in steps):
        return None
    to_do: set[str] = set()
    found: dict[str, str] = {}
    for step in steps:
        if step.name in redo or to_do.intersection(step.needs) or _state(step) != "done":
            to_do.add(step.name)
            for section, reward in step.config.rewards().items():
                if reward == "code":
                    found[step.name] = f"--{step.name}.{section}allow-unsandboxed true"
    if not found:
        return None
    why = refusal(" ".join(found.values()))
    return why and f"stage {', '.join(found)}: {why}"


def _resolve(value: Any, known: Mapping[str, Any], needs: list[str], where: str) -> Any:
    """Replace `${name}` in strings, also inside lists and mappings; a value that is only `${name}` keeps its type."""
    if isinstance(value, list):
        return [_resolve(item, known, needs, where) for item in value]
    if isinstance(value, dict):
        return {key: _resolve(item, known, needs, where) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    for name in REFERENCE.findall(value):
        if name not in known:
            raise InputError(f"{where}: `${{{name}}}` is no input or earlier stage; {nearest(name, known)}")
        needs.append(name)
    whole = REFERENCE.fullmatch(value)
    return known[whole[1]] if whole else REFERENCE.sub(lambda match: str(known[match[1]]), value)
