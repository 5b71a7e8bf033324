"""The progress line, where there is no terminal."""

from __future__ import annotations

import pytest

from rarft.core import progress
from rarft.core.progress import Progress, track


def test_a_line_every_ten_seconds_with_what_an_earlier_run_did(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([100.0, 104.0, 112.0, 113.0, 130.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with Progress("labelling", total=20, done=10) as shown:
        for items in (1, 3, 1, 1):
            shown.advance(items)
    assert capsys.readouterr().err.splitlines() == ["labelling: 14/20, 18.0s left", "labelling: 16/20, 20.0s left"]


def test_track_yields_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", 0.0)
    assert list(track(iter("abc"), "reading")) == ["a", "b", "c"]
    assert capsys.readouterr().err.splitlines() == ["reading: 1", "reading: 2", "reading: 3"]
