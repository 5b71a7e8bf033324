r"""The pass-rate labeler: how much a trace raises the policy's accuracy, by sampling and verifying.

Score = accuracy with the trace - accuracy without: the expected benefit itself, where the other labelers are proxies.
Each accuracy is a count of right samples; the rationale gives both with Newcombe's 95 % interval of the difference. A
pair is relevant when the accuracy with the trace is the higher one with probability `confidence`, both accuracies
having uniform priors. Left out: spending more samples on the close pairs.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from rarft.core.artifacts import Work
from rarft.core.config import Config
from rarft.core.errors import InputError
from rarft.models.prompts import PromptConfig
from rarft.records.labels import Label
from rarft.records.problems import Problem, Trace
from rarft.relevance.candidates import Pair
from rarft.relevance.resume import by_problem


class PassRateConfig(Config):
    samples: int = 8
    """Samples for each pair."""
    base_samples: int = 32
    """Samples for each problem without a trace; shared by all its pairs."""
    max_new_tokens: int = 512
    """Most tokens of one sample."""
    temperature: float = 1.0
    """Sampling temperature."""
    confidence: float = 0.9
    """Probability, from 0.5 to 1, that the trace helps, from which a pair is relevant."""
    reward: str = "math"
    """Verifier of the samples."""
    batch_size: int = 64
    """Samples decoded at a time."""


def pass_rate_label(
    pairs: Iterable[Pair],
    config: PassRateConfig,
    model: str,
    prompt: PromptConfig,
    total: int,
    seed: int,
    work: Work,
    scratch: Path,
    write: Callable[[Label], None],
) -> None:
    """Label pairs by sampled accuracy with and without the trace.

    Args:
        pairs: those of one problem must follow each other.
        total: number of pairs, for the progress line.
        scratch: where counts are kept between runs.

    Raises:
        InputError: the model can't be loaded, or a prompt does not fit it.
    """
    if config.samples < 1 or config.base_samples < 1 or not 0.5 <= config.confidence < 1:
        raise InputError("pass-rate needs samples and base-samples of 1 or more, and confidence from 0.5 to below 1")
    sampler = cache(lambda: Sampler(model, config, prompt, seed))  # no model is loaded where nothing is left to do
    rows = by_problem(pairs, lambda own: sampler().count(own), scratch / "pass_rate.jsonl", "sampling", total)
    with_trace = without = n_pairs = n_problems = 0
    for own, row in rows:
        work.ledger.add(tokens_in=row["tokens_in"], tokens_out=row["tokens_out"])
        for pair, right in zip(own, row["right"], strict=True):
            write(_label(pair, right, row["base"], config))
        with_trace, n_pairs = with_trace + sum(row["right"]), n_pairs + len(own)
        without, n_problems = without + row["base"], n_problems + 1
    work.results |= {
        "accuracy_with_trace": with_trace / max(1, n_pairs * config.samples),
        "accuracy_without": without / max(1, n_problems * config.base_samples),
    }


class Sampler:
    """Samples and verifies with one model."""

    def __init__(self, model: str, config: PassRateConfig, prompt: PromptConfig, seed: int) -> None:
        from rarft.models.loading import context_length, load_policy

        self.model, self.tokenizer = load_policy(model)
        self.limit = context_length(self.model.config)
        self.config, self.prompt, self.seed = config, prompt, seed

    def count(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """Right samples of each pair of one problem and without a trace, and the tokens it took."""
        from rarft.models.generation import generate
        from rarft.models.prompts import check_length, render_prompt
        from rarft.rewards import verify

        problem = pairs[0].problem
        contexts: list[Trace | None] = [None, *(pair.trace for pair in pairs)]
        prompts = [
            render_prompt(self.tokenizer, problem.question, [trace] if trace else [], self.prompt) for trace in contexts
        ]
        for ids in prompts:
            check_length(ids, self.limit, problem.id, self.config.max_new_tokens)
        samples = generate(
            self.model,
            self.tokenizer,
            prompts,
            num_samples=[self.config.base_samples] + [self.config.samples] * len(pairs),
            max_new_tokens=self.config.max_new_tokens,
            temperature=self.config.temperature,
            seed=[self._seed(problem, trace) for trace in contexts],
            batch_size=self.config.batch_size,
        )
        texts = [self.tokenizer.decode(s.token_ids, skip_special_tokens=True) for group in samples for s in group]
        extra = {**problem.extra, "question": problem.question}
        golds, extras = [problem.gold] * len(texts), [extra] * len(texts)
        verdicts = iter(verify(golds, texts, name=self.config.reward, extras=extras))
        base, *right = [sum(next(verdicts).reward >= 1 for _ in group) for group in samples]
        return {
            "base": base,
            "right": right,
            "tokens_in": sum(map(len, prompts)),
            "tokens_out": sum(len(s.token_ids) for group in samples for s in group),
        }

    def _seed(self, problem: Problem, trace: Trace | None) -> int:
        """A seed of the pair's own, so that a sample does not depend on what else is sampled."""
        return zlib.crc32(f"{self.seed} {problem.id} {trace.id if trace else ''}".encode())


def _label(pair: Pair, right: int, base: int, config: PassRateConfig) -> Label:
    n, n_base = config.samples, config.base_samples
    gain = right / n - base / n_base
    better = probability_better(right, n, base, n_base)
    low, high = difference_interval(right, n, base, n_base)
    rationale = (
        f"{right}/{n} right with, {base}/{n_base} without; gain {gain:+.3f}, 95% [{low:+.3f}, {high:+.3f}]; "
        f"helps with probability {better:.3f}"
    )
    return Label(pair.problem.id, pair.trace.id, better >= config.confidence, gain, "pass-rate", rationale)


def probability_better(right: int, n: int, base: int, n_base: int) -> float:
    """P(p > p0) for p ~ Beta(1 + right, 1 + n - right) and p0 ~ Beta(1 + base, 1 + n_base - base)."""

    def log_beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    a, b, a0, b0 = 1 + right, 1 + n - right, 1 + base, 1 + n_base - base
    terms = (
        math.exp(log_beta(a0 + i, b + b0) - math.log(b + i) - log_beta(1 + i, b) - log_beta(a0, b0)) for i in range(a)
    )
    return min(1.0, sum(terms))


def difference_interval(right: int, n: int, base: int, n_base: int) -> tuple[float, float]:
    """Newcombe's 95 % interval of the difference of two proportions, from their Wilson intervals."""
    p, p0 = right / n, base / n_base
    (low, high), (low0, high0) = wilson(right, n), wilson(base, n_base)
    return p - p0 - math.hypot(p - low, high0 - p0), p - p0 + math.hypot(high - p, p0 - low0)


def wilson(right: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion."""
    p = right / n
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
