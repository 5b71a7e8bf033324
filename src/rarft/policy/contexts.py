"""Which demonstrations stand before a problem, and the prompts that result. The retriever and corpus are frozen.

A *visit* is one turn of a problem in training; the choice on a visit depends on the seed, the problem and the visit
alone, so that every process makes the same one and a resumed run goes on with it.
"""

from __future__ import annotations

import random
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rarft.core.errors import InputError
from rarft.models.prompts import PromptConfig, check_length, render_prompt
from rarft.records.analogies import read_analogies
from rarft.records.problems import Problem, Trace


def shares_of(schedule: str) -> tuple[float, float]:
    """Share of visits with a demonstration at the first and at the last one, as `demonstration-schedule` says it.

    Raises:
        InputError: it is neither `constant` nor `linear:FROM:TO` with shares from 0 to 1.
    """
    if schedule == "constant":
        return 1.0, 1.0
    found = re.fullmatch(r"linear:(\d*\.?\d+):(\d*\.?\d+)", schedule)
    shares = [float(share) for share in found.groups()] if found else []
    if not shares or max(shares) > 1:
        raise InputError(
            f"demonstration-schedule {schedule}: give constant, or linear:FROM:TO with shares from 0 to 1, such as "
            "linear:1:0"
        )
    return shares[0], shares[1]


class Choice(Protocol):
    """Options by which demonstrations are chosen."""

    @property
    def problems(self) -> str: ...

    @property
    def eval_problems(self) -> str | None: ...

    @property
    def traces(self) -> str | None: ...

    @property
    def analogies(self) -> str | None: ...

    @property
    def eval_analogies(self) -> str | None: ...

    @property
    def top_k(self) -> int: ...

    @property
    def drop_demonstration(self) -> float: ...

    @property
    def draw_top(self) -> int: ...

    @property
    def demonstration_schedule(self) -> str: ...

    @property
    def seed(self) -> int: ...


def check_choice(choice: Choice) -> tuple[float, float]:
    """The schedule's shares.

    Raises:
        InputError: options that exclude each other, or a schedule that is none.
    """
    if choice.analogies and not choice.traces:
        raise InputError("analogies name traces: give the corpus they come from with --traces")
    if choice.draw_top and choice.draw_top < choice.top_k:
        raise InputError(f"draw-top is {choice.draw_top}, below top-k {choice.top_k}; raise it or set it to 0")
    return shares_of(choice.demonstration_schedule)


Analogies = Mapping[str, Sequence[Trace]]
"""Problem id -> its traces, best first."""


def both_analogies(
    choice: Choice, problems: Sequence[Problem], held_out: Sequence[Problem], traces: Mapping[str, Trace]
) -> tuple[Analogies, Analogies]:
    """Analogies of the training problems and of the held-out ones: apart, since ids are unique within a file only.

    Args:
        traces: the corpus by id.

    Raises:
        InputError: bad analogies; none for any training problem; a held-out problem that would get those of a training
            problem with its id.
    """
    where = str(choice.traces)
    found: Analogies = read_analogies(choice.analogies, traces, where) if choice.analogies else {}
    if choice.analogies and not any(problem.id in found for problem in problems):
        raise InputError(f"{choice.analogies}: has no analogy for any problem of {choice.problems}; retrieve anew")
    if choice.eval_analogies:
        return found, read_analogies(choice.eval_analogies, traces, where)
    questions = {problem.id: problem.question for problem in problems if problem.id in found}
    for problem in held_out:
        if questions.get(problem.id, problem.question) != problem.question:
            raise InputError(
                f"{choice.eval_problems}: problem {problem.id} has the id of another problem in {choice.problems} and "
                "would get its analogies; give eval-analogies, or make ids unique over both files"
            )
    return found, found


@dataclass(frozen=True)
class Demonstrations:
    """Chooses demonstrations.

    top_k: how many. drop: share of visits without any. draw_top: 0, or how many of the best to draw them from. shares:
    share of visits with any at the first and at the last of `visits`, linear between them; what `drop` takes away comes
    on top.
    """

    analogies: Analogies
    top_k: int = 1
    drop: float = 0.0
    draw_top: int = 0
    seed: int = 0
    shares: tuple[float, float] = (1.0, 1.0)
    visits: int = 1

    @classmethod
    def by(cls, choice: Choice, analogies: Analogies, visits: int) -> Demonstrations:
        """As the options say, for so many visits."""
        shares = shares_of(choice.demonstration_schedule)
        return cls(analogies, choice.top_k, choice.drop_demonstration, choice.draw_top, choice.seed, shares, visits)

    def best(self, problem: Problem) -> list[Trace]:
        """The top-k, best first; none for a problem without analogies."""
        return list(self.analogies.get(problem.id, ())[: self.top_k])

    def on_visit(self, problem: Problem, visit: int, context: int = 0) -> list[Trace]:
        """The ones for this visit, best first.

        Args:
            visit: from 0, counted over all problems.
            context: which of a group's contexts, from 0. Without `draw_top` context i has the i-th best `top_k` traces,
                and the last there are where they don't reach.
        """
        traces = self.analogies.get(problem.id, ())
        if not traces:
            return []
        first, last = self.shares
        shown = (first + (last - first) * visit / max(1, self.visits - 1)) * (1 - self.drop)
        draw = random.Random(f"{self.seed} {problem.id} {visit}" + (f" {context}" if context else ""))
        if draw.random() >= shown:
            return []
        if not self.draw_top:
            start = max(0, min(context * self.top_k, len(traces) - self.top_k))
            return list(traces[start : start + self.top_k])
        pool = range(min(self.draw_top, len(traces)))
        return [traces[i] for i in sorted(draw.sample(pool, min(self.top_k, len(pool))))]


class Prompts:
    """Rendered prompts of one file's problems, each made once and checked against the model's context."""

    def __init__(self, tokenizer: Any, config: PromptConfig, limit: int | None, max_new_tokens: int) -> None:
        self.tokenizer, self.config = tokenizer, config
        self.limit, self.max_new_tokens = limit, max_new_tokens
        self.made: dict[tuple[str, ...], array[int]] = {}

    def of(self, problem: Problem, traces: Sequence[Trace]) -> list[int]:
        """Token ids. Raises InputError where prompt and completion exceed the model's context."""
        key = (problem.id, *(trace.id for trace in traces))
        if key not in self.made:
            ids = render_prompt(self.tokenizer, problem.question, traces, self.config)
            check_length(ids, self.limit, problem.id, self.max_new_tokens)
            self.made[key] = array("I", ids)
        return self.made[key].tolist()


def schedule(n_problems: int, visits: int, seed: int) -> list[int]:
    """Which problem comes at each visit: one shuffled pass over all of them after another."""
    order: list[int] = []
    epoch = 0
    while len(order) < visits:
        one_pass = list(range(n_problems))
        random.Random(f"{seed} {epoch}").shuffle(one_pass)
        order += one_pass
        epoch += 1
    return order[:visits]
