"""Hostile programs: none is rewarded, none costs a worker, nothing stays behind."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_code import descendants

from rarft.rewards import verify
from rarft.rewards.pool import close_pool, default_workers, shared_pool
from rarft.rewards.sandbox import refusal

pytestmark = pytest.mark.skipif(refusal() is not None, reason=str(refusal()))


def attacks():
    """Group -> name -> program, of code_attacks.txt."""
    groups, text = {}, Path(__file__).with_name("code_attacks.txt").read_text(encoding="utf-8")
    for section in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        title, _, program = section.partition("\n")
        group, _, name = title.partition(": ")
        for part, body in groups.get("part", {}).items():
            program = program.replace(f"#include {part}\n", body)
        groups.setdefault(group, {})[name] = program.strip("\n") + "\n"
    return groups


ATTACKS = attacks()
TESTS = ATTACKS["part"]["TESTS"]
FORGERIES, DAMAGE, ENDLESS = (ATTACKS[group] for group in ("forgery", "damage", "endless"))
ANSWERS = "def f(x): return {3: 1729, 5: 'tea for two', 'x': (1, 2.5)}[x]"
LEFT_BEHIND = [f"{folder}/x" for folder in ("", "/tmp", "/home", "/dev/shm", "/var/tmp", "/usr/lib", "/root")]
LEFT_BEHIND += ["/tmp/full", *(str(Path.cwd() / name) for name in "xlhpd")]


def judge(programs, timeout):
    completions = [f"```python\n{program}\n```" for program in programs]
    extras = [{"tests": TESTS}] * len(programs)
    return verify([""] * len(programs), completions, name="code", extras=extras, timeout=timeout)


def right(count):
    """Right programs, all different, are found right."""
    found = judge([f"{ANSWERS}\n# {i}" for i in range(count)], 10.0)
    assert [v.reason for v in found] == ["correct"] * count


def resident(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_lost_and_nothing_is_left():
    close_pool()
    right(20 * default_workers())
    workers = {worker.process.pid for worker in shared_pool().workers}
    processes = {worker: descendants(worker) for worker in workers}
    memory = {pid: resident(pid) for family in processes.values() for pid in family}
    there = [path for path in LEFT_BEHIND if Path(path).exists()]
    yield
    right(20 * default_workers())
    assert {worker.process.pid for worker in shared_pool().workers} == workers
    for worker, family in processes.items():
        now = descendants(worker)
        assert len(now) == len(family)  # two sandboxes, their two processes, and the tests'
        assert len(now & family) >= len(family) - 1  # the tests' process is a new one after a timeout
        assert all(resident(pid) < memory.get(pid, 1 << 30) + (16 << 20) for pid in now)
    assert [path for path in LEFT_BEHIND if Path(path).exists()] == there


def test_there_are_enough_of_them():
    assert len(FORGERIES) >= 100 and len(FORGERIES | DAMAGE | ENDLESS) >= 200


@pytest.mark.parametrize("name", [*FORGERIES, *DAMAGE])
def test_it_is_not_rewarded(name):
    found = judge([(FORGERIES | DAMAGE)[name]], 20.0)[0]
    assert found.reward == 0.0 and found.reason in ("wrong", "timeout")


@pytest.mark.parametrize("name", ENDLESS)
def test_it_ends(name):
    found = judge([ENDLESS[name]], 0.7)[0]
    assert found.reward == 0.0 and found.reason in ("wrong", "timeout")


def test_right_programs_among_them_are_right():
    programs = list((FORGERIES | DAMAGE).values())
    mixed = [p for i, program in enumerate(programs) for p in (f"{program}\n# again", f"{ANSWERS}\n# {i} of them")]
    rewards = [v.reward for v in judge(mixed, 20.0)]
    assert rewards == [0.0, 1.0] * len(programs)


@pytest.mark.slow
def test_many_of_the_forgeries_pass_as_a_plain_script(tmp_path):
    path, passed = tmp_path / "script.py", 0
    for program in FORGERIES.values():
        path.write_text(f"{program}\n{TESTS}\n", encoding="utf-8", errors="replace")
        try:
            done = subprocess.run([sys.executable, path], cwd=tmp_path, capture_output=True, timeout=10, check=False)
        except subprocess.TimeoutExpired:
            continue
        passed += done.returncode == 0
    print(f"{passed} of {len(FORGERIES)}")
    assert passed >= 45
