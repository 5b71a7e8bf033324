"""A stage's output: a folder with a manifest, written aside and moved into place, so a folder that exists is whole.

`@stage("name")` turns `def f(config, work)` into a command that
  - returns at once when the output was made from exactly these inputs and this config,
  - goes on where it was killed, when the half-made folder belongs to the same inputs and config,
  - records inputs with digests, config, versions, seed and a ledger (time, tokens, calls, memory, device).

It does not know what a stage does, nor which stages there are.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import sys
import time
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

import rarft
from rarft.core.config import Config
from rarft.core.errors import InputError

MANIFEST = "manifest.json"
STATE = "state.json"
SCRATCH = "scratch"
VERSIONED = ("rarft", "torch", "transformers", "trl", "sentence-transformers", "lancedb", "math-verify")
FILE_SUFFIXES = (".jsonl", ".json", ".parquet", ".csv", ".gguf", ".yaml", ".html", ".txt")

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

    @property
    def scratch(self) -> Path:
        """Resume state: survives a kill, is deleted when the stage completes."""
        path = self.path / SCRATCH
        path.mkdir(exist_ok=True)
        return path


@dataclass(frozen=True)
class Status:
    """Where an output stands: `done`, `new`, `interrupted` or `changed`, and why."""

    state: str
    why: str = ""


class Stage(Generic[C]):
    """A stage function with its name and config type. Call it: `label(LabelConfig(...), "runs/labels")`."""

    def __init__(self, name: str, function: Callable[[C, Work], None], dry_run: Callable[[C], str] | None) -> None:
        self.name = name
        self.function = function
        self.dry_run = dry_run
        self.config_type: type[C] = typing.get_type_hints(function)["config"]
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__module__ = function.__module__

    def status(self, config: C, output: str | Path) -> Status:
        """Say whether `output` holds this stage's result for exactly this config and these inputs."""
        output = Path(output)
        identity = self._identity(config)
        if (output / MANIFEST).is_file():
            manifest = read_manifest(output)
            if manifest["fingerprint"] == _fingerprint(identity):
                return Status("done")
            return Status("changed", _difference(manifest.get("identity", {}), identity))
        if _read_state(_partial(output)).get("fingerprint") == _fingerprint(identity):
            return Status("interrupted", "goes on where it stopped")
        return Status("new")

    def __call__(self, config: C, output: str | Path, *, overwrite: bool = False) -> Path:
        """Run the stage, or return at once if it is done.

        Args:
            config: what to do; its `Input` fields name what is read.
            output: the folder to make.
            overwrite: replace a finished folder that was made from something else.

        Returns:
            The finished folder.

        Raises:
            InputError: bad input, or `output` holds something else and `overwrite` is false.
        """
        output = Path(output)
        status = self.status(config, output)
        if status.state == "done":
            return output
        if status.state == "changed" and not overwrite:
            raise InputError(
                f"{output}: already holds a result made otherwise ({status.why}); "
                "choose another --output or add --overwrite"
            )
        if status.state == "new" and output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise InputError(f"{output}: exists and is not a finished stage; choose another --output")
        identity = self._identity(config)
        with _partial_folder(output, _fingerprint(identity)) as (path, state):
            work = Work(path)
            work.ledger.wall_seconds = state.get("wall_seconds", 0.0)
            self._run(config, work, state)
            shutil.rmtree(path / SCRATCH, ignore_errors=True)
            (path / STATE).unlink()
            _write_manifest(self.name, config, identity, work)
            _move_into_place(path, output)
        return output

    def _run(self, config: C, work: Work, state: dict[str, Any]) -> None:
        started, before = time.monotonic(), work.ledger.wall_seconds
        _reset_peak_memory()
        try:
            self.function(config, work)
        finally:
            work.ledger.wall_seconds = before + time.monotonic() - started
            state["wall_seconds"] = work.ledger.wall_seconds
            write_json(work.path / STATE, state)
            work.ledger.peak_memory_mb, work.ledger.device = _peak_memory()

    def _identity(self, config: C) -> dict[str, Any]:
        """Everything that decides the result: stage, version, config, input digests. Where inputs lie does not."""
        values = config.model_dump(mode="json")
        for dotted in type(config).not_in_fingerprint:
            *parents, last = dotted.split(".")
            owner = values
            for parent in parents:
                owner = owner[parent]
            owner.pop(last, None)
        inputs = {}
        for name, value in config.input_paths():
            inputs[name] = digest_input(value, name)
            values.pop(name.split(".")[0], None)
        return {"stage": self.name, "rarft": rarft.__version__, "config": values, "inputs": inputs}


def stage(name: str, dry_run: Callable[[C], str] | None = None) -> Callable[[Callable[[C, Work], None]], Stage[C]]:
    """Make a stage of `def f(config: SomeConfig, work: Work) -> None`.

    Args:
        name: the command's name.
        dry_run: says what the stage would do and what that would cost, for `--dry-run`; it writes and calls nothing.
    """
    return lambda function: Stage(name, function, dry_run)


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a finished stage.

    Raises:
        InputError: `folder` is not a finished stage.
    """
    path = Path(folder) / MANIFEST
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{folder}: no {MANIFEST}; not the output of a finished stage") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: broken JSON ({error.msg}); make the folder again") from None


def find_file(value: str | Path, name: str) -> Path:
    """`value` itself if it is a file, else the file `name` in the folder `value`.

    Raises:
        InputError: neither is there.
    """
    path = Path(value)
    if path.is_dir() and (path / name).is_file():
        return path / name
    if path.is_file():
        return path
    raise InputError(f"{value}: no {name} in this folder" if path.is_dir() else f"{value}: no such file or folder")


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a kill leaves the old file or the new one, never half of it."""
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(aside, path)


# Digests


def digest_input(value: str, name: str = "input") -> str:
    """Digest of what an input field names; a Hugging Face id or a built-in name stands for itself.

    Raises:
        InputError: `value` is plainly a path and nothing is there.
    """
    path = Path(value)
    if path.is_dir():
        manifest = path / MANIFEST
        return str(read_manifest(path)["digest"]) if manifest.is_file() else digest_folder(path)
    if path.is_file():
        return _digest_file(str(path), path.stat().st_mtime_ns, path.stat().st_size)
    if looks_like_path(value):
        raise InputError(f"{value}: no such file or folder (given as {name.replace('_', '-')}); check the path")
    return f"name:{value}"


def looks_like_path(value: str) -> bool:
    """Whether `value` is plainly a path of this machine, not a Hugging Face id or a built-in name."""
    if re.match(r"^[\w-]+://", value):
        return False
    return value.endswith(FILE_SUFFIXES) or value.startswith(("/", ".", "~")) or value.count("/") > 1


def digest_folder(folder: Path) -> str:
    """sha256 over the names and contents of a folder's files, the manifest left out."""
    sha = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        relative = path.relative_to(folder).as_posix()
        if relative == MANIFEST:
            continue
        sha.update(relative.encode() + b"\0")
        sha.update(_digest_file(str(path), path.stat().st_mtime_ns, path.stat().st_size).encode())
    return sha.hexdigest()


@cache
def _digest_file(path: str, mtime_ns: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fingerprint(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """What differs between two identities, in a few words."""
    if old.get("rarft") != new["rarft"]:
        return f"made by rarft {old.get('rarft')}, this is {new['rarft']}"
    if old.get("stage") != new["stage"]:
        return f"made by stage {old.get('stage')}"
    changed = []
    for part, label in (("inputs", "input "), ("config", "")):
        a, b = old.get(part, {}), new[part]
        for key in sorted(set(a) | set(b)):
            if a.get(key) != b.get(key):
                changed.append(f"{label}{key} changed" if label else f"{key} was {a.get(key)!r}, is {b.get(key)!r}")
    return "; ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")


# The folder


def _partial(output: Path) -> Path:
    return output.parent / f".{output.name}.partial"


def _read_state(partial: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((partial / STATE).read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError):
        return {}


@contextmanager
def _partial_folder(output: Path, fingerprint: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folder aside, locked: the interrupted one if it is of the same fingerprint, else a new one."""
    partial = _partial(output)
    partial.mkdir(parents=True, exist_ok=True)
    lock = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{output}: another rarft process is writing it; wait for it to end") from None
        state = _read_state(partial)
        if state.get("fingerprint") != fingerprint:
            for entry in partial.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            state = {"fingerprint": fingerprint, "wall_seconds": 0.0}
            write_json(partial / STATE, state)
        try:
            yield partial, state
        except InputError:
            if not any((partial / SCRATCH).glob("*")):  # nothing to go on from
                shutil.rmtree(partial)
            raise
    finally:
        os.close(lock)


def _move_into_place(partial: Path, output: Path) -> None:
    old = output.parent / f".{output.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if output.exists():
        os.rename(output, old)
    os.rename(partial, output)
    shutil.rmtree(old, ignore_errors=True)


def _write_manifest(name: str, config: Config, identity: dict[str, Any], work: Work) -> None:
    inputs = {field: {"path": value, "digest": identity["inputs"][field]} for field, value in config.input_paths()}
    manifest = {
        "stage": name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "fingerprint": _fingerprint(identity),
        "digest": digest_folder(work.path),
        "inputs": inputs,
        "config": config.model_dump(mode="json"),
        "seed": getattr(config, "seed", None),
        "versions": versions(),
        "ledger": work.ledger.__dict__,
        "results": work.results,
        "identity": identity,
    }
    write_json(work.path / MANIFEST, manifest)


@cache
def versions() -> dict[str, str]:
    """Python's version and those of the libraries whose results depend on it."""
    found = {"python": sys.version.split()[0]}
    for package in VERSIONED:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
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
