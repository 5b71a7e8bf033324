"""kill -9 at any moment: nothing that was answered is asked again, and the labels come out the same."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer

from rarft.core.artifacts import read_manifest
from rarft.llm.store import digest, store_path
from rarft.relevance.label import LabelConfig, label
from rarft.relevance.labelers.judge import SCHEMA

# Imports once, then forks a child for each run, so that twenty kills take seconds; prints each child's id.
DRIVER = """
import json, os, sys
import openai
from rarft.relevance.label import LabelConfig, label
config = LabelConfig.parse(json.loads(sys.argv[1]), "test")
while True:
    pid = os.fork()
    if pid == 0:
        try:
            label(config, sys.argv[2])
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    print(pid, flush=True)
    status = os.waitpid(pid, 0)[1]
    if not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
"""


class Killer:
    """Kills the running child at certain requests, and lets some of the others go wrong."""

    def __init__(self, at: list[int]) -> None:
        self.at, self.pid, self.killed = at, 0, [0]

    def fault(self, n: int, body: dict[str, Any]) -> str:
        if self.at and n >= self.at[0] and self.pid != self.killed[-1]:
            os.kill(self.pid, signal.SIGKILL)
            self.killed.append(self.pid)
            self.at.pop(0)
        return misbehave(n, body)


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
def test_killed_again_and_again_the_labels_are_the_same(
    tmp_path: Path, kills: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems, traces = write_inputs(tmp_path, 20, 60)
    with FaultServer(answer=answer) as server:
        unbroken = label(LabelConfig.parse(values(server.url, problems, traces), "test"), tmp_path / "unbroken")
    monkeypatch.setenv("RARFT_CACHE", str(tmp_path / "another"))
    killer = Killer(sorted(random.Random(0).sample(range(1, 400), kills)))
    with FaultServer(fault=killer.fault, answer=answer, delay=0.1) as server:
        config, broken = json.dumps(values(server.url, problems, traces)), tmp_path / "broken"
        command = [sys.executable, "-c", DRIVER, config, str(broken)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
            for line in driver.stdout or ():
                killer.pid = int(line)
            assert driver.wait() == 0, driver.stderr and driver.stderr.read()
        n_asked = len(server.bodies)
    assert len(killer.killed) == 1 + kills and not killer.at
    assert (broken / "labels.parquet").read_bytes() == (unbroken / "labels.parquet").read_bytes()
    assert (broken / "unjudged.jsonl").read_bytes() == (unbroken / "unjudged.jsonl").read_bytes()
    assert (unbroken / "unjudged.jsonl").read_text().count("rather not say") > 0
    # a kill can lose what was in flight (8 requests), and a tenth of the requests meet a fault
    asked = read_manifest(unbroken)["ledger"]["calls"]
    assert asked < n_asked <= 1.25 * asked + kills * 8
    manifest = read_manifest(broken)
    assert n_asked - kills * 16 <= manifest["ledger"]["calls"] <= n_asked and manifest["results"]["judge_reused"] == 0
    assert not (broken / "scratch").exists()


def test_what_the_store_has_is_not_asked_again(tmp_path: Path) -> None:
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
        before, had = len(server.bodies), {digest_of(body) for body in server.bodies}
        with closing(sqlite3.connect(store_path("m"))) as database:
            kept = {row[0] for row in database.execute("SELECT question FROM answers")}
        assert 100 < len(kept) <= before and kept <= had
        label(LabelConfig.parse(config, "test"), tmp_path / "out")
        assert len(server.bodies) - before == 400 - len(kept)
        assert not kept & {digest_of(body) for body in server.bodies[before:]}


def digest_of(body: dict[str, Any]) -> bytes:
    """What the store knows a request by."""
    return digest(body["model"], body["messages"], body["temperature"], SCHEMA, None)
