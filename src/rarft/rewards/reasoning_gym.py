"""The reasoning-gym reward: planning, logic and algorithm tasks, each family scored by its own scorer.

Needs `pip install "rarft[reasoning-gym]"` and problems whose `metadata` column is the task's metadata (a mapping, or
the same as JSON), as `rarft reasoning-gym` writes them. An answer that gets full marks is worth 1, any other 0: the
scorers' partial credit often pays for form alone. Left out: a sandbox; some scorers evaluate expressions they are
given, so run untrusted policies on a machine that may be lost.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from rarft.core.errors import InputError
from rarft.rewards.base import Reward
from rarft.rewards.extract import TAIL, closing_phrase, last_box

_TEXT = re.compile(r"\\(?:text|mathrm|texttt|textbf|mathbf)\{([^{}]*)\}")


class ReasoningGymReward(Reward):
    """1 for an answer with full marks from the task's own scorer, else 0."""

    uses = ("question", "metadata")

    def __init__(self) -> None:
        """InputError where reasoning-gym is not installed."""
        if find_spec("reasoning_gym") is None:
            raise InputError('the reward reasoning-gym needs `pip install "rarft[reasoning-gym]"`')

    def extract(self, completion: str) -> str | None:
        """The last complete box, else the last <answer> tag, else the last closing phrase."""
        box = last_box(completion)
        if box is not None:
            return _TEXT.sub(r"\1", box).strip().strip("$").strip() or None
        tagged = _last_tag(completion[-TAIL:])
        return closing_phrase(completion) if tagged is None else tagged.strip() or None

    def shortcut(self, gold: str, answer: str, extra: Mapping[str, Any]) -> float | None:
        """Nothing is settled without the scorer but absurd lengths."""
        return 0.0 if len(answer) > 20_000 and len(answer) > 4 * len(gold) else None

    def warm_up(self) -> None:
        """Import reasoning-gym."""
        import reasoning_gym  # noqa: F401

    def score(self, gold: str, answer: str, extra: Mapping[str, Any]) -> float:
        """1.0 or 0.0. ValueError if the metadata does not name a known family."""
        metadata = _metadata(extra)
        entry = {"question": extra.get("question", ""), "answer": gold, "metadata": metadata}
        return float(_scorer(str(metadata["source_dataset"]))(answer, entry) >= 1.0)

    def check_gold(self, gold: str, extra: Mapping[str, Any]) -> None:
        """ValueError if the family is unknown or its scorer does not give the gold answer full marks."""
        if self.score(gold, gold, extra) < 1.0:
            raise ValueError(f"the gold answer {gold[:80]!r} does not get full marks from its own scorer")


def _last_tag(text: str) -> str | None:
    """What the last complete `<answer>...</answer>` holds; None if there is none."""
    start = text.rfind("<answer>", 0, max(0, text.rfind("</answer>")))
    return text[start + len("<answer>") : text.index("</answer>", start)] if start >= 0 else None


def _metadata(extra: Mapping[str, Any]) -> dict[str, Any]:
    metadata = extra.get("metadata")
    if isinstance(metadata, str):
        metadata = json.loads(metadata)
    if not isinstance(metadata, dict) or "source_dataset" not in metadata:
        raise ValueError("the problem has no `metadata` with a `source_dataset`; make problems with reasoning-gym")
    return metadata


@lru_cache(maxsize=128)
def _scorer(family: str) -> Callable[[str, dict[str, Any]], float]:
    from reasoning_gym.factory import get_score_answer_fn

    return get_score_answer_fn(family)
