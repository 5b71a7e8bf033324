r"""The pass-rate labeler: how much a trace raises the policy's accuracy, by sampling and verifying.

Score = accuracy with the trace - accuracy with the problem's other candidates: the benefit itself, where the other
labelers are proxies. A pair is relevant when the accuracy with the trace is the higher one with probability
`confidence`, both accuracies having uniform priors. The rationale gives the counts, those without any trace too, and
Newcombe's 95 % interval of the gain over no trace. Left out: spending more samples on the close pairs.
"""

import math
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from rarft.core.config import NotInResult, TemperatureAboveZero
from rarft.core.estimate import Count, times
from rarft.core.stages import Work
from rarft.models.engines.base import Completion, EngineOptions, Sampling
from rarft.models.prompts import check_length, render_prompt
from rarft.records.labels import Label
from rarft.records.problems import Problem, Trace
from rarft.relevance.candidates import Pair
from rarft.relevance.labelers.base import Labeler, Setting, Write
from rarft.relevance.resume import by_problem
from rarft.rewards.problems import check_problems, verify_problems
from rarft.rewards.sandbox import RewardConfig
from rarft.stats import bootstrap, newcombe


class PassRateConfig(RewardConfig):
    samples: int = Field(8, ge=1)
    """Samples for each pair."""
    base_samples: int = Field(32, ge=1)
    """Samples for each problem without a trace; told in the rationale, and what counts where it has one candidate."""
    max_new_tokens: int = Field(512, ge=1)
    """Most tokens of one sample."""
    temperature: TemperatureAboveZero = 1.0
    """Sampling temperature."""
    confidence: float = Field(0.9, ge=0.5, lt=1)
    """Probability, from 0.5 to 1, that the trace helps more than the others, from which a pair is relevant."""
    reward: str = "math"
    """Verifier of the samples."""
    batch_size: Annotated[int, NotInResult] = Field(64, ge=1)
    """Samples decoded at a time."""


class PassRate(Labeler):
    """Labels pairs by sampled accuracy with and without the trace."""

    Options = PassRateConfig
    options: PassRateConfig

    def label(self, pairs: Iterable[Pair], total: int, work: Work, scratch: Path, write: Write) -> None:
        """As `Labeler.label`.

        Raises:
            InputError: a problem that cannot be scored, the model can't be loaded, or a prompt does not fit it.
        """
        check_problems(self.setting.problems, self.setting.problems_path, self.options.reward)
        config, file = self.options, scratch / "pass-rate.jsonl"
        rows = by_problem(pairs, lambda: Sampler(self.setting, config), file, "sampling", total, work)
        with_trace = without = n_pairs = n_problems = above = below = 0
        gains = {}
        for own, row in rows:
            work.ledger.add(tokens_in=row["tokens_in"], tokens_out=row["tokens_out"])
            in_all = sum(row["right"])
            for pair, right in zip(own, row["right"], strict=True):
                over_none = newcombe(right, config.samples, row["base"], config.base_samples)
                above, below = above + (over_none[0] > 0), below + (over_none[1] < 0)
                write(_label(pair, right, in_all - right, len(own) - 1, row["base"], over_none, config))
            gains[own[0].problem.id] = in_all / (config.samples * len(own)) - row["base"] / config.base_samples
            with_trace, n_pairs = with_trace + in_all, n_pairs + len(own)
            without, n_problems = without + row["base"], n_problems + 1
        work.results |= {
            "accuracy_with_trace": with_trace / max(1, n_pairs * config.samples),
            "accuracy_without": without / max(1, n_problems * config.base_samples),
            "better_than_none": above,
            "worse_than_none": below,
        }
        if gains:
            gain = bootstrap([{"labelled": gains}], seed=self.setting.seed)
            work.results["gain_over_none"] = {"value": gain.value, "low": gain.low, "high": gain.high}

    def estimate(self, pairs: Count, problems: Count, characters: int) -> tuple[dict[str, Count], list[str]]:
        """Rollouts, and their tokens at most."""
        own, base = times(pairs, self.options.samples), times(problems, self.options.base_samples)
        rollouts = None if own is None or base is None else own + base
        return {"rollouts": rollouts, "tokens": times(rollouts, self.options.max_new_tokens)}, []


class Prepared(NamedTuple):
    """A problem's prompts as token ids, the one without a trace first; how many samples of each, and their seeds."""

    prompts: list[list[int]]
    counts: list[int]
    seeds: list[int]


class Sampler:
    """Samples and verifies with one model."""

    def __init__(self, setting: Setting, config: PassRateConfig) -> None:
        self.engine = setting.open_engine(EngineOptions(batch_size=config.batch_size))
        self.config, self.setting = config, setting

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def prepare(self, own: Sequence[Pair]) -> tuple[Prepared, int]:
        """As `Worker.prepare`. The samples of one problem fill a call."""
        config, engine, problem = self.config, self.engine, own[0].problem
        contexts: list[Trace | None] = [None, *(pair.trace for pair in own)]
        prompts = [
            render_prompt(engine.tokenizer, problem.question, [trace] if trace else [], self.setting.prompt)
            for trace in contexts
        ]
        for ids in prompts:
            check_length(ids, engine.context_length, problem.id, config.max_new_tokens)
        counts = [config.base_samples] + [config.samples] * len(own)
        seeds = [self._seed(problem, trace) for trace in contexts]
        return Prepared(prompts, counts, seeds), engine.call_tokens

    def compute(self, prepared: Sequence[Prepared]) -> list[list[list[Completion]]]:
        """For each problem, prompt and sample what the policy wrote."""
        sampling = Sampling(self.config.max_new_tokens, self.config.temperature)
        return [self.engine.sample(*problem, sampling) for problem in prepared]

    def row(self, own: Sequence[Pair], prepared: Prepared, computed: list[list[Completion]]) -> dict[str, Any]:
        """Right samples without a trace and of each pair, and the tokens it took."""
        texts = [
            self.engine.tokenizer.decode(sample.token_ids, skip_special_tokens=True)
            for group in computed
            for sample in group
        ]
        verdicts = iter(verify_problems([own[0].problem] * len(texts), texts, self.config.reward))
        base, *right = [sum(next(verdicts).reward >= 1 for _ in group) for group in computed]
        return {
            "base": base,
            "right": right,
            "tokens_in": sum(map(len, prepared.prompts)),
            "tokens_out": sum(len(sample.token_ids) for group in computed for sample in group),
        }

    def _seed(self, problem: Problem, trace: Trace | None) -> int:
        """A seed of the pair's own, so that a sample does not depend on what else is sampled."""
        return zlib.crc32(f"{self.setting.seed} {problem.id} {trace.id if trace else ''}".encode())


def _label(
    pair: Pair,
    right: int,
    others: int,
    n_others: int,
    base: int,
    over_none: tuple[float, float],
    config: PassRateConfig,
) -> Label:
    """The label of a pair whose problem has `n_others` other candidates, with `others` right samples among them."""
    n, n_base = config.samples, config.base_samples
    against, n_against = (others, n * n_others) if n_others else (base, n_base)
    better = probability_better(right, n, against, n_against)
    low, high = over_none
    rationale = (
        f"{right}/{n} right with, {others}/{n * n_others} with the other candidates, {base}/{n_base} without; "
        f"over none {right / n - base / n_base:+.3f}, 95% [{low:+.3f}, {high:+.3f}]; above "
        f"{'the other candidates' if n_others else 'none'} with probability {better:.3f}"
    )
    score = right / n - against / n_against
    return Label(pair.problem.id, pair.trace.id, better >= config.confidence, score, "pass-rate", rationale)


def probability_better(right: int, n: int, base: int, n_base: int) -> float:
    """P(p > p0) for p ~ Beta(1 + right, 1 + n - right) and p0 ~ Beta(1 + base, 1 + n_base - base)."""

    def log_beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    a, b, a0, b0 = 1 + right, 1 + n - right, 1 + base, 1 + n_base - base
    terms = (
        math.exp(log_beta(a0 + i, b + b0) - math.log(b + i) - log_beta(1 + i, b) - log_beta(a0, b0)) for i in range(a)
    )
    return min(1.0, sum(terms))
