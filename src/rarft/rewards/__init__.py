r"""Rewards: score completions against gold answers without ever hanging. See docs/rewards.md.

>>> verify(["1/2"], [r"So it is \boxed{0.5}."])
[Verdict(reward=1.0, reason='correct', answer='0.5')]
"""

from rarft.rewards.base import REASONS, Reason, Reward, TooLarge, Verdict, check_reward, get_reward
from rarft.rewards.extract import extract_answer
from rarft.rewards.scoring import averify, check_gold, check_golds, verify

__all__ = [
    "REASONS",
    "Reason",
    "Reward",
    "TooLarge",
    "Verdict",
    "averify",
    "check_gold",
    "check_golds",
    "check_reward",
    "extract_answer",
    "get_reward",
    "verify",
]
