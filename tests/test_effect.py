"""The quickstart shows the effect of the method: `pytest -m effect` (seven quiet minutes; less where it is done)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rarft.cli import main

ROOT = Path(__file__).parents[1]


@pytest.mark.effect
def test_ra_rft_beats_its_baselines_beyond_their_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["run", "recipes/quickstart.yaml"]) == 0

    def score(stage: str) -> dict[str, float]:
        scores = json.loads((ROOT / "runs" / "quickstart" / stage / "scores.json").read_text())
        return dict(scores["overall"]["avg@k"])

    ours = score("evaluate-ra-rft")
    for other in ("base", "grpo", "grpo-retrieval", "random", "untuned"):
        assert ours["low"] > score(f"evaluate-{other}")["high"], other
    found = json.loads((ROOT / "runs" / "quickstart" / "evaluate-retriever" / "scores.json").read_text())
    assert found["retriever"]["R@1"]["low"] > found["untuned"]["R@1"]["high"]
