"""What lies in a finished stage's folder, and digests by which a later stage knows its inputs again.

A folder's manifest holds the size, time and sha256 of each of its files. Where sizes and times are still those, the
recorded digests count; what differs is read again. So a file that was edited after its stage had finished is noticed,
and one that was only copied is not taken for another.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Required, TypeVar

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from rarft.core.errors import InputError

MANIFEST, STATE, SCRATCH = "manifest.json", "state.json", "scratch"
Read = TypeVar("Read")
FILE_SUFFIXES = (".jsonl", ".json", ".parquet", ".csv", ".gguf", ".yaml", ".html", ".txt")
Files = dict[str, tuple[int, int, str]]
"""Relative name -> size in bytes, time of the last change in ns, sha256."""


class _Manifest(TypedDict, total=False):
    """What is read of a manifest."""

    __pydantic_config__ = {"extra": "allow"}  # type: ignore[misc]
    stage: Required[str]
    fingerprint: Required[str]
    digest: Required[str]
    results: Required[dict[str, Any]]
    config: dict[str, Any]
    inputs: dict[str, Any]
    ledger: dict[str, Any]
    identity: dict[str, Any]
    files: Files


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a finished stage.

    Raises:
        InputError: `folder` is not a finished stage, or its manifest is damaged.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder}: no {MANIFEST}; not the output of a finished stage")
    return dict(read_json(_Manifest, path, "make the folder again"))


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


def read_json(kind: type[Read], path: Path, remedy: str) -> Read:
    """What a JSON file of ours holds, checked against a type: a dataclass, a TypedDict, `dict[str, Any]`.

    Args:
        remedy: what to do where it is damaged.

    Raises:
        InputError: it cannot be read, is not JSON, or does not hold values of this type.
    """
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes(), strict=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged ({' '.join(str(error).split())[:120]}); {remedy}") from None


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a kill leaves the old file or the new one, never half of it."""
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(aside, path)


# Digests


def digest_input(value: str, name: str = "input") -> str:
    """Digest of what an input field names; a Hugging Face id or a built-in name stands for itself.

    A folder that a stage made counts by its manifest's digest as long as its files are the ones that the stage left.

    Raises:
        InputError: `value` is plainly a path and nothing is there, or it cannot be read.
    """
    path = Path(value)
    try:
        if path.is_dir():
            return _digest_made(path) if (path / MANIFEST).is_file() else digest_folder(path)
        if path.is_file():
            return _digest_file(str(path), path.stat().st_mtime_ns, path.stat().st_size)
    except OSError as error:
        raise InputError(f"{error.filename or value}: cannot be read ({error.strerror})") from None
    if looks_like_path(value):
        raise InputError(f"{value}: no such file or folder (given as {name.replace('_', '-')}); check the path")
    return f"name:{value}"


def looks_like_path(value: str) -> bool:
    """Whether `value` is plainly a path of this machine, not a Hugging Face id or a built-in name."""
    if re.match(r"^[\w-]+://", value):
        return False
    return value.endswith(FILE_SUFFIXES) or value.startswith(("/", ".", "~")) or value.count("/") > 1


def digest_folder(folder: Path) -> str:
    """sha256 over the names and contents of a folder's files; of a stage's, without manifest and resume state.

    A LoRA adapter's folder counts together with the base model that it names, where that lies on this machine.
    """
    return _digest_files(folder, list_files(folder))


def list_files(folder: Path, known: Files | None = None) -> Files:
    """The files below a folder, but for a stage's manifest and resume state; those as `known` says are not read."""
    found: Files = {}
    for path in _files(folder):
        name, stat = path.relative_to(folder).as_posix(), path.stat()
        size, changed = stat.st_size, stat.st_mtime_ns
        before = (known or {}).get(name)
        same = before is not None and tuple(before[:2]) == (size, changed)
        found[name] = (size, changed, str(before[2]) if same and before else _digest_file(str(path), changed, size))
    return found


def changed_files(folder: Path, known: Files) -> list[str]:
    """Names of files whose content is not what `known` says, that are missing, or that were added."""
    there = list_files(folder, known)
    return sorted(
        name for name in there.keys() | known.keys() if name not in there or name not in known
        or there[name][2] != known[name][2]
    )  # fmt: skip


def _files(folder: Path) -> Iterator[Path]:
    ours = (folder / MANIFEST).is_file() or (folder / STATE).is_file()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not (ours and path.relative_to(folder).parts[0] in (MANIFEST, STATE, SCRATCH)):
            yield path


def _digest_made(folder: Path) -> str:
    manifest = read_manifest(folder)
    known = manifest.get("files")
    if known is not None and not changed_files(folder, known):
        return str(manifest["digest"])
    return digest_folder(folder)


def _digest_files(folder: Path, files: Files) -> str:
    sha = hashlib.sha256()
    for name, (_, _, digest) in sorted(files.items()):
        sha.update(name.encode(errors="surrogateescape") + b"\0" + digest.encode())
    if "adapter_config.json" in files:
        sha.update(_digest_of_base(folder).encode())
    return sha.hexdigest()


def _digest_of_base(adapter: Path) -> str:
    try:
        base = str(json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (ValueError, KeyError, TypeError):
        return ""  # whoever loads it says what is wrong
    return digest_input(base) if Path(base).exists() and Path(base).resolve() != adapter.resolve() else f"name:{base}"


@cache
def _digest_file(path: str, mtime_ns: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
