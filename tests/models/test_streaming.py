"""Sampling token by token in a batch that requests join and leave: the same tokens as sampling them alone."""

from __future__ import annotations

from typing import Any

import pytest

from rarft.models.generation import Sampling, generate
from rarft.models.streaming import Batch, Drawn
from tests.policy.tiny import CONFIGS, tiny_model, tiny_tokenizer


class Kept:
    """A row that keeps its tokens."""

    def __init__(self, most: int, leave_after: int | None = None) -> None:
        self.tokens: list[int] = []
        self.most, self.leave_after = most, leave_after

    def take(self, drawn: Drawn) -> bool:
        self.tokens.append(drawn.token)
        return drawn.token == 1 or len(self.tokens) == self.most

    def is_wanted(self) -> bool:
        return self.leave_after is None or len(self.tokens) < self.leave_after


@pytest.mark.parametrize("kind", CONFIGS)
def test_who_joins_and_leaves_changes_nothing(kind: str) -> None:
    model, tokenizer = tiny_model(kind).eval(), tiny_tokenizer()
    prompts = [[5, 9, 12], list(range(3, 40)), [7] * 11, [20, 21, 22, 23]]
    mosts, counts = [30, 12, 25, 18], [2, 1, 3, 1]
    sampling = [Sampling(0.0), Sampling(0.8, 0.9), Sampling(1.0), Sampling(1.2, 0.7)]
    batch = Batch(model)
    assert batch.mixes
    rows: list[list[Kept]] = []
    for turn in range(100):
        if turn % 3 == 0 and len(rows) < len(prompts):
            i = len(rows)
            rows.append([Kept(mosts[i], leave_after=4 if (i, s) == (2, 1) else None) for s in range(counts[i])])
            batch.join(prompts[i], rows[i], sampling[i], seed=i, max_new_tokens=mosts[i])
        batch.step()
    assert len(batch) == 0
    for i, group in enumerate(rows):
        options: dict[str, Any] = {"temperature": sampling[i].temperature, "top_p": sampling[i].top_p}
        (alone,) = generate(
            model, tokenizer, [prompts[i]], num_samples=counts[i], max_new_tokens=mosts[i], seed=[i], eos_ids=[1],
            **options,
        )  # fmt: skip
        for row, expected in zip(group, alone, strict=True):
            length = len(row.tokens) if row.leave_after else None
            assert row.tokens == expected.token_ids[:length], (kind, i)


def test_rows_that_nobody_wants_leave_the_batch() -> None:
    batch = Batch(tiny_model().eval())
    rows = [Kept(10**6, leave_after=3), Kept(5)]
    batch.join([5, 6], rows, Sampling(1.0), seed=0, max_new_tokens=50)
    for _ in range(20):
        batch.step()
    assert len(batch) == 0 and len(rows[0].tokens) <= 3
