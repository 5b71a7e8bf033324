"""What a reward is: a gold answer, a completion, a verdict.

A reward is a small class with three methods. `extract` and `shortcut` run in the caller's process and must be cheap
and safe on any string; `score` and `check_gold` run in a worker process under a time and memory limit (see pool.py),
so they may call parsers and solvers that hang or crash. Left out: partial credit, formatting bonuses, length
penalties; a reward here answers one question, "is this the answer?".

A new domain is one such class, named in `BUILT_IN` below or, from outside this package, as "module:Class":

    class Parity(Reward):
        def score(self, gold, answer, extra):
            return float(int(answer) % 2 == int(gold) % 2)

    verify(["4"], ["The answer is 10."], name="my_package.parity:Parity")
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

from rarft.core.doors import load_class
from rarft.core.errors import InputError
from rarft.rewards.extract import extract_answer

Reason = Literal["correct", "wrong", "no_answer", "timeout", "error"]
REASONS: tuple[Reason, ...] = ("correct", "wrong", "no_answer", "timeout", "error")


@dataclass(frozen=True)
class Verdict:
    """The score of one completion.

    reward: between 0 and 1; `reason` says why; `answer` is what was taken from the completion (None if nothing was).
    """

    reward: float
    reason: Reason
    answer: str | None = None


class TooLarge(Exception):
    """Raised by `score` for an answer it refuses to evaluate because that would not end; reported as `timeout`."""


class Reward:
    """Base class of all rewards. Override `score`, and the others where the defaults do not fit."""

    uses: ClassVar[tuple[str, ...] | None] = None
    """The other columns of a problem that `score` reads; None for all of them. Only these reach the worker."""
    needs_gold: ClassVar[bool] = True
    """Whether a row of `rarft verify` must have a gold answer; else other columns decide."""
    deterministic: ClassVar[bool] = True
    """Whether equal (gold, answer, extra) may be scored once and the result reused."""

    def extract(self, completion: str) -> str | None:
        """The final answer in a completion, or None. Runs in the caller: linear time, never raises."""
        return extract_answer(completion)

    def shortcut(self, gold: str, answer: str, extra: Mapping[str, Any]) -> float | None:
        """The reward where it is plain to see without a worker, else None. Runs in the caller."""
        return None

    def plain_gold(self, gold: str) -> bool:
        """Whether this gold answer is known to be good without `check_gold`. Runs in the caller."""
        return False

    def warm_up(self) -> None:
        """Import what `score` needs. Runs once in each worker, before any clock starts."""

    def score(self, gold: str, answer: str, extra: Mapping[str, Any]) -> float:
        """The reward of `answer`, 0 to 1. Runs in a worker under the limits."""
        raise NotImplementedError

    def check_gold(self, gold: str, extra: Mapping[str, Any]) -> None:
        """Raise ValueError if no answer could ever match this gold answer. Runs in a worker under the limits."""


BUILT_IN = {
    "math": "rarft.rewards.math_reward:MathReward",
    "reasoning-gym": "rarft.rewards.reasoning_gym:ReasoningGymReward",
    "code": "rarft.rewards.code:CodeReward",
    "code-unsandboxed": "rarft.rewards.code:UnsandboxedCodeReward",
}


@cache
def get_reward(name: str) -> Reward:
    """The reward called `name`: one of `BUILT_IN`, or "module:Class" for your own.

    A module that Python does not find is looked for in the current directory. Raises ValueError for a name that is
    neither or a class that is no Reward, InputError if it cannot be imported or lacks what it needs.
    """
    target = BUILT_IN.get(name, name)
    module, colon, _ = target.partition(":")
    if not colon:
        raise ValueError(f"no reward is called {name!r}; use one of {', '.join(BUILT_IN)}, or module:Class")
    _reach(module.partition(".")[0])
    found = load_class(target, "reward")
    if not issubclass(found, Reward):
        raise ValueError(f"{target} is not a class derived from rarft.rewards.Reward")
    return found()


def check_reward(name: str, option: str = "--reward") -> None:
    """Check that there is a reward called `name` and that it can be imported; starts no worker.

    Raises:
        InputError: there is none, in one line that names `option` and what there is.
    """
    try:
        get_reward(name)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{option} {name}: {error}") from None


def _reach(module: str) -> None:
    """Have a module that is in the current directory, and nowhere else, be found there.

    The directory goes to the end of the path, so that nothing in it stands before what is installed.
    """
    if module not in sys.modules and find_spec(module) is None and PathFinder.find_spec(module, [os.curdir]):
        sys.path.append(os.getcwd())
