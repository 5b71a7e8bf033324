import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import rarft
from rarft.core.errors import InputError
from rarft.rewards import averify, check_golds, pool, verify
from rarft.rewards.pool import Pool, default_workers, shared_pool

ODD = "odd_rewards:Odd"
HERE = Path(__file__).parent
ROOT = os.path.dirname(rarft.__path__[0])


def odd(*answers, timeout=10.0, name=ODD, gold="x"):
    return verify([gold] * len(answers), answers, name=name, timeout=timeout)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids, seconds):
    deadline = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(alive(pid) for pid in pids)


def script(text, **environment):
    env = dict(os.environ, PYTHONPATH=f"{HERE}{os.pathsep}{ROOT}", **environment)
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, text=True, env=env, cwd="/"
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("sleep 30", "timeout"),
        ("spin", "timeout"),
        ("hog 4000000000", "error"),
        ("crash", "error"),
        ("exit", "error"),
        ("raise", "error"),
        ("recurse", "error"),
        ("print", "wrong"),
        ("fine", "correct"),
        ("", "no_answer"),
    ],
)
def test_each_failure_has_its_reason_and_the_next_answer_is_scored(answer, reason):
    odd("fine", "fine too")  # workers are up
    started = time.monotonic()
    verdicts = odd(answer, "fine", timeout=1.0)
    assert [verdict.reason for verdict in verdicts] == [reason, "correct"]
    assert time.monotonic() - started < 20  # and not the 30 that it would sleep
    assert odd("fine")[0].reason == "correct"


def test_memory_that_is_given_back_leaves_the_worker_usable():
    assert [v.reason for v in odd("hog-quietly 4000000000", "fine", "fine 2")] == ["wrong", "correct", "correct"]


def test_waiting_in_the_queue_does_not_count():
    verdicts = verify(["x"] * 8, ["sleep 0.4"] * 8, name="odd_rewards:Once", timeout=2.0)
    assert [v.reason for v in verdicts] == ["correct"] * 8  # 1.6 s or more in all on two workers


def test_starting_a_worker_does_not_count():
    pool = Pool(1)
    try:
        request = {"do": "score", "name": "odd_rewards:SlowStart", "gold": "x", "answer": "fine", "extra": {}}
        assert pool.submit(request | {"timeout": 1.0}).result(60) == {"reward": 1.0}
    finally:
        pool.close()


def test_a_reward_that_cannot_start_is_an_error_for_the_caller_not_a_reward():
    with pytest.raises(RuntimeError, match="a library is missing"):
        odd("fine", name="odd_rewards:NoStart")
    assert odd("fine")[0].reason == "correct"


def test_an_overrun_delays_nobody():
    odd("fine", "fine 2")
    order: list[str] = []

    def score(answer, timeout):
        order.append(odd(answer, timeout=timeout)[0].reason)

    hang = threading.Thread(target=score, args=("sleep 60", 8.0))
    hang.start()
    time.sleep(0.2)
    verdicts = odd(*[f"fine {i}" for i in range(200)])
    assert {v.reason for v in verdicts} == {"correct"}
    assert order == []  # the other is still at it
    hang.join()
    assert order == ["timeout"]


def test_no_answer_is_lost_or_scored_twice_when_workers_die(tmp_path):
    log = tmp_path / "log"
    answers = [f"log {i}" for i in range(40)]
    verdicts = verify([str(log)] * 40, answers, name="odd_rewards:Once")
    assert [v.reason for v in verdicts] == ["error" if i % 10 == 3 else "correct" for i in range(40)]
    assert sorted(map(int, log.read_text().split())) == list(range(40))
    assert [v.answer for v in verdicts] == answers


def test_equal_work_is_done_once(tmp_path):
    log = tmp_path / "log"
    assert {v.reason for v in odd(*["log 1"] * 16, gold=str(log))} == {"correct"}
    assert log.read_text() == "1\n"


def test_extras_reach_the_reward():
    verdicts = verify(["x"] * 2, ["extra a"] * 2, name=ODD, extras=[{"a": 1}, {"a": 0.5}])
    assert [(v.reward, v.reason) for v in verdicts] == [(1.0, "correct"), (0.5, "wrong")]


def test_bad_calls_are_refused():
    with pytest.raises(ValueError, match="one of each"):
        verify(["1"], [])
    with pytest.raises(ValueError, match="no reward is called"):
        verify(["1"], ["2"], name="maths")
    for timeout in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="timeout"):
            verify(["1"], ["2"], timeout=timeout)
        with pytest.raises(ValueError, match="timeout"):
            check_golds(["1/2"], timeout=timeout)
    assert verify([], []) == []


def test_from_many_threads_each_gets_its_own():
    results: dict[int, list[str]] = {}

    def score(i):
        golds = [str(i * 100 + k) for k in range(20)]
        texts = [rf"\boxed{{\frac{{{2 * (i * 100 + k)}}}{{2}}}}" if k % 2 else r"\boxed{\sqrt{2}}" for k in range(20)]
        results[i] = [v.reason for v in verify(golds, texts)]

    threads = [threading.Thread(target=score, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: ["wrong", "correct"] * 10 for i in range(8)}


def test_async_code_goes_on_meanwhile():
    async def main():
        ticks = 0
        task = asyncio.create_task(averify(["x"], ["sleep 1"], name="odd_rewards:Once"))
        while not task.done():
            await asyncio.sleep(0.05)
            ticks += 1
        return ticks, (await task)[0].reason

    ticks, reason = asyncio.run(main())
    assert reason == "correct" and ticks > 5

    async def blocking():
        return verify(["1/2"], [r"\boxed{0.5}"])[0].reason

    assert asyncio.run(blocking()) == "correct"


def test_after_fork_child_and_parent_both_work_and_the_childs_workers_end():
    odd("fine")
    mine = {worker.process.pid for worker in shared_pool().workers}
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            good = odd("fine 3", "sleep 0.01")[1].reason == "correct"
            theirs = {worker.process.pid for worker in shared_pool().workers}
            os.write(write, " ".join(map(str, theirs)).encode() if good and not theirs & mine else b"0")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    pids = [int(pid) for pid in os.read(read, 1000).split()]
    assert pids and 0 not in pids
    assert gone(pids, 5)
    assert odd("fine 4")[0].reason == "correct"


def test_after_spawn_and_without_a_main_guard(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing as mp\n"
        "from rarft.rewards import verify\n"
        "print(verify(['1/2'], [r'\\boxed{0.5}'])[0].reason, flush=True)  # not guarded: runs in the child too\n"
        "if __name__ == '__main__':\n"
        "    with mp.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(verify, (['2/4'], [r'\\boxed{0.5}']))[0].reason)\n"
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["correct"] * 3, done.stderr


def test_workers_are_gone_when_the_program_ends_and_it_ends_at_once():
    process = script(
        """
        import threading, time
        from rarft.rewards import verify
        from rarft.rewards.pool import shared_pool
        verify(["x"] * 2, ["fine", "sleep 0.1"], name="odd_rewards:Odd")
        threading.Thread(target=verify, args=(["x"], ["sleep 50"]),
                         kwargs={"name": "odd_rewards:Odd", "timeout": 60}, daemon=True).start()
        time.sleep(0.3)
        print(*[worker.process.pid for worker in shared_pool().workers], flush=True)
        """
    )
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert pids and process.wait(5) == 0
    assert gone(pids, 3)


@pytest.mark.parametrize("busy", [False, True])
def test_workers_do_not_outlive_a_killed_parent(busy):
    process = script(
        f"""
        import threading, time
        from rarft.rewards import verify
        from rarft.rewards.pool import shared_pool
        verify(["x"] * 2, ["fine", "sleep 0.1"], name="odd_rewards:Odd")
        if {busy}:
            threading.Thread(target=verify, args=(["x"] * 2, ["spin", "sleep 50"]),
                             kwargs={{"name": "odd_rewards:Odd", "timeout": 2.0}}, daemon=True).start()
            time.sleep(0.3)
        print(*[worker.process.pid for worker in shared_pool().workers], flush=True)
        time.sleep(60)
        """
    )
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert pids and all(alive(pid) for pid in pids)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert gone(pids, 5)  # at once if idle, within its own limit if at work


def test_an_interrupt_does_not_kill_the_workers():
    odd("fine")
    pids = [worker.process.pid for worker in shared_pool().workers]
    for pid in pids:
        os.kill(pid, signal.SIGINT)
    time.sleep(0.1)
    assert odd("fine 5")[0].reason == "correct" and all(alive(pid) for pid in pids)


def test_a_worker_killed_from_outside_is_replaced():
    odd("fine")
    for worker in list(shared_pool().workers):
        os.kill(worker.process.pid, signal.SIGKILL)
    time.sleep(0.2)
    assert [v.reason for v in odd(*[f"fine {i}" for i in range(6)])] == ["correct"] * 6


def test_a_worker_that_does_not_read_is_replaced(monkeypatch):
    """Stopped, as by a debugger or the system; a request larger than a pipe's buffer then waits to be read."""
    monkeypatch.setattr(pool, "GRACE", 0.2)
    odd("fine")
    for request in ({}, {"large": "x" * 1_000_000}):
        for worker in list(shared_pool().workers):
            os.kill(worker.process.pid, signal.SIGSTOP)
        stopped = len(shared_pool().workers)
        verdicts = verify(["x"] * 4, [f"fine {i}" for i in range(4)], name=ODD, extras=[request] * 4, timeout=0.5)
        assert [v.reason for v in verdicts].count("timeout") <= stopped and "correct" in {v.reason for v in verdicts}
        assert odd("fine again")[0].reason == "correct"


@pytest.mark.parametrize(
    "words", ["[1]", '{"reward": "1"}', "1.0", "[" * 50_000, "x" * 5_000_000, '{"reward": 1.0}' * 5_000]
)
def test_what_a_worker_says_is_data_of_one_form_and_size(words):
    """A worker that an answer took over has the reply pipe, and can lie about its own reward; nothing else."""
    verdicts = odd(f"say {words}", "fine 7", timeout=3.0)
    assert [v.reason for v in verdicts] == ["error", "correct"]


def test_in_a_daemonic_process_and_in_a_thread_of_an_actor():
    process = script(
        """
        import multiprocessing as mp, threading
        from rarft.rewards import verify

        def actor(send):
            def method():  # not the main thread: no signal handlers
                verdicts = verify(["x"] * 2, ["spin", "fine"], name="odd_rewards:Odd", timeout=1.0)
                send.send([v.reason for v in verdicts])
            thread = threading.Thread(target=method)
            thread.start()
            thread.join()

        receive, send = mp.Pipe(duplex=False)
        daemon = mp.get_context("fork").Process(target=actor, args=(send,), daemon=True)
        daemon.start()
        print(*receive.recv() if receive.poll(50) else [], flush=True)
        """
    )
    assert process.stdout.readline().split() == ["timeout", "correct"] and process.wait(10) == 0


INSTALLED = ("json", "random", "rarft", "sympy", "math_verify")
MINE = """
import json, helper, sympy
from rarft.rewards import Reward

class Mine(Reward):
    def score(self, gold, answer, extra):
        return float(json.loads(answer) == [sympy.Integer(gold)])
"""


def in_a_folder(folder, names, code):
    """Standard output of `code`, run in `folder`, where a module of each name says that it ran."""
    for name in names:
        (folder / f"{name}.py").write_text("open('ran', 'a').write(__name__ + ' ')\n")
    environment = dict(os.environ, PYTHONPATH=ROOT)
    command = [sys.executable, "-P", "-c", f"import os, sys; from rarft.rewards import verify, pool; {code}"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", ["", "sys.path.insert(0, '');", "sys.path.insert(0, os.getcwd());"])
def test_nothing_in_the_current_directory_is_run(tmp_path, path):
    """The directory comes onto the caller's path, as in a notebook, when the caller has imported what it needs."""
    code = path + r"print(verify(['1/2'], [r'\boxed{0.5}'])[0].reason)"
    names = (*INSTALLED, "gmpy2", "flint", "sitecustomize", "usercustomize")  # gmpy2, flint: sympy tries to import them
    assert in_a_folder(tmp_path, names, code) == "correct\n"
    assert not (tmp_path / "ran").exists()


def test_but_a_reward_that_lies_there_is_found_behind_what_is_installed(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    code = r"print(verify(['7'], [r'\boxed{[7]}'], name='mine:Mine')[0].reason)"
    assert in_a_folder(tmp_path, (*INSTALLED, "helper"), code) == "correct\n"
    assert (tmp_path / "ran").read_text() == "helper helper "  # here and in the worker


def test_cores_are_shared_among_the_processes_of_a_launch(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.delenv("RARFT_REWARD_WORKERS", raising=False)
    cores = default_workers()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(cores))
    assert default_workers() == 1


def test_the_number_of_workers_can_be_given(monkeypatch):
    monkeypatch.setenv("RARFT_REWARD_WORKERS", "3")
    assert default_workers() == 3
    for bad in ("0", "-1", "two", "1.5", "9" * 20):
        monkeypatch.setenv("RARFT_REWARD_WORKERS", bad)
        with pytest.raises(InputError, match="RARFT_REWARD_WORKERS is"):
            default_workers()


@pytest.mark.slow
def test_under_accelerate_with_two_processes(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "from accelerate import PartialState\n"
        "from accelerate.utils import gather_object\n"
        "from rarft.rewards import verify\n"
        "rank = PartialState(cpu=True).process_index\n"
        "golds = [str(i + 1000 * rank) for i in range(50)]\n"
        "texts = [f'\\\\boxed{{\\\\frac{{{2 * int(g)}}}{{2}}}}' for g in golds[:-1]] + ['none']\n"
        "print(rank, gather_object([v.reason for v in verify(golds, texts)]).count('correct'), flush=True)\n"
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(program)]
    done = subprocess.run(launch, capture_output=True, text=True, timeout=300)
    assert sorted(done.stdout.split("\n"))[-2:] == ["0 98", "1 98"], done.stderr
