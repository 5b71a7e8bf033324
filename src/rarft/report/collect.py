"""Read the folders of `rarft run` into what the report shows: systems, their scores on shared problems, and stages.

A *system* is an arm of one run: the rollouts of its evaluation stage, the R@1 of its retriever, the training that made
it. Systems of several runs are cut down to the problems that all of them answered, so every row of a table speaks
about the same problems. Runs of one recipe with different seeds are also pooled, the seed being a level of the
interval. Nothing here draws or formats.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

import rarft.stats as stats
from rarft.core.artifacts import MANIFEST, read_json, read_manifest
from rarft.core.errors import InputError
from rarft.evaluation.scores import METRICS, Groups, grouped, problem_values, read_scores, samples_per_problem
from rarft.records.problems import load_problems
from rarft.records.rollouts import Rollout, read_rollouts
from rarft.records.rows import read_rows
from rarft.stats import Interval


@dataclass(frozen=True)
class StageOutput:
    """A finished stage of a run."""

    name: str
    folder: Path
    manifest: dict[str, Any]

    @property
    def command(self) -> str:
        """Which command made it."""
        return str(self.manifest["stage"])

    @property
    def config(self) -> dict[str, Any]:
        """Its full config."""
        return dict(self.manifest["config"])


@dataclass(frozen=True)
class Run:
    """One output folder of `rarft run`."""

    folder: Path
    label: str
    """Short and unique among the runs shown."""
    recipe: dict[str, Any]
    stages: dict[str, StageOutput]

    def of(self, command: str) -> list[StageOutput]:
        """Finished stages made by a command, in the recipe's order."""
        return [stage for stage in self.stages.values() if stage.command == command]


@dataclass(frozen=True)
class System:
    """An arm of a run with its rollouts."""

    run: Run
    name: str
    evaluation: StageOutput
    groups: Groups
    train: StageOutput | None = None
    retriever: dict[str, Any] | None = None
    """The retriever's row of the evaluate-retriever table: `system` and metrics."""

    @property
    def values(self) -> dict[str, dict[str, float]]:
        """Mean reward by benchmark and problem."""
        return problem_values(self.groups, "avg")

    @property
    def label(self) -> str:
        """The arm's name."""
        return self.name


@dataclass(frozen=True)
class Row:
    """A row of the headline table."""

    label: str
    run: str
    scores: dict[str, Interval]
    """avg, pass, maj."""
    gain: Interval | None
    """avg@k above the reference system, paired by problem; None for the reference itself."""
    k: int
    r_at_1: float | None
    decontamination: dict[str, dict[str, Any]] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)


class _Arm(TypedDict):
    """What the report needs of an arm."""

    __pydantic_config__ = {"extra": "allow"}  # type: ignore[misc]
    name: str
    evaluate: str


class _RunFile(TypedDict, total=False):
    """What the report needs of run.json."""

    __pydantic_config__ = {"extra": "allow"}  # type: ignore[misc]
    stages: dict[str, dict[str, Any]]
    order: list[str]
    arms: list[_Arm]


def load_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Read the runs. Labels are folder names, with a number where two are alike. Raises InputError."""
    if not folders:
        raise InputError("no run given; name one or more folders made by `rarft run`")
    runs: list[Run] = []
    for number, folder in enumerate(map(Path, folders), start=1):
        recipe = read_run(folder)
        label = folder.resolve().name
        if any(run.label == label for run in runs):
            label = f"{label} ({number})"
        order = list(recipe.get("order") or recipe.get("stages", {}))
        stages = {
            name: StageOutput(name, folder / name, read_manifest(folder / name))
            for name in order
            if (folder / name / MANIFEST).is_file()
        }
        runs.append(Run(folder, label, recipe, stages))
    return runs


def read_run(folder: Path) -> dict[str, Any]:
    """run.json of a run's folder. Raises InputError where there is none."""
    path = folder / "run.json"
    if not path.is_file():
        raise InputError(f"{folder}: no run.json; name a folder made by `rarft run`")
    return dict(read_json(_RunFile, path, "run the recipe again"))


def systems_of(run: Run) -> list[System]:
    """The arms whose evaluation is finished; without arms, every evaluation that samples contexts together."""
    arms = run.recipe.get("arms") or [
        {"name": stage.name, "evaluate": stage.name}
        for stage in run.of("evaluate")
        if stage.config.get("contexts", "together") == "together"
    ]
    found = []
    for arm in arms:
        evaluation = run.stages.get(arm["evaluate"])
        if evaluation is None:
            continue
        found.append(
            System(
                run,
                arm["name"],
                evaluation,
                grouped(read_rollouts(evaluation.folder)),
                run.stages.get(arm.get("train") or ""),
                retriever_row(run, arm),
            )
        )
    return found


def retriever_row(run: Run, arm: dict[str, Any]) -> dict[str, Any] | None:
    """The arm's row of its evaluate-retriever stage."""
    stage = run.stages.get(arm.get("retriever") or "")
    if stage is None:
        return None
    wanted = arm.get("system") or "trained"
    if wanted == "trained" and all(row["system"] != wanted for row in retriever_rows(stage)):
        wanted = "retriever"  # what the stage calls the one it was asked to measure
    return next((row for row in retriever_rows(stage) if row["system"] == wanted), None)


def retriever_rows(stage: StageOutput) -> list[dict[str, Any]]:
    """Rows of an evaluate-retriever stage: `system`, and by metric a dict of value, low and high."""
    scored = read_scores(stage.folder)
    return [{"system": name, **found} for name, found in scored["retrievers"].items()]


def align(systems: Sequence[System]) -> list[System]:
    """The systems cut down to the benchmarks and problems all of them answered. Raises InputError if there is none.

    Problems are the same where their ids are; systems that read different files must agree on the question too.
    """
    if not systems:
        return []
    if len({problem_digests(system) for system in systems}) > 1:
        systems = [_keyed_by_question(system) for system in systems]
    kept = stats.shared([system.values for system in systems])[0]
    if not kept:
        raise InputError("the runs share no problem, so they can't be compared; report them one at a time")
    return [
        replace(system, groups={name: {key: system.groups[name][key] for key in ids} for name, ids in kept.items()})
        for system in systems
    ]


def align_runs(systems: Sequence[System]) -> tuple[list[System], bool]:
    """As `align`; but seeds of one recipe that have problems of their own are aligned within each run only.

    The second value says whether all systems answered the same problems. Raises InputError as `align`.
    """
    try:
        return align(systems), True
    except InputError:
        runs = list({id(system.run): system.run for system in systems}.values())
        if not are_seeds(runs):
            raise
        apart = [align([system for system in systems if system.run is run]) for run in runs]
        return [system for one in apart for system in one], False


def problem_digests(system: System) -> tuple[tuple[str, str], ...]:
    """Digests of the benchmark files a system answered, and their column maps."""
    inputs = system.evaluation.manifest.get("inputs", {})
    found = sorted(entry["digest"] for name, entry in inputs.items() if name.split(".")[0] == "problems")
    return tuple((digest, str(system.evaluation.config.get("columns"))) for digest in found)


KEY_MARK = "#"


def _keyed_by_question(system: System) -> System:
    """Problem ids with a checksum of the question added, where the question can still be read."""
    config = system.evaluation.config
    questions: dict[str, str] = {}
    for path in config.get("problems", []):
        if Path(path).exists():
            questions |= {problem.id: problem.question for problem in load_problems(path, config.get("columns"))}

    def keyed(key: str) -> str:
        text = questions.get(key)
        return key if text is None else f"{key}{KEY_MARK}{zlib.crc32(text.encode()):08x}"

    groups = {name: {keyed(key): rows for key, rows in problems.items()} for name, problems in system.groups.items()}
    return replace(system, groups=groups)


def are_seeds(runs: Sequence[Run]) -> bool:
    """Whether the runs are one recipe under different seeds."""
    names, seeds = ({run.recipe.get(key) for run in runs} for key in ("name", "seed"))
    return len(runs) > 1 and len(names) == 1 and len(seeds) == len(runs)


def n_problems(systems: Sequence[System]) -> int:
    """How many problems the systems answered."""
    return sum(len(problems) for problems in systems[0].groups.values()) if systems else 0


def headline(systems: Sequence[System], *, seed: int = 0) -> list[Row]:
    """One row per system, aligned; gains are against the first system of the same run.

    pass@k and maj@k use the same k in every row: the fewest samples that any system has of a problem.
    """
    rows = []
    k = _common_k(systems)
    for system in systems:
        reference = next(other for other in systems if other.run is system.run)
        rows.append(_row(system.label, system.run.label, [system], [reference], k, seed))
    return rows


def pooled(systems: Sequence[System], *, seed: int = 0) -> list[Row]:
    """Rows over runs of one recipe with different seeds: arms that every run has, the seed as a level.

    Empty where there is one run, or where the runs are not the same recipe under different seeds.
    """
    runs = list({id(system.run): system.run for system in systems}.values())
    if not are_seeds(runs):
        return []
    by_run = [{system.name: system for system in systems if system.run is run} for run in runs]
    shared = [name for name in by_run[0] if all(name in arms for arms in by_run)]
    if not shared:
        return []
    first = [arms[shared[0]] for arms in by_run]
    label = f"{len(runs)} seeds"
    k = _common_k(systems)
    return [_row(name, label, [arms[name] for arms in by_run], first, k, seed) for name in shared]


def _common_k(systems: Sequence[System]) -> int:
    return min((samples_per_problem(system.groups) for system in systems), default=1)


def _row(label: str, run: str, systems: list[System], reference: list[System], k: int, seed: int) -> Row:
    samples: list[Rollout] = [
        row for system in systems for problems in system.groups.values() for rows in problems.values() for row in rows
    ]
    counts = [len(rows) for system in systems for problems in system.groups.values() for rows in problems.values()]
    n_samples = sum(counts) / len(counts)
    values = {metric: [problem_values(system.groups, metric, k) for system in systems] for metric in METRICS}
    gain = None
    if systems != reference:
        gain = stats.paired_difference(values["avg"], [system.values for system in reference], seed=seed)
    found = [system.retriever for system in systems if system.retriever is not None]
    r1 = [number(row.get("R@1")) for row in found]
    scored = read_scores(systems[0].evaluation.folder)
    return Row(
        label=label,
        run=run,
        scores={metric: stats.bootstrap(runs, n_samples=n_samples, seed=seed) for metric, runs in values.items()},
        gain=gain,
        k=k,
        r_at_1=sum(r1) / len(r1) if r1 else None,
        decontamination={name: block.get("decontamination", {}) for name, block in scored["benchmarks"].items()},
        shares={
            "extracted": sum(row.answer is not None for row in samples) / len(samples),
            "truncated": sum(row.truncated for row in samples) / len(samples),
            "timed out": sum(row.reason == "timeout" for row in samples) / len(samples),
            "tokens": sum(row.n_tokens for row in samples) / len(samples),
        },
    )


def number(value: Any) -> float:
    """A metric's value, given bare or with its interval."""
    return float(value["value"] if isinstance(value, dict) else value)


def differences(systems: Sequence[System], *, seed: int = 0) -> list[list[Interval | None]]:
    """avg@k of the row's system above the column's, paired by problem; None on the diagonal."""
    values = [system.values for system in systems]
    return [
        [None if i == j else stats.paired_difference([left], [right], seed=seed) for j, right in enumerate(values)]
        for i, left in enumerate(values)
    ]


def read_log(stage: StageOutput) -> list[dict[str, Any]]:
    """log.jsonl of a train stage, a row per logged step; empty where it wrote none."""
    path = stage.folder / "log.jsonl"
    if not path.is_file():
        return []
    return [row for _, row in read_rows(str(path))]
