"""Labels: which trace helps which problem, as pairs of indices, and what two texts in one batch are to each other.

Unlabelled pairs are the trouble of contrastive training: another problem's positive may well be a positive of this one.
`Relations` answers for any pair of the batch: relevant, not relevant, or unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rarft.core.errors import InputError
from rarft.records import labels
from rarft.records.problems import Problem, Trace
from rarft.records.same_problem import near_duplicate_groups


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
    """Read labels as `records.labels` does; pairs of problems that are not given are left out.

    Args:
        path: Parquet, JSONL or CSV file, or a `rarft label` folder.
        problems, traces: what the ids refer to.

    Raises:
        InputError: a bad row, an unknown trace, no pair left, or none that is relevant.
    """
    problem_of = {problem.id: i for i, problem in enumerate(problems)}
    trace_of = {trace.id: i for i, trace in enumerate(traces)}
    rows = [
        (problem_of[label.problem_id], trace_of[label.trace_id], label.relevant, label.score)
        for label in labels.read_labels(path, trace_of)
        if label.problem_id in problem_of
    ]
    if not rows:
        raise InputError(f"{path}: labels none of the given problems; check that ids agree")
    problem, trace, relevant, score = map(np.array, zip(*rows, strict=True))
    if not relevant.any():
        raise InputError(f"{path}: no pair is relevant; a retriever cannot be trained or judged by it")
    return Labels(problem, trace, relevant, score, _graded(problem, score))


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
