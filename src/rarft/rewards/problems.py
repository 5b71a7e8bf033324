"""Verification of completions of problems: what training, evaluation, labels and serving all ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rarft.core.errors import InputError
from rarft.records.problems import Problem
from rarft.rewards.base import Verdict, check_reward
from rarft.rewards.scoring import check_golds, verify


def verify_problems(problems: Sequence[Problem], completions: Sequence[str], reward: str) -> list[Verdict]:
    """The verdict of each completion of the problem at the same place. As `verify`."""
    return verify([p.gold for p in problems], completions, name=reward, extras=[columns(p) for p in problems])


def check_problems(problems: Sequence[Problem], where: str, reward: str) -> None:
    """Check that every problem has the gold that completions are scored against: its answer, or another column.

    Args:
        where: what the problems were read from, for the error.

    Raises:
        InputError: no such reward; or names the first problem that has none, and why.
    """
    check_reward(reward)
    faults = check_golds([p.gold for p in problems], name=reward, extras=[columns(p) for p in problems])
    for problem, fault in zip(problems, faults, strict=True):
        if fault:
            raise InputError(f"{where}: problem {problem.id}: {fault}; mend it or drop the problem")


def columns(problem: Problem) -> dict[str, Any]:
    """What a reward may read of a problem besides its gold answer."""
    return {**problem.extra, "question": problem.question}
