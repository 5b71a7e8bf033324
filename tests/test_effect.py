"""The method has its effect: RA-RFT beats GRPO beyond both intervals, the trained retriever the untuned one.

`make effect` runs a short recipe (tests/effect.yaml); `pytest -m slow tests/test_effect.py` the whole quickstart. A run
that is there is not made again (runs/effect, runs/quickstart).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rarft.cli import main

ROOT = Path(__file__).parents[1]


def scores(stage: str) -> dict[str, dict[str, dict[str, float]]]:
    """`scores.json` of a stage of a run, as `quickstart/evaluate-grpo`."""
    return dict(json.loads((ROOT / "runs" / stage / "scores.json").read_text()))


def accuracy(stage: str) -> dict[str, float]:
    return scores(stage)["overall"]["avg@k"]


def retrieval_is_learnt(run: str) -> None:
    found = scores(f"{run}/evaluate-retriever")["retrievers"]
    assert found["retriever"]["R@1"]["low"] > found["untuned"]["R@1"]["high"]


@pytest.mark.effect
def test_ra_rft_beats_grpo_beyond_the_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["run", "tests/effect.yaml"]) == 0
    assert accuracy("effect/evaluate-ra-rft")["low"] > accuracy("effect/evaluate-grpo")["high"]
    retrieval_is_learnt("effect")


@pytest.mark.slow
def test_in_the_quickstart_ra_rft_beats_every_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["run", "recipes/quickstart.yaml"]) == 0
    ours = accuracy("quickstart/evaluate-ra-rft")
    for other in ("base", "grpo", "grpo-retrieval", "random", "untuned"):
        assert ours["low"] > accuracy(f"quickstart/evaluate-{other}")["high"], other
    retrieval_is_learnt("quickstart")
