"""Which demonstrations stand before a problem, and the prompts that result. The retriever and corpus are frozen.

A *visit* is one turn of a problem in training; the choice on a visit depends on the seed, the problem and the visit
alone, so that every process makes the same one and a resumed run goes on with it.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rarft.models.prompts import PromptConfig, check_length, render_prompt
from rarft.records.problems import Problem, Trace


@dataclass(frozen=True)
class Demonstrations:
    """Chooses demonstrations.

    top_k: how many. drop: share of visits without any. draw_top: 0, or how many of the best to draw them from.
    """

    analogies: Mapping[str, Sequence[Trace]]
    top_k: int = 1
    drop: float = 0.0
    draw_top: int = 0
    seed: int = 0

    def best(self, problem: Problem) -> list[Trace]:
        """The top-k, best first; none for a problem without analogies."""
        return list(self.analogies.get(problem.id, ())[: self.top_k])

    def on_visit(self, problem: Problem, visit: int) -> list[Trace]:
        """The ones for this visit, best first."""
        traces = self.analogies.get(problem.id, ())
        if not traces or not (self.drop or self.draw_top):
            return list(traces[: self.top_k])
        draw = random.Random(f"{self.seed} {problem.id} {visit}")
        if draw.random() < self.drop:
            return []
        if not self.draw_top:
            return list(traces[: self.top_k])
        pool = range(min(self.draw_top, len(traces)))
        return [traces[i] for i in sorted(draw.sample(pool, min(self.top_k, len(pool))))]


class Prompts:
    """Rendered prompts, each made once and checked against the model's context."""

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
