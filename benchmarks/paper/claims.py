"""The paper's claims as differences between arms, and what an interval says about each.

A claim names two systems; its figure is what the first scores above the second, paired by problem and seed. The
verdict follows from the 95 % interval alone: *reproduced* where all of it is on the claimed side of zero, *not
reproduced* where all of it is on the other side, *inconclusive* where it holds zero.
"""

from __future__ import annotations

from dataclasses import dataclass

from rarft.stats import Interval


@dataclass(frozen=True)
class Claim:
    """`left` scores above (`sign` +1) or below (-1) `right`."""

    text: str
    left: str
    right: str
    sign: int
    paper: float
    """The paper's difference on Qwen3-1.7B, in points, mean of its four benchmarks."""


CLAIMS = [
    Claim("RL with demonstrations beats RL without (RA-RFT against GRPO)", "RA-GRPO", "GRPO", +1, 47.4 - 43.3),
    Claim("Demonstrations only at inference hurt a policy trained without", "GRPO + retrieval only at inference",
          "GRPO", -1, 37.7 - 43.3),
    Claim("Demonstrations hurt the policy before RL (figure 3, step 0)", "base + retrieval", "base", -1, float("nan")),
    Claim("SFT gains less than RL", "SFT", "GRPO", -1, 39.7 - 43.3),
    Claim("SFT with demonstrations gains less than RL with them", "RA-SFT", "RA-GRPO", -1, 40.5 - 47.4),
    Claim("A trained retriever beats the untuned one", "RA-GRPO", "RA-GRPO, untuned", +1, 47.4 - 40.7),
    Claim("The untuned retriever beats random demonstrations", "RA-GRPO, untuned", "RA-GRPO, random", +1, 40.7 - 37.6),
    Claim("Late interaction beats a single vector, both trained", "RA-GRPO", "RA-GRPO, single-vector", +1, 47.4 - 40.5),
    Claim("A single-vector retriever gains from the labels too", "RA-GRPO, single-vector",
          "RA-GRPO, single-vector untuned", +1, 40.5 - 38.5),
    Claim("Demonstrations help RLOO", "RA-RLOO", "RLOO", +1, 45.5 - 41.8),
    Claim("Demonstrations help DAPO", "RA-DAPO", "DAPO", +1, 44.4 - 42.6),
]  # fmt: skip


def verdict(interval: Interval, sign: int) -> str:
    """reproduced, not reproduced, or inconclusive."""
    low, high = (interval.low, interval.high) if sign > 0 else (-interval.high, -interval.low)
    if low > 0:
        return "reproduced"
    return "not reproduced" if high < 0 else "inconclusive"


TABLES: dict[str, list[tuple[str, float | None]]] = {
    "Table 1: the main comparison": [
        ("base", 39.6), ("SFT", 39.7), ("RA-SFT", 40.5), ("GRPO", 43.3),
        ("GRPO + retrieval only at inference", 37.7), ("RA-GRPO", 47.4),
    ],
    "Table 2: a larger policy": [("large base", 60.4), ("large GRPO", 64.4), ("large RA-GRPO", 67.0)],
    "Table 3: other algorithms": [("RLOO", 41.8), ("RA-RLOO", 45.5), ("DAPO", 42.6), ("RA-DAPO", 44.4)],
    "Table 4: the retriever inside RA-RFT": [
        ("RA-GRPO, random", 37.6), ("RA-GRPO, single-vector untuned", 38.5), ("RA-GRPO, single-vector", 40.5),
        ("RA-GRPO, untuned", 40.7), ("RA-GRPO", 47.4),
    ],
}  # fmt: skip
"""Arms by table, with the paper's mean over its benchmarks for Qwen3-1.7B (table 2: Qwen3-4B)."""

RETRIEVERS: dict[str, tuple[str, float | None]] = {
    "random": ("eval-random", 0.0),
    "single-vector, untuned": ("eval-single-untuned", 2.3),
    "single-vector, trained": ("eval-single", 14.7),
    "late interaction, untuned": ("eval-untuned", 7.2),
    "late interaction, trained": ("eval-trained", 43.5),
}
"""Table 5: retriever -> its retrieve stage, the paper's R@1 in percent."""
