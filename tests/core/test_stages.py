"""A stage's folder: whole or absent, skipped when done, resumed after a kill, never written by two."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Annotated

import pytest

from rarft.core import stages
from rarft.core.artifacts import SCRATCH, STATE, digest_folder, digest_input, read_manifest
from rarft.core.config import Config, Input, NotInResult, NotInWork
from rarft.core.errors import InputError, one_line
from rarft.core.stages import Stage, Work, stage


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


def test_killed_and_run_again_goes_on(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "NOTED_EVERY", 0.01)
    output = tmp_path / "copy"
    config = CopyConfig(source=str(source), times=30, hold=0.05)
    process = multiprocessing.get_context("fork").Process(target=copy, args=(config, output))
    process.start()
    partial = tmp_path / ".copy.partial"
    deadline = time.monotonic() + 20
    while not any(found.read_text().count("\n") >= 3 for found in partial.glob(f"{SCRATCH}/lines")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    while json.loads((partial / STATE).read_text())["wall_seconds"] < 0.1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not output.exists() and copy.status(config, output).state == "interrupted"
    with pytest.raises(InputError, match="another rarft process"):
        copy(config, output)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    copy(CopyConfig(source=str(source), times=30), output)
    manifest = read_manifest(output)
    assert manifest["results"]["resumed_at"] >= 3
    assert manifest["ledger"]["wall_seconds"] > 0.1  # the killed run's too


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


# Kills at any moment


def _die_at(call: int) -> None:
    """Make the process end, as if killed, just before its `call`-th change of the file system."""
    left = [call]

    def dying(function):
        def change(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
            return function(*arguments, **options)

        return change

    for module, names in ((os, ("rename", "replace", "mkdir", "rmdir", "unlink")), (shutil, ("rmtree",))):
        for name in names:
            setattr(module, name, dying(getattr(module, name)))


def _in_child(call: int, made_by: Stage, config: Config, output: Path, **options: bool) -> int:
    def run() -> None:
        _die_at(call)
        made_by(config, output, **options)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    return process.exitcode or 0


class PaidConfig(Config):
    source: Input
    bill: Annotated[str, NotInResult]
    """File that notes each piece of work that was done."""
    word: str = "one"


@stage("paid", "work that costs")
def paid(config: PaidConfig, work: Work) -> None:
    for i in range(3):
        answer = work.scratch / f"answer-{i}"
        if not answer.exists():
            with open(config.bill, "a") as bill:
                bill.write(f"{config.word} {i}\n")
            answer.write_text(config.word)
    (work.path / "out.txt").write_text(config.word * 3)


@pytest.mark.parametrize("again", ["new", "overwrite", "redo"])
def test_a_kill_between_any_two_steps_costs_nothing_and_loses_nothing(again: str, tmp_path: Path, source: Path) -> None:
    bill = tmp_path / "bill"
    config = PaidConfig(source=str(source), bill=str(bill), word="two")
    options = {"overwrite": again == "overwrite", "redo": again == "redo"}
    for call in range(200):
        output = tmp_path / f"run-{call}" / "paid"
        if again != "new":
            before = config if again == "redo" else config.model_copy(update={"word": "one"})
            paid(before, output)
        bill.write_text("")
        code = _in_child(call, paid, config, output, **options)
        if again != "new" and code:  # the old result is there, or the next run brings it or the new one back
            assert (output / "out.txt").exists() or list(output.parent.glob(".paid.*"))
        done = again == "redo" and (output / "manifest.json").exists() and not list(output.parent.glob(".paid.*"))
        paid(config, output, **({} if done else options))
        assert (output / "out.txt").read_text() == "twotwotwo"
        assert sorted(p.name for p in output.iterdir()) == ["manifest.json", "out.txt"]
        assert [p.name for p in output.parent.iterdir()] == ["paid"]
        if code == 0:
            break
        if again != "redo":  # a second whole redo is what was asked for
            assert sorted(bill.read_text().split("\n")[:-1]) == ["two 0", "two 1", "two 2"]
    assert call > 8


class ScoredConfig(PaidConfig):
    k: Annotated[int, NotInWork] = 1


@stage("scored", "work that costs, and what is computed from it")
def scored(config: ScoredConfig, work: Work) -> None:
    if work.before is None:
        paid.function(config, work)
    (work.path / "out.txt").write_text(str(config.k))


@pytest.mark.parametrize("finished", [False, True])
def test_options_that_are_no_part_of_the_work_may_change_after_any_kill(
    finished: bool, tmp_path: Path, source: Path
) -> None:
    bill = tmp_path / "bill"
    one, two, three = (ScoredConfig(source=str(source), bill=str(bill), k=k) for k in (1, 2, 3))
    for call in range(200):
        output = tmp_path / f"run-{call}" / "scored"
        bill.write_text("")
        if finished:
            scored(one, output)
        code = _in_child(call, scored, two, output, overwrite=True)
        scored(three, output, overwrite=True)
        assert (output / "out.txt").read_text() == "3"
        assert [p.name for p in output.parent.iterdir()] == ["scored"]
        assert sorted(bill.read_text().split("\n")[:-1]) == ["one 0", "one 1", "one 2"]
        if code == 0:
            break
    assert call > 8


def test_other_options_never_cost_what_was_done_under_these(tmp_path: Path, source: Path) -> None:
    bill, output = tmp_path / "bill", tmp_path / "paid"
    one = PaidConfig(source=str(source), bill=str(bill), word="one")
    two = one.model_copy(update={"word": "two"})
    for call in range(6, 20):  # interrupted with work done
        if _in_child(call, paid, one, output) and list(tmp_path.glob(".paid.partial/scratch/answer-2")):
            break
    assert not output.exists() and paid.status(one, output).state == "interrupted"
    bill.write_text("")
    paid(two, output)
    assert paid.status(two, output).state == "done" and (output / "out.txt").read_text() == "twotwotwo"
    bill.write_text("")
    paid(one, output, overwrite=True)
    assert (output / "out.txt").read_text() == "oneoneone" and bill.read_text() == ""


# What is ours and what is not


def test_an_edited_result_is_noticed_by_its_stage_and_by_the_next(tmp_path: Path, source: Path) -> None:
    first = copy(CopyConfig(source=str(source), times=3), tmp_path / "first")
    config = CopyConfig(source=str(first / "copy.txt"))
    folder = CopyFolderConfig(folder=str(first))
    copy(config, tmp_path / "second")
    copy_folder(folder, tmp_path / "third")
    (first / "copy.txt").write_text("a line\n")
    assert copy.status(CopyConfig(source=str(source), times=3), first).state == "edited"
    assert copy_folder.status(folder, tmp_path / "third").why == "input folder changed"
    with pytest.raises(InputError, match=r"copy\.txt is not as the stage left it"):
        copy(CopyConfig(source=str(source), times=3), first)
    copy(CopyConfig(source=str(source), times=3), first, overwrite=True)
    assert copy_folder.status(folder, tmp_path / "third").state == "done"
    os.utime(first / "copy.txt")  # touched, not changed
    assert copy_folder.status(folder, tmp_path / "third").state == "done"


class CopyFolderConfig(Config):
    folder: Input


@stage("copy-folder", "copy a folder's text")
def copy_folder(config: CopyFolderConfig, work: Work) -> None:
    (work.path / "copy.txt").write_text((Path(config.folder) / "copy.txt").read_text())


def test_a_failure_over_a_damaged_input_is_the_inputs(tmp_path: Path, source: Path) -> None:
    first = copy(CopyConfig(source=str(source)), tmp_path / "first")
    (first / "copy.txt").unlink()
    with pytest.raises(InputError, match=r"first \(folder\): copy\.txt is not as its stage left it.*FileNotFoundError"):
        copy_folder(CopyFolderConfig(folder=str(first)), tmp_path / "second")
    assert not list(tmp_path.glob("*second*"))


def test_a_full_disk_is_told_in_any_library_words() -> None:
    for error in (
        OSError(errno.ENOSPC, "x", "f"),
        RuntimeError("lance error: No space left on device (os error 28), x"),
    ):
        assert one_line(error).startswith("no space left on the disk")


def test_a_file_that_no_stage_made_is_not_deleted(tmp_path: Path, source: Path) -> None:
    output = copy(CopyConfig(source=str(source)), tmp_path / "copy")
    (output / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes\.txt, which no stage made"):
        copy(CopyConfig(source=str(source), times=2), output, overwrite=True)
    assert (output / "notes.txt").read_text() == "mine" and (output / "copy.txt").read_text() == "a line\n"


def test_outputs_that_cannot_be_moved_into_place_are_refused_before_any_work(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CopyConfig(source=str(source))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for output, why in (
        (".", "the folder you are in"),
        ("/proc", "a mount point"),
        ("x" * 300, "cannot be made"),
        ("x" * 240, "cannot be made"),  # what lies beside it has a longer name
        ("a\0b", "cannot be made"),
        ("a\udcffb", "cannot be made"),  # not UTF-8, so it could not stand in a manifest
        (f"{source}/below", "cannot be made"),
        ("/dev/null", "not a finished stage"),
    ):
        with pytest.raises(InputError, match=why):
            copy(config, output)
    assert copy(config, "link") == Path("link") and (tmp_path / "real" / "copy.txt").exists()
    assert (tmp_path / "link").is_symlink()
    first = copy(config, "first")
    with pytest.raises(InputError, match="lies inside the input folder"):
        copy_folder(CopyFolderConfig(folder=str(first)), first / "copied")
    with pytest.raises(InputError, match="holds the input source"):
        copy(CopyConfig(source=str(first / "copy.txt")), first, overwrite=True)
    assert (first / "copy.txt").exists()


def test_an_adapter_counts_with_its_base(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir(), adapter.mkdir()
    (base / "model.safetensors").write_bytes(b"1")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    before = digest_input(str(adapter))
    (base / "model.safetensors").write_bytes(b"22")
    assert digest_input(str(adapter)) != before
