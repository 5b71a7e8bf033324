"""Writing one file that a user named: whole or not at all where that can be, straight through where it cannot."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rarft.core.errors import InputError


@contextmanager
def open_output(path: str | Path) -> Iterator[TextIO]:
    """A text file to write; what it is to be called holds all of it once the block ends, and nothing if that fails.

    A regular file, or none yet, is written aside and renamed; through a link, where the link points. A device or a pipe
    is not ours to replace, so it is written as it comes.

    Raises:
        InputError: it cannot be opened.
    """
    aside = None
    try:
        target = Path(os.path.realpath(path))
        if target.is_file() or not (target.exists() or os.path.exists(path)):
            aside = target.with_name(f".rarft-{secrets.token_hex(4)}.tmp")
        file = open(aside or path, "w", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; choose another --output") from None
    try:
        with file:
            yield file
        if aside is not None:
            if target.exists():
                shutil.copymode(target, aside)
            os.replace(aside, target)
            aside = None
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)
