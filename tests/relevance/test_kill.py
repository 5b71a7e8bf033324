"""kill -9 at any moment: nothing that was answered is asked again, and the labels come out the same."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fault_server import FaultServer

from rarft.relevance.label import LabelConfig, label

# Imports once, then forks a child for each run, so that twenty kills take seconds.
DRIVER = """
import os, random, signal, sys, time
import openai
from rarft.relevance.label import LabelConfig, label
config = LabelConfig.parse(__import__("json").loads(sys.argv[1]), "test")
output, kills, rng = sys.argv[2], int(sys.argv[3]), random.Random(int(sys.argv[4]))

def child():
    pid = os.fork()
    if pid == 0:
        try:
            label(config, output)
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return pid

killed = 0
while killed < kills:
    pid = child()
    time.sleep(rng.uniform(0.05, 0.3))
    os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    if not os.WIFSIGNALED(status):
        print("finished too early", killed, file=sys.stderr)
        sys.exit(3)
    killed += 1
status = os.waitpid(child(), 0)[1]
sys.exit(os.waitstatus_to_exitcode(status))
"""


def write_inputs(folder: Path, n_problems: int, n_traces: int) -> tuple[str, str]:
    problems, traces = folder / "problems.jsonl", folder / "traces.jsonl"
    with problems.open("w") as out:
        for i in range(n_problems):
            question = f"Question {i}: what is {i} squared plus {i * 7 + 3} halves, counted in {i % 5} ways?"
            out.write(json.dumps({"id": f"p{i}", "question": question, "answer": str(i)}) + "\n")
    with traces.open("w") as out:
        for i in range(n_traces):
            row = {"id": f"t{i}", "problem": f"Solved task {i} about {i * 13} marbles", "solution": f"It is {i + 1}."}
            out.write(json.dumps(row) + "\n")
    return str(problems), str(traces)


def misbehave(n: int, body: dict[str, object]) -> str:
    """Faults that depend on the request alone, so that every run meets the same ones in the end."""
    odd = int(hashlib.md5(f"{n}".encode()).hexdigest(), 16) % 40
    return {0: "429", 1: "500", 2: "cut", 3: "half-json"}.get(odd, "ok")


def answer(body: dict[str, object]) -> str:
    """Like a judge, but a few pairs never get an answer that can be read."""
    from fault_server import judgement

    said = judgement(body)
    number = int(json.loads(said)["pattern"].split()[1])
    return "I would rather not say." if number in (5, 6) else f"Well.\n```json\n{said}\n```" if number < 40 else said


def values(url: str, problems: str, traces: str) -> dict[str, object]:
    judge = {"base_url": url, "model": "m", "concurrency": 8, "timeout": 5, "asks": 2, "max_unjudged": 0.2}
    return {"problems": problems, "traces": traces, "judge": judge, "candidates": {"per_problem": 20}}


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_again_and_again_the_labels_are_the_same(tmp_path: Path, kills: int) -> None:
    problems, traces = write_inputs(tmp_path, 20, 60)
    with FaultServer(answer=answer) as server:
        unbroken = label(LabelConfig.parse(values(server.url, problems, traces), "test"), tmp_path / "unbroken")
    with FaultServer(fault=misbehave, answer=answer, delay=0.1) as server:
        config, broken = json.dumps(values(server.url, problems, traces)), tmp_path / "broken"
        command = [sys.executable, "-c", DRIVER, config, str(broken), str(kills), "0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        n_asked = len(server.bodies)
    assert (broken / "labels.parquet").read_bytes() == (unbroken / "labels.parquet").read_bytes()
    assert (broken / "unjudged.jsonl").read_bytes() == (unbroken / "unjudged.jsonl").read_bytes()
    assert (unbroken / "unjudged.jsonl").read_text().count("rather not say") > 0
    # each kill can lose what was in flight (8 requests), and a tenth of the requests met a fault
    most = 1.25 * (400 + 2 * 400 * 0.05) + kills * 8
    assert 400 < n_asked < most
    assert not (broken / "scratch").exists()


def test_what_the_log_has_is_not_asked_again(tmp_path: Path) -> None:
    problems, traces = write_inputs(tmp_path, 20, 30)
    with FaultServer(delay=0.02) as server:
        config = values(server.url, problems, traces)
        code = (
            "import sys, json; from rarft.relevance.label import LabelConfig, label;"
            "label(LabelConfig.parse(json.loads(sys.argv[1]), 'test'), sys.argv[2])"
        )
        process = subprocess.Popen([sys.executable, "-c", code, json.dumps(config), str(tmp_path / "out")])
        while len(server.bodies) < 150:
            assert process.poll() is None
            os.sched_yield()
        process.send_signal(signal.SIGKILL)
        process.wait()
        log = next(tmp_path.rglob("answers.jsonl"))
        kept = {json.loads(line)["key"] for line in log.read_bytes().splitlines() if line.endswith(b"}")}
        assert 100 < len(kept) <= 150
        before = len(server.bodies)
        label(LabelConfig.parse(config, "test"), tmp_path / "out")
        assert len(server.bodies) - before == 400 - len(kept)
        asked = [body["messages"][1]["content"] for body in server.bodies[before:]]
    for key in kept:
        problem, trace, _ = key.split()
        question, solved = f"Question {problem[1:]}:", f"Solved task {trace[1:]} about"
        assert not any(question in text and solved in text for text in asked)
