"""avg@k, pass@k and maj@k of one problem: pure functions on rewards and answers.

A *problem value* is one number per problem: its mean reward, its pass@k or its maj@k. A system's score is the mean of
its problem values within a benchmark, and the mean of its benchmarks overall (the "mean" column of the paper's
tables), with the intervals of `rarft.stats`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np


def avg_at_k(rewards: Sequence[float]) -> float:
    """Mean reward of a problem's k samples (the paper's average@32 for k = 32)."""
    if not len(rewards):
        raise ValueError("avg@k of no samples")
    return float(np.mean(rewards))


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased estimate of P(at least one of k samples is right) from n samples (Chen et al. 2021, eq. 1)."""
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs 1 <= k <= {n} samples")
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} right answers among {n} samples")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def normal_answer(answer: str | None) -> str | None:
    """The form in which two answers count as the same vote: a number by its value, other text without spaces."""
    if answer is None:
        return None
    text = answer.strip().strip("$").replace("\\dfrac", "\\frac").replace("\\!", "").replace("\\,", "")
    text = "".join(text.split()).rstrip(".")
    if not text:
        return None
    if len(text) > 100 or re.search(r"_|[eE][-+]?\d{3}", text):  # 1e999999999 (or 1e9_9_9) as a fraction takes hours
        return text
    try:
        return str(Fraction(text.replace(",", "")))
    except (ValueError, ZeroDivisionError):
        return text


def maj_at_k(
    answers: Sequence[str | None], rewards: Sequence[float], k: int, *, draws: int = 256, seed: int = 0
) -> float:
    """Chance that the most frequent answer of k samples is right; ties are broken evenly.

    A sample without an answer does not vote. Right answers (reward >= 0.5) are one vote whatever their spelling,
    because the verifier found each equal to the gold answer; wrong ones are told apart by `normal_answer`.
    With k below the number of samples it is the mean over `draws` random subsets of size k.
    """
    n = len(answers)
    if n != len(rewards):
        raise ValueError(f"{n} answers but {len(rewards)} rewards")
    if not 1 <= k <= n:
        raise ValueError(f"maj@{k} needs 1 <= k <= {n} samples")
    right = "\0right"
    votes = [right if reward >= 0.5 else normal_answer(answer) for answer, reward in zip(answers, rewards, strict=True)]

    def won(subset: Sequence[str | None]) -> float:
        counts = Counter(vote for vote in subset if vote is not None)
        if not counts:
            return 0.0
        most = max(counts.values())
        winners = [vote for vote, count in counts.items() if count == most]
        return (right in winners) / len(winners)

    if k == n:
        return won(votes)
    rng = np.random.default_rng(seed)
    return float(np.mean([won([votes[i] for i in rng.permutation(n)[:k]]) for _ in range(draws)]))
