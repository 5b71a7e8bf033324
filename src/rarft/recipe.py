"""The recipe: every stage of a run in one typed YAML file, and the runner that walks it.

    name: gsm8k
    output: runs/gsm8k
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

import difflib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rarft.cli import STAGES, load_stage, set_dotted
from rarft.core.artifacts import Stage, read_manifest, write_json
from rarft.core.config import Config, read_yaml
from rarft.core.errors import InputError
from rarft.core.progress import format_seconds, log

REFERENCE = re.compile(r"\$\{([^}]*)\}")
RUN_FILE = "run.json"


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
    output: str
    """The run's folder; each stage gets a folder of its name in it."""
    description: str = ""
    """What it shows, in a sentence or two."""
    seed: int = 0
    """Seed of every stage that does not set its own."""
    inputs: dict[str, Any] = {}
    """Named values, used in stages as `${name}`."""
    sizes: dict[str, int] = {}
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
            raise InputError(f"unknown flag `--{dotted}`; {_nearest(head, known)}")
    if output is not None:
        values["output"] = output
    return Recipe.parse(values, str(path))


def plan_steps(recipe: Recipe) -> list[Step]:
    """Every stage with its typed config and its output folder, in order.

    Raises:
        InputError: unknown stage, unknown key, a reference to nothing or to a later stage.
    """
    root = Path(recipe.output)
    steps: list[Step] = []
    for name, section in recipe.stages.items():
        where = f"recipe {recipe.name}, stage {name}"
        command = (section or {}).get("stage", name)
        if command not in STAGES:
            raise InputError(f"{where}: no stage `{command}`; {_nearest(command, list(STAGES))}")
        known = {"output": recipe.output} | {step.name: str(step.output) for step in steps} | recipe.inputs
        needs: list[str] = []
        values = {key: _resolve(value, known, needs, where) for key, value in (section or {}).items() if key != "stage"}
        stage = load_stage(command)
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
    recipe: Recipe, *, dry_run: bool = False, from_stage: str | None = None, until: str | None = None
) -> Path:
    """Walk the recipe: skip what is done, go on with what was interrupted, do the rest.

    Args:
        recipe: what to run.
        dry_run: check and print the plan only.
        from_stage: do this stage and all after it again.
        until: stop after this stage.

    Returns:
        The run's folder.

    Raises:
        InputError: bad recipe or bad input; what is finished stays.
    """
    steps = plan_steps(recipe)
    names = [step.name for step in steps]
    for chosen in (from_stage, until):
        if chosen is not None and chosen not in names:
            raise InputError(f"recipe {recipe.name}: no stage `{chosen}`; {_nearest(chosen, names)}")
    check_inputs(steps)
    root = Path(recipe.output)
    if dry_run:
        from rarft.plan import print_plan

        print_plan(recipe, steps)
        return root
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / RUN_FILE, {**recipe.model_dump(mode="json"), "order": names})
    if from_stage is not None:
        for step in steps[names.index(from_stage) :]:
            if step.output.exists():
                shutil.rmtree(step.output)
    for number, step in enumerate(steps, start=1):
        run_step(step, f"[{number}/{len(steps)}]")
        if step.name == until:
            return root
    if recipe.arms:
        from rarft.report.table import headline_table

        print(headline_table(root))
    for step in steps:
        if step.stage.name == "report":
            print(f"\nreport: {step.output / 'report.html'}")
    return root


def run_step(step: Step, label: str) -> None:
    """Run one stage unless it is done, saying which and why."""
    status = step.stage.status(step.config, step.output)
    if status.state == "done":
        log(f"{label} {step.name}: done already")
        return
    why = f": {status.why}" if status.why else ""
    log(f"{label} {step.name} ({status.state}{why})")
    step.stage(step.config, step.output, overwrite=True)
    ledger = read_manifest(step.output)["ledger"]
    log(f"{label} {step.name}: {format_seconds(ledger['wall_seconds'])}, {ledger['peak_memory_mb']:.0f} MiB")


def check_inputs(steps: list[Step]) -> None:
    """Check that every input that is a path of this machine, not a coming stage's output, is there.

    Raises:
        InputError: names the stage and the path.
    """
    from rarft.core.artifacts import looks_like_path

    outputs = [str(step.output) for step in steps]
    for step in steps:
        for field, value in step.config.input_paths():
            coming = any(value == output or value.startswith(output + "/") for output in outputs)
            if not coming and looks_like_path(value) and not Path(value).exists():
                raise InputError(
                    f"stage {step.name}: {field} is {value}, and no such file or folder exists; check the path"
                )


def _resolve(value: Any, known: Mapping[str, Any], needs: list[str], where: str) -> Any:
    """Replace `${name}` in strings, also inside lists and mappings; a value that is only `${name}` keeps its type."""
    if isinstance(value, list):
        return [_resolve(item, known, needs, where) for item in value]
    if isinstance(value, dict):
        return {key: _resolve(item, known, needs, where) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    for name in _references(value):
        if name not in known:
            raise InputError(f"{where}: `${{{name}}}` is no input or earlier stage; {_nearest(name, list(known))}")
        needs.append(name)
    whole = REFERENCE.fullmatch(value)
    return known[whole[1]] if whole else REFERENCE.sub(lambda match: str(known[match[1]]), value)


def _references(value: str) -> Iterator[str]:
    yield from REFERENCE.findall(value)


def _nearest(name: str, known: list[str]) -> str:
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean `{found[0]}`?" if found else f"there are: {', '.join(known)}"


def read_run(run: str | Path) -> dict[str, Any]:
    """The recipe that a run's folder was made by, with the `order` of its stages.

    Raises:
        InputError: the folder is no run.
    """
    path = Path(run) / RUN_FILE
    if not path.is_file():
        raise InputError(f"{run}: no {RUN_FILE}; name a folder made by `rarft run`")
    return dict(json.loads(path.read_text(encoding="utf-8")))
