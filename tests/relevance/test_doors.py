"""A labeler and an engine of the user's own, named as module:Class, and what is told where they are not there."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from rarft import LabelConfig, label
from rarft.core.config import Config
from rarft.core.errors import InputError
from rarft.core.stages import Work
from rarft.models.engines.base import Completion, Sampling, TokenIds
from rarft.models.loading import load_tokenizer
from rarft.records.labels import Label
from rarft.relevance.candidates import Pair
from rarft.relevance.labelers.base import Labeler, Write, find_labeler, names
from tests.policy.tiny import save_policy
from tests.relevance.test_measured import values


class Length(Labeler):
    """Short solutions help."""

    class Options(Config):
        most: int = 5

    def label(self, pairs: Iterable[Pair], total: int, work: Work, scratch: Path, write: Write) -> None:
        for problem, trace in pairs:
            size = len(trace.solution)
            write(Label(problem.id, trace.id, size <= self.options.most, -size, "length", ""))


class ShortTextsAreLikely:
    """An engine in whose eyes every token has the same probability."""

    context_length = None

    def __init__(self, model: str, options: Any) -> None:
        self.tokenizer = load_tokenizer(model)

    def sample(
        self, prompts: Sequence[TokenIds], counts: Sequence[int], seeds: Sequence[int], sampling: Sampling
    ) -> list[list[Completion]]:
        return [[Completion(list(prompt[-3:]), True)] * count for prompt, count in zip(prompts, counts, strict=True)]

    def score(self, prompts: Sequence[TokenIds], completions: Sequence[Sequence[TokenIds]]) -> list[list[np.ndarray]]:
        return [[np.full(len(row), -1.0 / len(prompt), np.float32) for row in rows]
                for prompt, rows in zip(prompts, completions, strict=True)]  # fmt: skip

    def close(self) -> None:
        pass


def test_a_labeler_of_ones_own_gets_its_options_and_its_mistakes_are_one_line(tmp_path: Path) -> None:
    own = f"{__name__}:Length"
    given = values(tmp_path, "unused", labeler=own, options={"most": 13})
    given.pop("model")
    rows = pq.read_table(label(LabelConfig.parse(given, "test"), tmp_path / "out") / "labels.parquet").to_pylist()
    assert len(rows) == 36 and {row["labeler"] for row in rows} == {"length"}
    assert all(row["relevant"] == (-row["score"] <= 13) for row in rows)
    for wrong, told in (({"labeler": "lenght"}, "no labeler `lenght`; did you mean `likelihood`|there are"),
                        ({"labeler": f"{__name__}:Nothing"}, "has no Nothing"),
                        ({"labeler": "no_such_module:X"}, "cannot be imported"),
                        ({"labeler": f"{__name__}:ShortTextsAreLikely"}, "not derived from"),
                        ({"options": {"mots": 1}}, "unknown key `mots`; did you mean `most`")):  # fmt: skip
        with pytest.raises(InputError, match=told):
            label(LabelConfig.parse({**given, **wrong}, "test"), tmp_path / "wrong")


def test_every_labeler_is_one_file_that_is_found_by_its_name() -> None:
    assert {"judge", "likelihood", "oracle", "pass-rate"} <= set(names())
    assert all(issubclass(find_labeler(name), Labeler) for name in names())


def test_an_engine_of_ones_own_scores_the_labels(tmp_path: Path) -> None:
    policy = save_policy(tmp_path / "policy")
    given = values(tmp_path, policy, labeler="likelihood", engine=f"{__name__}:ShortTextsAreLikely")
    rows = pq.read_table(label(LabelConfig.parse(given, "test"), tmp_path / "out") / "labels.parquet").to_pylist()
    gains = [float(row["rationale"].split()[1]) for row in rows]
    assert len(rows) == 36 and all(gain > 0 for gain in gains)  # a longer prompt is all that it likes
    with pytest.raises(InputError, match="no such engine"):
        label(LabelConfig.parse({**given, "engine": "abacus"}, "test"), tmp_path / "wrong")


def test_the_logger_is_pythons_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import logging

    given = values(tmp_path, "unused", labeler="oracle")
    given.pop("model")
    logger = logging.getLogger("rarft")
    before = logger.level
    try:
        logger.setLevel(logging.WARNING)
        label(LabelConfig.parse(given, "test"), tmp_path / "quiet")
        assert not caplog.records
    finally:
        logger.setLevel(before)
    assert "rarft" in sys.modules
