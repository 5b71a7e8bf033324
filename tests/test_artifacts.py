"""A stage's folder: whole or absent, skipped when done, resumed after a kill, never written by two."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Annotated

import pytest

from rarft.core.artifacts import SCRATCH, digest_folder, read_manifest
from rarft.core.config import Config, Input, NotInResult
from rarft.core.errors import InputError
from rarft.core.stages import Work, stage


class CopyConfig(Config):
    source: Input
    """What is copied."""
    times: int = 1
    """How often."""
    hold: Annotated[float, NotInResult] = 0.0
    """Seconds to wait after each line."""
    seed: int = 0


@stage("copy", "copy lines")
def copy(config: CopyConfig, work: Work) -> None:
    """Copy a file's text line by line, each line once however often it is interrupted."""
    progress = work.scratch / "lines"
    done = progress.read_text().splitlines() if progress.exists() else []
    for i in range(len(done), config.times):
        with progress.open("a") as out:
            out.write(f"{i}\n")
        time.sleep(config.hold)
    (work.path / "copy.txt").write_text(Path(config.source).read_text() * config.times)
    work.results["resumed_at"] = len(done)
    work.ledger.add(tokens_in=5, calls=1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("a line\n")
    return path


def test_folder_and_manifest(tmp_path: Path, source: Path) -> None:
    output = copy(CopyConfig(source=str(source), times=2), tmp_path / "out" / "copy")
    assert (output / "copy.txt").read_text() == "a line\na line\n"
    manifest = read_manifest(output)
    assert manifest["stage"] == "copy" and manifest["seed"] == 0 and manifest["config"]["times"] == 2
    assert len(manifest["inputs"]["source"]["digest"]) == 64 and manifest["digest"] == digest_folder(output)
    assert manifest["ledger"]["tokens_in"] == 5 and manifest["ledger"]["peak_memory_mb"] > 1
    assert sorted(p.name for p in output.parent.iterdir()) == ["copy"] and not (output / SCRATCH).exists()


def test_done_is_skipped_and_a_change_is_named(tmp_path: Path, source: Path) -> None:
    output = tmp_path / "copy"
    copy(CopyConfig(source=str(source)), output)
    made = (output / "manifest.json").stat().st_mtime_ns
    copy(CopyConfig(source=str(source), hold=0.01), output)  # hold does not change the result
    assert (output / "manifest.json").stat().st_mtime_ns == made
    with pytest.raises(InputError, match="times was 1, is 2"):
        copy(CopyConfig(source=str(source), times=2), output)
    source.write_text("another line\n")
    with pytest.raises(InputError, match="input source changed"):
        copy(CopyConfig(source=str(source)), output)
    copy(CopyConfig(source=str(source)), output, overwrite=True)
    assert (output / "copy.txt").read_text() == "another line\n"


def test_where_an_input_lies_does_not_matter(tmp_path: Path, source: Path) -> None:
    copy(CopyConfig(source=str(source)), tmp_path / "copy")
    moved = tmp_path / "moved.txt"
    source.rename(moved)
    assert copy.status(CopyConfig(source=str(moved)), tmp_path / "copy").state == "done"


def test_killed_and_run_again_goes_on(tmp_path: Path, source: Path) -> None:
    output = tmp_path / "copy"
    config = CopyConfig(source=str(source), times=30, hold=0.05)
    process = multiprocessing.get_context("fork").Process(target=copy, args=(config, output))
    process.start()
    partial = tmp_path / ".copy.partial"
    deadline = time.monotonic() + 20
    while not any(found.read_text().count("\n") >= 3 for found in partial.glob(f"*/{SCRATCH}/lines")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not output.exists() and copy.status(config, output).state == "interrupted"
    with pytest.raises(InputError, match="another rarft process"):
        copy(config, output)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    copy(CopyConfig(source=str(source), times=30), output)
    assert read_manifest(output)["results"]["resumed_at"] >= 3


def test_bad_input_leaves_nothing(tmp_path: Path) -> None:
    @stage("fail", "fails")
    def fail(config: CopyConfig, work: Work) -> None:
        (work.path / "half.txt").write_text("half")
        raise InputError("row 3 is bad; mend it")

    (tmp_path / "in.txt").write_text("x")
    with pytest.raises(InputError, match="row 3"):
        fail(CopyConfig(source=str(tmp_path / "in.txt")), tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.txt"]
    with pytest.raises(InputError, match="no such file"):
        copy(CopyConfig(source=str(tmp_path / "nothing.txt")), tmp_path / "out")


def test_a_users_own_folder_is_not_touched(tmp_path: Path, source: Path) -> None:
    own = tmp_path / "thesis"
    own.mkdir()
    (own / "chapter.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a finished stage"):
        copy(CopyConfig(source=str(source)), own, overwrite=True)
    assert (own / "chapter.txt").read_text() == "years of work"
