"""Errors that end in one line: what the input or an option caused, and what it did not."""

from __future__ import annotations

import errno
import os


class InputError(Exception):
    """Bad input: the message names the file and row or the option, what is wrong, and what to do. Exit code 2."""


class StageError(Exception):
    """A failure that is not the input's fault, told in one line: what failed and what may help. Exit code 1."""


def one_line(error: BaseException) -> str:
    """What to tell of an error that nobody foresaw: its kind and its first line."""
    if isinstance(error, MemoryError):
        return "out of memory; use smaller batches or a smaller model"
    if getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error):  # in Rust's words too
        where = getattr(error, "filename", None)
        return f"no space left on the disk{f' ({where})' if where else ''}; make room and run again"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
        return "out of GPU memory; lower the batch sizes, or use more GPUs"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
