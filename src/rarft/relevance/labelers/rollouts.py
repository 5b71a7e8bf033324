"""The rollouts labeler: what RL's own rollouts say about the traces that stood in their prompts; nothing is sampled.

    rarft label --labeler rollouts --rollouts runs/ra-rft --problems P --traces T --output runs/labels-2

Training has sampled and verified thousands of completions, each with traces in its prompt. The policy changes on the
way, so a reward counts by how far it is above the mean of its step. Score = that mean for the rollouts with the trace -
that for the problem's rollouts without it. A pair is relevant when the difference is above 0 with probability
`confidence` (normal approximation, one variance for both, two rollouts more on either side that say nothing). A problem
that always had the same trace says nothing: train with `--draw-top` or `--contexts-per-group`. Rollouts of `rarft
evaluate` serve as well. Left out: who of several traces in one prompt deserves the reward; each gets it.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import NormalDist

import numpy as np
from pydantic import Field

from rarft.core.config import Config
from rarft.core.errors import InputError
from rarft.core.progress import log
from rarft.core.stages import Work
from rarft.records.labels import Label
from rarft.records.problems import Problem, Trace
from rarft.records.rollouts import Rewarded, read_rewards
from rarft.relevance.candidates import Pair
from rarft.relevance.labelers.base import Labeler, Write


class RolloutsConfig(Config):
    confidence: float = Field(0.9, ge=0.5, lt=1)
    """Probability, from 0.5 to 1, that the trace helps more than the others, from which a pair is relevant."""


class Rollouts(Labeler):
    """Labels the pairs that stood in prompts by the rewards that followed."""

    Options = RolloutsConfig
    options: RolloutsConfig
    brings_pairs = True

    def check(self) -> None:
        """As `Labeler.check`."""
        if self.setting.rollouts is None:
            raise InputError("labeler rollouts reads what a training run has sampled; give its folder with --rollouts")

    def pairs(self, problems: Mapping[str, Problem], traces: Mapping[str, Trace]) -> list[Pair]:
        """The pairs that can be told apart from others of their problem, in the problems' order.

        Raises:
            InputError: rollouts that can't be read, name an unknown trace, or have no problem with two contexts.
        """
        self._by_problem = self._read(problems, traces)
        found, alone = [], 0
        for name, problem in problems.items():
            own = self._by_problem.get(name, [])
            for trace_id in sorted({trace_id for ids, _ in own for trace_id in ids}):
                if all(trace_id in ids for ids, _ in own):
                    alone += 1
                else:
                    found.append(Pair(problem, traces[trace_id]))
        if alone:
            log(f"rollouts: {alone} pairs left out, whose problem was never sampled without the trace")
        if not found:
            raise InputError(
                f"{self.setting.rollouts}: no problem was sampled with different traces, so none can be told to be "
                "better; train with --draw-top or --contexts-per-group"
            )
        return found

    def label(self, pairs: Iterable[Pair], total: int, work: Work, scratch: Path, write: Write) -> None:
        """As `Labeler.label`."""
        for problem, trace in pairs:
            own = self._by_problem[problem.id]
            with_it = np.array([gain for ids, gain in own if trace.id in ids])
            without = np.array([gain for ids, gain in own if trace.id not in ids])
            score, probability = compare(with_it, without, self._spread)
            told = (
                f"{len(with_it)} rollouts {with_it.mean():+.3f} above their step, {len(without)} others "
                f"{without.mean():+.3f}; helps with probability {probability:.3f}"
            )
            relevant = probability >= self.options.confidence and score > 0
            write(Label(problem.id, trace.id, relevant, score, "rollouts", told))

    def _read(
        self, problems: Mapping[str, Problem], traces: Mapping[str, Trace]
    ) -> dict[str, list[tuple[list[str], float]]]:
        """For each problem the traces of its rollouts and their reward above the mean of the step."""
        path = str(self.setting.rollouts)
        steps: dict[tuple[str, int | None], list[Rewarded]] = defaultdict(list)
        for rollout in read_rewards(path):
            if rollout.problem_id in problems:
                unknown = next((name for name in rollout.trace_ids if name not in traces), None)
                if unknown is not None:
                    raise InputError(f"{path}: trace {unknown} is not among the given traces")
                steps[rollout.benchmark, rollout.step].append(rollout)
        rewards = [rollout.reward for rollouts in steps.values() for rollout in rollouts]
        self._spread = max(rewards, default=0.0) - min(rewards, default=0.0)
        found: dict[str, list[tuple[list[str], float]]] = defaultdict(list)
        for rollouts in steps.values():
            mean = sum(rollout.reward for rollout in rollouts) / len(rollouts)
            for rollout in rollouts:
                found[rollout.problem_id].append((rollout.trace_ids, rollout.reward - mean))
        return found


def compare(with_it: np.ndarray, without: np.ndarray, spread: float) -> tuple[float, float]:
    """Difference of two means, and the probability that it is above 0.

    Normal approximation with the pooled variance of both samples. Each has two rewards more, `spread` apart around the
    mean of all: samples that don't vary are not certain to differ.

    Args:
        with_it, without: rewards, one or more of each.
        spread: the highest reward of the run less the lowest; where it is 0, the probability is 0.5.
    """
    score = float(with_it.mean() - without.mean())
    if spread == 0:
        return score, 0.5
    more = np.concatenate([with_it, without]).mean() + np.array([-spread, spread]) / 2
    a, b = np.concatenate([with_it, more]), np.concatenate([without, more])
    pooled = (a.var() * len(a) + b.var() * len(b)) / (len(a) + len(b) - 2)
    error = math.sqrt(pooled * (1 / len(a) + 1 / len(b)))
    return score, NormalDist().cdf(float(a.mean() - b.mean()) / error)
