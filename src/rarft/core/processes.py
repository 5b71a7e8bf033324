"""Processes that we start: they die with us, and what they died of is said; our own gives freed memory back."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
STARTED_BY = "RARFT_STARTED_BY"
"""Variable with the id of the rarft process that a launcher's processes work for."""
WANTED_PROCESSES = "RARFT_WANTED_PROCESSES"
"""Variable with the number of processes that a launcher was asked for; empty where it was not said."""


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when its parent ends, however that ends (Linux; elsewhere nothing happens).

    Args:
        parent: the parent's id, where it may have ended before this was called.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def start_child(
    command: Sequence[str], *, lock: int | None = None, env: Mapping[str, str] | None = None, **options: object
) -> subprocess.Popen[bytes]:
    """Start a process that dies with this one.

    Args:
        lock: descriptor of an output's lock, which the child then holds as well.
        env: variables on top of ours.
        options: of `subprocess.Popen`.
    """
    parent = os.getpid()
    return subprocess.Popen(  # type: ignore[call-overload]
        list(command),
        pass_fds=() if lock is None else (lock,),
        env={**os.environ, "PYTHONSAFEPATH": "1", **(env or {})},
        preexec_fn=lambda: die_with_parent(parent),
        **options,
    )


GUARD = """
import os, subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os.killpg(0, 9)), daemon=True).start()
code = child.wait()
os._exit(code if code >= 0 else 128 - code)
"""
"""Runs a command, and ends its whole process group when its own standard input does."""


def start_group(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a process that dies with this one, and with it all that it starts, whatever code that is."""
    return subprocess.Popen(
        [sys.executable, "-c", GUARD, *command],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONSAFEPATH": "1", **(env or {})},
        start_new_session=True,
    )


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End what `start_group` started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


KILLER = """
import contextlib, os, sys
sys.stdin.buffer.read()
for process in map(int, sys.argv[1:]):
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 9)
"""


def end_descendants_with_us() -> subprocess.Popen[bytes]:
    """Start a process that kills, when this one ends, what our children and theirs had started by now (Linux).

    For programs of others, whose own children don't end with them. Kill it where they have ended before.
    """
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [os.getpid()]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    command = [sys.executable, "-c", KILLER, *map(str, found[1:])]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def ended(code: int) -> str:
    """What an exit code says, in words."""
    number = -code if code < 0 else code - 128 if code > 128 else 0
    if number == signal.SIGKILL:
        return "was killed by signal 9, most likely for want of memory"
    if number:
        return f"was ended by signal {number}"
    return f"ended with exit code {code}"


def release_memory() -> None:
    """Give freed memory back to the kernel, where the C library can (glibc)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
