"""Labels: which trace helps which problem, as pairs of indices, and what two texts in one batch are to each other.

Unlabelled pairs are the trouble of contrastive training: another problem's positive may well be a positive of this one.
`Relations` answers for any pair of the batch: relevant, not relevant, or unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rarft.core.artifacts import find_file
from rarft.core.errors import InputError
from rarft.records.problems import Problem, Trace
from rarft.records.rows import read_rows
from rarft.retriever.similar import near_duplicate_groups

LABELS = "labels.parquet"


@dataclass(frozen=True)
class Labels:
    """Labelled pairs, all arrays of length `n_pairs`."""

    problem: np.ndarray
    """Index into the problems."""
    trace: np.ndarray
    """Index into the traces."""
    relevant: np.ndarray
    """bool."""
    score: np.ndarray
    """float64; graded where the labeler grades, else 0 and 1."""
    graded: bool
    """Whether any problem's scores take more than two values."""

    def __len__(self) -> int:
        return len(self.problem)

    def of(self, problems: np.ndarray) -> Labels:
        """The pairs of these problems (indices) only."""
        keep = np.isin(self.problem, problems)
        return Labels(self.problem[keep], self.trace[keep], self.relevant[keep], self.score[keep], self.graded)


def read_labels(path: str, problems: Sequence[Problem], traces: Sequence[Trace]) -> Labels:
    """Read labels: columns `problem_id, trace_id, relevant, score?`. Pairs of problems that are not given are left out.

    Args:
        path: Parquet or JSONL file, or a `rarft label` folder.
        problems, traces: what the ids refer to.

    Raises:
        InputError: a missing column, an unknown trace, an empty score, no pair left, or none that is relevant.
    """
    file = str(find_file(path, LABELS))
    columns = _columns(file)
    for name in ("problem_id", "trace_id", "relevant"):
        empty = next((row for row, value in enumerate(columns[name], start=1) if value is None), None)
        if empty is not None:
            raise InputError(f"{file}, row {empty}: column `{name}` is missing or empty; give it a value")
    problem_of = {problem.id: i for i, problem in enumerate(problems)}
    trace_of = {trace.id: i for i, trace in enumerate(traces)}
    problem = np.array([problem_of.get(str(i), -1) for i in columns["problem_id"]])
    trace = np.array([trace_of.get(str(i), -1) for i in columns["trace_id"]])
    relevant = np.array([_as_bool(value) for value in columns["relevant"]])
    score = np.array([float(r if s is None else s) for r, s in zip(relevant, columns["score"], strict=True)])
    for wrong, what in (
        (trace < 0, lambda row: f"trace {columns['trace_id'][row]!r} is not among the traces given"),
        (~np.isfinite(score), lambda row: f"score is {score[row]}; give a finite number"),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(f"{file}, row {row + 1}: {what(row)}")
    known = problem >= 0
    if not known.any():
        raise InputError(f"{file}: labels none of the given problems; check that ids agree")
    problem, trace, relevant, score = problem[known], trace[known], relevant[known], score[known]
    if not relevant.any():
        raise InputError(f"{file}: no pair is relevant; a retriever cannot be trained or judged by it")
    return Labels(problem, trace, relevant, score, _graded(problem, score))


def _columns(file: str) -> dict[str, list[Any]]:
    names = ("problem_id", "trace_id", "relevant", "score")
    if file.endswith(".parquet"):
        import pyarrow.parquet as pq

        table = pq.read_table(file)
        missing: list[Any] = [None] * len(table)
        return {name: table[name].to_pylist() if name in table.column_names else missing for name in names}
    rows = [values for _, values in read_rows(file)]
    return {name: [values.get(name) for values in rows] for name in names}


def _as_bool(value: Any) -> bool:
    return value.strip().lower() in ("true", "1", "yes") if isinstance(value, str) else bool(value)


def _graded(problem: np.ndarray, score: np.ndarray) -> bool:
    values: dict[int, set[float]] = {}
    for p, s in zip(problem.tolist(), score.tolist(), strict=True):
        seen = values.setdefault(p, set())
        seen.add(s)
        if len(seen) > 2:
            return True
    return False


class Relations:
    """What any problem and trace are to each other: labelled relevant, labelled not relevant, or never judged.

    And whether the trace is of the very problem, or of a near-identical one: nobody labels that, and no retriever may
    return it, but it is the trace most like the problem.
    """

    def __init__(self, labels: Labels, problems: Sequence[Problem], traces: Sequence[Trace]) -> None:
        import torch

        self.n_traces = len(traces)
        keys = labels.problem.astype(np.int64) * self.n_traces + labels.trace
        order = np.argsort(keys, kind="stable")
        self.keys = torch.from_numpy(keys[order])
        self.relevant = torch.from_numpy(labels.relevant[order].astype(bool))
        self.score = torch.from_numpy(labels.score[order].astype(np.float32))
        kinds = {p.kind for p in problems} | {t.kind for t in traces}
        number = {kind: i for i, kind in enumerate(sorted(kind for kind in kinds if kind))}
        self.problem_kind = torch.tensor([number.get(p.kind or "", -1) for p in problems])
        self.trace_kind = torch.tensor([number.get(t.kind or "", -2) for t in traces])
        groups = torch.tensor(near_duplicate_groups([*(p.question for p in problems), *(t.problem for t in traces)]))
        self.problem_group, self.trace_group = groups[: len(problems)], groups[len(problems) :]

    def look_up(self, problems: Any, traces: Any) -> tuple[Any, Any, Any, Any, Any]:
        """Relations of `problems` `(B,)` and `traces` `(D,)`, both int64 tensors of indices.

        Returns:
            `(B, D)` tensors: relevant (bool), labelled (bool), score (float32, 0 where unlabelled), same kind (bool),
            same problem (bool).
        """
        import torch

        keys = problems[:, None] * self.n_traces + traces[None, :]
        at = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        labelled = self.keys[at] == keys
        score = torch.where(labelled, self.score[at], torch.zeros(()))
        same_kind = self.problem_kind[problems][:, None] == self.trace_kind[traces][None, :]
        same_problem = self.problem_group[problems][:, None] == self.trace_group[traces][None, :]
        return labelled & self.relevant[at], labelled, score, same_kind, same_problem
