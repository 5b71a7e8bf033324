"""Processes that we start die with us, hold the output's lock, and what they died of is told."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rarft.core.processes import ended

PARENT = """
import os, sys, time
from rarft.core.processes import start_child
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
import fcntl; fcntl.flock(lock, fcntl.LOCK_EX)
child = start_child([sys.executable, "-c", "import time; time.sleep(600)"], lock=lock)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_dies_with_its_parent_and_holds_the_lock_till_then(tmp_path: Path, number: signal.Signals) -> None:
    lock = tmp_path / "lock"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(lock)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    handle = os.pidfd_open(child)
    with open(lock, "w") as ours:
        with pytest.raises(BlockingIOError):
            fcntl.flock(ours, fcntl.LOCK_EX | fcntl.LOCK_NB)
        parent.send_signal(number)
        parent.wait()
        fcntl.flock(ours, fcntl.LOCK_EX)  # waits for the child, which has it too
    assert select.select([handle], [], [], 30)[0]  # readable: the process has ended


GROUP = """
import sys, time
from rarft.core.processes import end_group, start_group
below = "import time; time.sleep(600)"
code = f"import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', {below!r}]); "
code += "print(c.pid, flush=True); c.wait()"
group = start_group([sys.executable, "-c", code])
sys.stdin.readline()
end_group(group)
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, "end_group"])
def test_what_a_child_started_ends_too(how: signal.Signals | str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", GROUP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin is not None and parent.stdout is not None
    handle = os.pidfd_open(int(parent.stdout.readline()))
    if isinstance(how, signal.Signals):
        parent.send_signal(how)
    else:
        parent.stdin.write("\n"), parent.stdin.flush()
    assert select.select([handle], [], [], 30)[0]
    parent.kill(), parent.wait()


GRANDCHILD = """
import subprocess, sys, time
from rarft.core.processes import end_descendants_with_us
code = "import subprocess, time; "
code += "print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid, flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
grandchild = child.stdout.readline()
end_descendants_with_us()
print(grandchild, flush=True)
time.sleep(600)
"""


def test_what_programs_of_others_started_ends_with_us() -> None:
    parent = subprocess.Popen([sys.executable, "-c", GRANDCHILD], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    handle = os.pidfd_open(int(parent.stdout.readline()))
    parent.kill(), parent.wait()
    assert select.select([handle], [], [], 30)[0]


def test_a_module_in_the_current_folder_is_not_taken_for_the_standard_one(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('hostile')")
    code = (
        "from rarft.core.processes import start_child; import sys; "
        "sys.exit(start_child([sys.executable, '-c', 'import json']).wait())"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path).returncode == 0


def test_ended_names_the_signal() -> None:
    assert "memory" in ended(-9) and "memory" in ended(137)
    assert ended(-11) == "was ended by signal 11" and ended(1) == "ended with exit code 1"
