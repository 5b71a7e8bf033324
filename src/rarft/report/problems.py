"""The browsable problems of the report: what each retriever brought for a problem, and what each arm then wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rarft.core.errors import InputError
from rarft.records.problems import Problem, Trace, load_problems, load_traces
from rarft.records.rollouts import Rollout
from rarft.report.collect import KEY_MARK, StageOutput, System

LONGEST = 4000
"""Characters of a completion or trace that are shown: its beginning and its end."""


def excerpt(text: str) -> str:
    """The text, or its beginning and end where it is longer than the page should carry."""
    if len(text) <= LONGEST:
        return text
    left_out = len(text) - LONGEST
    head, tail = text[: LONGEST * 2 // 3], text[-LONGEST // 3 :]
    return f"{head}\n\n[{left_out:,} characters left out]\n\n{tail}"


@dataclass(frozen=True)
class Brought:
    """A retrieved trace (or none) and the arms that saw it."""

    arms: list[str]
    trace_id: str
    problem: str
    solution: str
    note: str = ""
    """Structure or kind of the trace, where the data names it."""


@dataclass(frozen=True)
class Answers:
    """What one arm wrote."""

    arm: str
    accuracy: float
    right: int
    samples: int
    rollouts: list[Rollout]
    gold: str = ""
    """The gold answer, where the arm was asked for another than the first one: the same question in another house."""


@dataclass(frozen=True)
class Entry:
    """One problem of the browser."""

    benchmark: str
    problem_id: str
    question: str
    gold: str
    note: str
    brought: list[Brought]
    answers: list[Answers]
    tags: list[str]
    """What the filter matches: `gained`, `lost`, `differ`, `solved`, `unsolved`."""


def entries(systems: Sequence[System], *, max_problems: int, max_rollouts: int) -> list[Entry]:
    """The problems of each benchmark on which the arms differ most, with their traces and rollouts.

    The benchmarks take turns; the difference between the first and the last arm counts most. Texts come from the files
    that the evaluation stages name; a problem whose file is gone is shown by its id.
    """
    if not systems:
        return []
    texts = _Texts(systems)
    means = [system.values for system in systems]

    def spread(benchmark: str, key: str) -> float:
        values = [mean[benchmark][key] for mean in means]
        return abs(values[-1] - values[0]) + max(values) - min(values)

    ranked = [
        [(benchmark, key) for key in sorted(problems, key=lambda key: (-spread(benchmark, key), key))]
        for benchmark, problems in means[0].items()
    ]
    turns = [one for turn in zip_longest(*ranked) for one in turn if one]
    found = []
    for benchmark, key in turns[:max_problems]:
        problem = texts.problem(key)
        answers = [_answers(system, benchmark, key, max_rollouts, texts) for system in systems]
        found.append(
            Entry(
                benchmark,
                key.split(KEY_MARK)[0],
                problem.question if problem else f"(problem {key.split(KEY_MARK)[0]}: its file is not there any more)",
                problem.gold if problem else "",
                _note(problem.extra | {"kind": problem.kind}) if problem else "",
                _brought(systems, benchmark, key, texts),
                answers,
                _tags([answer.accuracy for answer in answers]),
            )
        )
    return found


def _answers(system: System, benchmark: str, key: str, limit: int, texts: _Texts) -> Answers:
    rows = system.groups[benchmark][key]
    right = [row for row in rows if row.reward >= 0.5]
    wrong = [row for row in rows if row.reward < 0.5]
    share = max(1, limit // 2) if right and wrong else limit
    shown = (right[:share] + wrong[: max(0, limit - min(share, len(right)))])[:limit]
    accuracy = sum(row.reward for row in rows) / len(rows)
    shown = [replace(row, completion=excerpt(row.completion)) for row in shown]
    first, own = texts.problem(key), texts.problem(key, system)
    gold = own.gold if first and own and own.gold != first.gold else ""
    return Answers(system.label, accuracy, len(right), len(rows), shown, gold)


def _brought(systems: Sequence[System], benchmark: str, key: str, texts: _Texts) -> list[Brought]:
    """The traces of a problem, each once, with the arms that saw it."""
    arms: dict[tuple[str, str, str, str], list[str]] = {}
    for system in systems:
        for trace_id in dict.fromkeys(t for row in system.groups[benchmark][key] for t in row.trace_ids):
            trace = texts.trace(system, trace_id)
            if trace is None:
                found = (trace_id, "(its file is not there any more)", "", "")
            else:
                found = (
                    trace_id,
                    excerpt(trace.problem),
                    excerpt(trace.solution),
                    _note(trace.extra | {"kind": trace.kind}),
                )
            arms.setdefault(found, []).append(system.label)
    return [Brought(names, *found) for found, names in arms.items()]


def _note(columns: dict[str, Any]) -> str:
    parts = [f"{name}: {columns[name]}" for name in ("structure", "surface", "kind") if columns.get(name)]
    return ", ".join(parts)


def _tags(accuracy: list[float]) -> list[str]:
    tags = []
    if accuracy[-1] > accuracy[0]:
        tags.append("gained")
    if accuracy[-1] < accuracy[0]:
        tags.append("lost")
    if max(accuracy) - min(accuracy) >= 0.5:
        tags.append("differ")
    tags.append("solved" if accuracy[-1] >= 0.5 else "unsolved")
    return tags


def trace_patterns(stage: StageOutput) -> dict[str, str]:
    """Structure (or else kind) of the traces an evaluation used, where their file names one."""
    path = stage.config.get("traces")
    found = _read(load_traces, path, {}) if path else []
    named = {trace.id: trace.extra.get("structure") or trace.kind for trace in found}
    return {key: str(value) for key, value in named.items() if value}


class _Texts:
    """The texts behind the ids, problems and traces of each system's own files; questions are the same in all."""

    def __init__(self, systems: Sequence[System]) -> None:
        self.first = systems[0]
        self.problems: dict[str, dict[str, Problem]] = {}
        self.traces: dict[str, dict[str, Trace]] = {}
        for system in systems:
            config = system.evaluation.config
            for path in config.get("problems", []):
                if path not in self.problems:
                    read = _read(load_problems, path, config.get("columns") or {})
                    self.problems[path] = {problem.id: problem for problem in read}
            path = config.get("traces")
            if path and path not in self.traces:
                self.traces[path] = {trace.id: trace for trace in _read(load_traces, path, {})}

    def problem(self, key: str, system: System | None = None) -> Problem | None:
        """As the system was asked it; as the first one was where none is given."""
        problem_id = key.split(KEY_MARK)[0]
        paths = (system or self.first).evaluation.config.get("problems", [])
        return next((found for path in paths if (found := self.problems[path].get(problem_id))), None)

    def trace(self, system: System, trace_id: str) -> Trace | None:
        return self.traces.get(system.evaluation.config.get("traces") or "", {}).get(trace_id)


def _read(load: Any, path: str, columns: dict[str, str]) -> list[Any]:
    try:
        return list(load(path, columns)) if Path(path).exists() else []
    except InputError:
        return []
