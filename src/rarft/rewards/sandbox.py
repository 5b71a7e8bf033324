"""Runs programs against tests in two sandboxes, kept warm: one holds the program, the other the tests.

A sandbox is bubblewrap around a bare interpreter: every namespace its own, a read-only root with the standard library
and nothing else, no /proc, no /dev, no place to write. Inside waits the process of sandboxed.py, which forks for each
program, under rlimits and a system call filter; what a program leaves is killed with it. Here are starting, the limit
on wall clock, and the refusal where there is no bubblewrap. Left out: what the tests and the program say to each other.

    Court().try_program("def f(x): return x + 1", case_of({"tests": "assert f(1) == 2"}), seconds=5.0)  # "passed"
"""

import contextlib
import json
import math
import os
import platform
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import model_validator

from rarft.core.config import Config, NotInResult
from rarft.rewards.sandboxed import MACHINES

INSIDE = Path(__file__).with_name("sandboxed.py")
INTERPRETER = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
ENVIRONMENT = {"HOME": "/home", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1", "LD_BIND_NOW": "1"}
"""Sets have the same order in each run; a thread reserves no address space of its own; forks have less to look up."""
PATIENCE = 10.0
"""Seconds that a sandbox may take to start, or to clear up."""
HOW_TO = (
    "install bubblewrap (apt install bubblewrap; in a container, also start it with "
    "--security-opt seccomp=unconfined --security-opt apparmor=unconfined), or add {} and run whatever the policy "
    "writes as yourself"
)
ALLOW = "--allow-unsandboxed (label: --pass-rate.allow-unsandboxed)"


class OutOfTime(Exception):
    """A program and its tests took longer than they may."""


class RewardConfig(Config):
    """A config that names a reward. `code` becomes `code-unsandboxed` where that is allowed and there is no sandbox."""

    reward_field: ClassVar[str] = "reward"
    """The field that names it."""

    allow_unsandboxed: Annotated[bool, NotInResult] = False
    """Without a sandbox, run programs as this user: `code` becomes `code-unsandboxed` (docs/rewards-code.md)."""

    def rewards(self) -> dict[str, str]:
        """As `Config.rewards`."""
        return {"": getattr(self, self.reward_field)}

    @model_validator(mode="after")
    def _unsandboxed_if_allowed(self) -> Self:
        name = reward_here(getattr(self, self.reward_field), self.allow_unsandboxed)
        object.__setattr__(self, self.reward_field, name)  # configs are frozen once they are made
        return self


def reward_here(name: str, allow_unsandboxed: bool) -> str:
    """The reward to use: `code-unsandboxed` for `code` where that is allowed and there is no sandbox."""
    return "code-unsandboxed" if name == "code" and allow_unsandboxed and refusal() is not None else name


def sandbox_command(command: list[str]) -> list[str]:
    """`command` inside a sandbox, by bubblewrap."""
    arguments = ["bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--as-pid-1"]
    arguments += ["--cap-drop", "ALL", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox"]
    libraries = [Path(folder) for folder in ("/usr/lib", "/usr/lib64", "/lib", "/lib64", f"{sys.base_prefix}/lib")]
    for library in dict.fromkeys(libraries):
        if library.is_symlink():  # to one of the others
            arguments += ["--symlink", os.readlink(library), str(library)]
        elif library.is_dir():
            arguments += ["--ro-bind", str(library), str(library)]
            for packages in library.glob("python3*/*-packages"):
                if not packages.parent.is_symlink():
                    arguments += ["--tmpfs", str(packages), "--remount-ro", str(packages)]
    for path, place in ((INTERPRETER, INTERPRETER), (str(INSIDE), f"/{INSIDE.name}")):
        arguments += ["--ro-bind", path, place]
    return [*arguments, "--dir", "/home", "--chdir", "/home", "--remount-ro", "/", "--", *command]


def refusal(allow: str = ALLOW) -> str | None:
    """Why programs cannot be sandboxed here and what to do about it, in one line; None if they can.

    Args:
        allow: the options that do without.
    """
    if platform.machine() not in MACHINES or sys.platform != "linux":
        why = f"there is no sandbox for {sys.platform} on {platform.machine()}"
    elif shutil.which("bwrap") is None:
        why = "there is no bubblewrap here, so programs cannot be sandboxed"
    else:
        tried = subprocess.run(
            sandbox_command([INTERPRETER, "-S", "-c", ""]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if tried.returncode == 0:
            return None
        why = f"bubblewrap cannot make a sandbox here ({(tried.stderr.strip() or 'no reason given').splitlines()[-1]})"
    return f"{why}; {HOW_TO.format(allow)}"


class Sandbox:
    """A sandbox with the forking process in it, and the line to it."""

    def __init__(self, sandboxed: bool = True) -> None:
        """Start it."""
        self.control, theirs = socket.socketpair()
        self.control.settimeout(PATIENCE)
        script = f"/{INSIDE.name}" if sandboxed else str(INSIDE)
        command = [INTERPRETER, "-s", "-S", "-P", "-B", script, str(theirs.fileno())]
        with theirs:
            self.process = subprocess.Popen(
                sandbox_command(command) if sandboxed else command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={"PATH": os.environ.get("PATH", ""), **ENVIRONMENT},
                cwd="/",
                start_new_session=True,
            )
        if self._hear() != b"r":
            self.close()
            raise RuntimeError("a sandbox did not start")

    def fork(self, job: dict[str, Any], *channel: int) -> socket.socket:
        """Fork a process for `job`, which ends the one before it; the line to it."""
        line, theirs = socket.socketpair()
        line.settimeout(PATIENCE)
        data = json.dumps(job).encode()
        with theirs:
            socket.send_fds(self.control, [b"f"], [theirs.fileno(), *channel])
        line.sendall(struct.pack("!I", len(data)) + data)
        return line

    def clear(self) -> bool:
        """Kill what the last job left; whether the sandbox is fit for another."""
        with contextlib.suppress(OSError):
            self.control.sendall(b"c")
            return self._hear() == b"c"
        return False

    def _hear(self) -> bytes:
        with contextlib.suppress(OSError):
            return self.control.recv(1)
        return b""

    def close(self) -> None:
        """End it, with everything in it. Idempotent."""
        self.control.close()
        self.process.kill()
        self.process.wait()


class Court:
    """Two sandboxes, one for programs and one for tests. For one thread; a sandbox that fails is replaced."""

    def __init__(self, sandboxed: bool = True) -> None:
        """Start both. RuntimeError if one does not start."""
        self.sandboxed = sandboxed
        self.runner, self.judge = Sandbox(sandboxed), Sandbox(sandboxed)
        self.case: dict[str, Any] = {}
        """The tests that the judge has ready, and the line to it."""
        self.line: socket.socket | None = None

    def try_program(self, program: str, case: dict[str, Any], seconds: float) -> str:
        """The verdict: "passed", or "failed: " and why.

        Args:
            program: Python source.
            case: `tests` (source), `names` that they take from the program, `imports` that they take as given, `check`
                (a name of the program's to call the tests' `check` with, or None), `modules` (name -> source) that
                programs may import.
            seconds: of wall clock, for all of it.

        Raises:
            OutOfTime: it took longer.
            RuntimeError: the tests' process died, so there is no verdict.
        """
        deadline = time.monotonic() + seconds
        settled = False
        ours, theirs = socket.socketpair()
        try:
            with ours, theirs:
                self.runner.fork({"program": program, "seconds": math.ceil(seconds) + 1}, theirs.fileno()).close()
                if self.line is None or case != self.case:
                    self._end_tests()
                    self.case, self.line = case, self.judge.fork(case | {"seconds": None})
                socket.send_fds(self.line, [b"f"], [ours.fileno()])
            verdict = b""
            while not verdict.endswith(b"\n"):
                if not select.select([self.line], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    raise OutOfTime
                chunk = self.line.recv(4096)
                if not chunk:
                    raise RuntimeError("the tests ended without a verdict")
                verdict += chunk
            settled = True
            return verdict.decode().rstrip("\n")
        finally:
            if not self.runner.clear():
                self.runner.close()
                self.runner = Sandbox(self.sandboxed)
            if not settled:
                self._end_tests()

    def _end_tests(self) -> None:
        if self.line is not None:
            self.line.close()
            self.line = None
            if not self.judge.clear():
                self.judge.close()
                self.judge = Sandbox(self.sandboxed)
