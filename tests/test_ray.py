"""`--ray`: the same files as without, a worker killed in the middle, a node that joins, a driver killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lancedb
import pyarrow.parquet as pq
import pytest
import torch
from fault_server import FaultServer
from policy.tiny import save_policy, write_problems
from pydantic import ValidationError
from retriever.conftest import save_tiny_encoder

from rarft.cli import main
from rarft.core import cluster
from rarft.core.artifacts import read_manifest
from rarft.core.cluster import Pool, RayConfig
from rarft.core.errors import InputError, StageError
from rarft.evaluation import EvaluateConfig, evaluate
from rarft.models.engines import open_engine
from rarft.relevance.label import LabelConfig, label
from rarft.retriever import trace_index
from rarft.retriever.index import IndexConfig, index

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'rarft[ray]'")
PLAIN = {"template": "plain", "instruction": ""}
WATCHED = "watched_engine:Watched"


@pytest.fixture(autouse=True)
def two_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray with two workers of one thread each, as this process has then: a sum's order is that of its threads.

    The workers find what lies beside this file.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    paths = [*map(str, Path(__file__).parents[:2]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = write_problems(tmp_path_factory.mktemp("world"), n=12)
    found = {path.stem: str(path) for path in folder.iterdir()}
    return found | {"model": save_policy(folder / "policy")}


def label_values(world: dict[str, str], labeler: str, **more: Any) -> dict[str, Any]:
    return {
        "problems": world["problems"], "traces": world["traces"], "gold_solutions": world["traces"],
        "labeler": labeler, "model": world["model"], "engine": WATCHED, "prompt": PLAIN,
        "candidates": {"per_problem": 4}, "pass_rate": {"samples": 2, "base_samples": 2, "max_new_tokens": 8}, **more,
    }  # fmt: skip


def made_labels(values: dict[str, Any], output: Path) -> list[dict[str, Any]]:
    label(LabelConfig.parse(values, "test"), output)
    return list(pq.read_table(output / "labels.parquet").to_pylist())


def labelling(values: dict[str, Any], output: Path) -> subprocess.Popen[bytes]:
    """`label` in a process of its own."""
    code = (
        "import sys, json; from rarft.relevance.label import LabelConfig, label;"
        "label(LabelConfig.parse(json.loads(sys.argv[1]), 'test'), sys.argv[2])"
    )
    return subprocess.Popen([sys.executable, "-c", code, json.dumps(values), str(output)])


def wait_for(driver: subprocess.Popen[bytes], done: Any) -> None:
    while not done():
        assert driver.poll() is None
        time.sleep(0.05)


def calls(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def rays_processes() -> set[int]:
    """Processes of Ray's that run now."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ")
            if b"ray::" in line or b"-packages/ray/" in line:
                found.add(int(path.name))
    return found


# What needs no cluster


@pytest.mark.parametrize("address", ["", "remote", "ray://10.0.0.1:10001", "10.0.0.1", "a b:1", "local:x"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ValidationError, match="local, or the address of a running cluster"):
        RayConfig(ray=address)


def test_where_work_is_done_is_no_part_of_the_result(world: dict[str, str]) -> None:
    def identity(**more: Any) -> dict[str, Any]:
        return LabelConfig.parse(label_values(world, "likelihood", **more), "test").result_values()

    assert identity() == identity(ray="local") == identity(ray="10.0.0.1:6379")


def test_a_dry_run_counts_the_same(world: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for more in ([], ["--ray", "local"]):
        assert main(["evaluate", "--problems", world["problems"], "--model", world["model"], "--dry-run", *more]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1] and "rollouts" in found[0]


def test_what_cannot_be_is_told_in_a_line(world: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(StageError, match=f"--ray {address}: nothing answers there"):
        open_engine("transformers", world["model"], ray=address)
    with pytest.raises(InputError, match="a running server does the work itself"):
        open_engine("http://localhost:1", world["model"], ray="local")
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"Ray is not installed: pip install 'rarft\[ray\]'"):
        open_engine("transformers", world["model"], ray="local")


def test_the_judge_is_asked_from_here(world: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name, more in (("plain", {}), ("ray", {"ray": "local"})):
        monkeypatch.setenv("RARFT_CACHE", str(tmp_path / f"cache-{name}"))
        with FaultServer() as server:
            judge = {"base_url": server.url, "model": "m"}
            found.append(made_labels(label_values(world, "judge", judge=judge, **more), tmp_path / name))
            assert len(server.bodies) == len(found[-1])
    assert found[0] and found[0] == found[1]


# On this machine


def test_labels_are_the_same_and_a_killed_worker_costs_its_call(
    world: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rays_processes()
    log, kill = tmp_path / "log", tmp_path / "kill"
    plain = made_labels(label_values(world, "likelihood"), tmp_path / "plain")
    monkeypatch.setenv("RAY_TEST_LOG", str(log))
    monkeypatch.setenv("RAY_TEST_KILL", str(kill))
    kill.touch()
    assert made_labels(label_values(world, "likelihood", ray="local"), tmp_path / "ray") == plain
    begun = Counter(json.dumps(row["prompts"]) for row in calls(log) if row["what"] == "begun")
    ended = Counter(json.dumps(row["prompts"]) for row in calls(log) if row["what"] == "ended")
    assert sum(begun.values()) == 13 and sorted(begun.values()) == [1] * 11 + [2]  # a problem's twice, the killed one's
    assert begun.keys() == ended.keys() and set(ended.values()) == {1}
    assert len({row["process"] for row in calls(log)}) in (2, 3) and not kill.exists()  # its successor may come late
    assert not rays_processes() - before


@pytest.mark.slow
def test_evaluation_and_pass_rates_are_the_same(world: dict[str, str], tmp_path: Path) -> None:
    values = label_values(world, "pass-rate")
    assert made_labels(values | {"ray": "local"}, tmp_path / "a") == made_labels(values, tmp_path / "b")
    found = []
    for name, more in (("plain", {}), ("ray", {"ray": "local"})):
        config = EvaluateConfig.parse(
            {
                "problems": world["problems"], "traces": world["traces"], "analogies": world["analogies"],
                "model": world["model"], "samples": 100, "max_new_tokens": 8, "prompt": PLAIN, **more,
            },
            "test",
        )  # fmt: skip
        evaluate(config, tmp_path / name)
        found.append(pq.read_table(tmp_path / name / "rollouts.parquet").to_pylist())
    assert len(found[0]) == 1200 and found[0] == found[1]
    assert (tmp_path / "plain" / "scores.json").read_bytes() == (tmp_path / "ray" / "scores.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["multi-vector", "single-vector"])
def test_the_index_is_the_same(
    kind: str, world: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_index, "CHUNK", 4)
    monkeypatch.chdir(tmp_path)
    save_tiny_encoder(tmp_path / "encoder")
    Path("tqdm.py").write_text("raise SystemExit('code of the current folder was run')")
    tables = []
    for name, more in (("plain", {}), ("ray", {"ray": "local"})):
        values = {"traces": world["traces"], "retriever": "encoder", "type": kind, **more}
        index(IndexConfig.parse(values, "test"), tmp_path / name)
        tables.append(lancedb.connect(tmp_path / name).open_table("traces").to_arrow())
    assert tables[0].num_rows == 24 and tables[0].equals(tables[1])
    assert read_manifest(tmp_path / "plain")["digest"] == read_manifest(tmp_path / "ray")["digest"]


class Failing:
    """Fails in the way that it is asked for."""

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def refuse(self) -> None:
        raise InputError("no")

    def devices(self) -> str | None:
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    def triple(self, n: int) -> int:
        return 3 * n


def not_there(path: str) -> Failing:
    raise InputError(f"{path}: no such model file or folder")


@pytest.mark.slow
def test_failures_of_workers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^node [\d.]+: /models/p: no such model"):
        Pool("local", partial(not_there, "/models/p"))
    with closing(Pool("local", Failing)) as pool:
        with pytest.raises(InputError, match=r"^no$"):
            pool.call("refuse")
        with pytest.raises(StageError, match="3 workers ended, one after another, over the same call"):
            pool.call("kill")
        assert list(pool.each("triple", range(20))) == [(n, 3 * n) for n in range(20)]
    with pytest.raises(StageError, match="no worker starts"):
        Pool("local", partial(os._exit, 1))


@pytest.mark.slow
def test_a_killed_run_leaves_no_process_and_goes_on_without_ray(
    world: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rays_processes()
    log = tmp_path / "log"
    plain = made_labels(label_values(world, "likelihood"), tmp_path / "plain")
    monkeypatch.setenv("RAY_TEST_LOG", str(log))
    monkeypatch.setenv("RAY_TEST_SECONDS", "0.5")
    values = label_values(world, "likelihood")
    with labelling(values | {"ray": "local"}, tmp_path / "out") as driver:
        wait_for(driver, lambda: sum(row["what"] == "ended" for row in calls(log)) >= 4)
        assert rays_processes() - before
        driver.kill()
    deadline = time.monotonic() + 20
    while rays_processes() - before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not rays_processes() - before
    first = len(calls(log))
    monkeypatch.setenv("RAY_TEST_SECONDS", "0")
    assert made_labels(values, tmp_path / "out") == plain
    again = sum(row["what"] == "begun" for row in calls(log)[first:])
    assert 12 - 4 - 2 <= again <= 12 - 2  # two calls may have ended, and were not yet in the driver's log


# Several nodes


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A cluster whose nodes are processes here: one CPU each."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield found
    found.shutdown()


@pytest.mark.slow
def test_workers_take_the_gpus_that_ray_counts(nodes: Any) -> None:
    nodes.add_node(num_cpus=1, num_gpus=3)  # there are none; Ray believes it
    with closing(Pool(nodes.address, Failing, gpus=2)) as pool:
        assert pool.places == 1 and pool.call("devices") == "0,1"
    with pytest.raises(InputError, match="no node has the 4 GPUs of a worker"):
        Pool(nodes.address, Failing, gpus=4)


@pytest.mark.slow
def test_a_node_that_joins_is_used_and_one_that_goes_is_not_missed(
    world: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    log = tmp_path / "log"
    plain = made_labels(label_values(world, "likelihood"), tmp_path / "plain")
    monkeypatch.setenv("RAY_TEST_LOG", str(log))
    monkeypatch.setenv("RAY_TEST_SECONDS", "3")
    nodes = request.getfixturevalue("nodes")  # what its workers see of the environment is set by now
    values = label_values(world, "likelihood", ray=nodes.address)
    with labelling(values, tmp_path / "out") as driver:
        wait_for(driver, lambda: len(calls(log)) > 1)
        joined = nodes.add_node(num_cpus=1)
        wait_for(driver, lambda: sum(row["node"] == joined.node_id for row in calls(log)) > 1)
        assert len({row["node"] for row in calls(log)}) == 2
        nodes.remove_node(joined, allow_graceful=False)
        assert driver.wait(120) == 0
    assert list(pq.read_table(tmp_path / "out" / "labels.parquet").to_pylist()) == plain
