"""The check that problems can be scored at all, which every stage that verifies makes before any work."""

from collections.abc import Sequence

from rarft.core.errors import InputError
from rarft.records.problems import Problem
from rarft.rewards.base import get_reward
from rarft.rewards.scoring import check_golds


def require_golds(problems: Sequence[Problem], reward: str, where: str) -> None:
    """Refuse problems whose gold, be it the answer or another column that the reward reads, nothing could match.

    Args:
        where: the file to name in the error.

    Raises:
        InputError: names the first such problem; or there is no such reward.
    """
    try:
        get_reward(reward)
    except (ValueError, ImportError) as error:
        raise InputError(f"--reward {reward}: {error}") from None
    extras = [{**problem.extra, "question": problem.question} for problem in problems]
    faults = check_golds([problem.gold for problem in problems], name=reward, extras=extras)
    for problem, fault in zip(problems, faults, strict=True):
        if fault:
            raise InputError(f"{where}: problem {problem.id}: {fault}; mend it or drop the problem")
