"""Hostile options and rows for every command: exit codes 0, 1, 2 or 130, one line, no traceback, nothing half-written.

Each example runs in a fork of this process, which has imported everything already, with its memory and time measured.
`RARFT_FUZZ_SECONDS=3600 pytest tests/test_fuzz.py` goes on for an hour; the seeds count up from RARFT_FUZZ_SEED.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import resource
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is imported: no waiting for a hub

from rarft.cli import main
from rarft.core.config import Config, nested_config
from rarft.core.stages import find_stages
from rarft.flags import _flag
from tests.policy.tiny import save_policy
from tests.retriever.conftest import save_tiny_encoder

LIBRARIES = ("sentence_transformers", "rarft.policy.trl.training", "rarft.models.engines.transformers",
             "rarft.retriever.train", "transformers.models.llama.modeling_llama")  # fmt: skip
SECONDS = float(os.environ.get("RARFT_FUZZ_SECONDS", "60"))
FIRST_SEED = int(os.environ.get("RARFT_FUZZ_SEED", "0"))
MOST_CPU_SECONDS, MOST_MEMORY, EXAMPLES = 60, 3 * 2**30, 25
HOSTILE = [
    "", " ", "nan", "inf", "-inf", "-1", "0", "1e308", "1e-300", "-0.0", "1e-3", "2", "9" * 400, "0x10", "none",
    "true", "[", "{a: 1}", "{a: {b: [1, 2]}}", "- x", "*", "&a", "!!python/object:os.system", "x" * 5000, "a\nb",
    "\udcff", "💥", "../../x", "..", ".", "/", "/dev/null", "/dev/zero", "/etc/shadow", "/root", "~", "no-such",
    "$HOME", "a:b", "json:loads", "os:system",
    "rarft.core.config:Config", "http://127.0.0.1:9", "--", "-", "'; rm -rf x", "%s",
]  # fmt: skip
CELLS: list[Any] = [
    None, "", " ", 0, -1, 1.5, True, [], {}, ["a"], {"a": 1}, "\ud800", "\x00", "x" * 100_000, "\\boxed{", "$" * 999,
    float("nan"), float("inf"), 10**400, "<script>alert(1)</script>", "../../etc/passwd", "{{7*7}}", "a\nb", "💥" * 50,
]  # fmt: skip
LINES = [
    b"{", b"[]", b"null", b"\xff\xfe", b"{" * 50_000, b"[" * 50_000, b'{"id": 1, "id": 2}', b'{"id": "\\ud800"}',
    b"\x00",     b'{"id": 1e999}', b"\xef\xbb\xbf{}",
]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Good inputs of every kind, by the name of the field that takes them."""
    folder = tmp_path_factory.mktemp("good")
    problems = [{"id": f"p{i}", "question": f"What is {i} plus {i + 3}?", "answer": str(2 * i + 3), "kind": "sums",
                 "structure": i % 2, "solution": f"\\boxed{{{2 * i + 3}}}"} for i in range(8)]  # fmt: skip
    traces = [{"id": f"t{i}", "problem": f"Ann has {i} pears and buys {i * 2}. How many?", "answer": str(3 * i),
               "solution": f"\\boxed{{{3 * i}}}", "kind": "sums", "structure": i % 2} for i in range(8)]  # fmt: skip
    for name, rows in (("problems", problems), ("traces", traces)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sampled = [{"problem_id": f"p{i}", "sample": n, "trace_ids": [f"t{n % 2}"], "completion": "x", "answer": "1",
                "reward": float(n % 2)} for i in range(4) for n in range(4)]  # fmt: skip
    (folder / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sampled))
    paths = {name: str(folder / f"{name}.jsonl") for name in ("problems", "traces", "rollouts")}
    for module in LIBRARIES:  # once, not in every fork; lancedb starts a thread, which no fork has
        import_module(module)
    for line in (
        ["label", "--problems", paths["problems"], "--traces", paths["traces"], "--labeler", "oracle"],
        ["index", "--traces", paths["traces"], "--retriever", "bm25"],
        ["retrieve", "--problems", paths["problems"], "--index", "index"],
    ):
        code, said, *_ = run(
            [*line, "--output", {"label": "labels", "retrieve": "analogies"}.get(line[0], "index")], folder
        )
        assert code == 0, said
    return {**paths, **{name: str(folder / name) for name in ("labels", "index", "analogies")},
            "retriever": "bm25", "model": save_policy(folder / "model"),
            **dict.fromkeys(("base_model", "encoder"), str(save_tiny_encoder(folder / "encoder")))}  # fmt: skip


def fields(config: type[Config], prefix: str = "") -> list[tuple[str, FieldInfo]]:
    """Every option of a command, by dotted name."""
    found = []
    for name, field in config.model_fields.items():
        section = nested_config(field)
        found += fields(section, f"{prefix}{name}.") if section else [(f"{prefix}{name}", field)]
    return found


@st.composite
def commands(
    draw: st.DrawFn,
) -> tuple[str, list[tuple[str, str]], list[str], tuple[str, int, bytes | None, Any] | None]:
    """A command, its hostile options, the optional inputs it is given, and what is done to which row of which file."""
    stage = draw(st.sampled_from([name for name in find_stages() if name != "report"]))
    names = [name for name, _ in fields(find_stages()[stage].config_type)]
    hostile = draw(
        st.lists(st.tuples(st.sampled_from([*names, "output", "config"]), st.sampled_from(HOSTILE)), max_size=3)
    )
    given_too = draw(st.lists(st.sampled_from(names), max_size=4))
    spoiled = draw(
        st.none()
        | st.tuples(st.sampled_from(["problems", "traces"]), st.integers(0, 7), st.sampled_from(LINES), st.none())
        | st.tuples(st.sampled_from(["problems", "traces"]), st.integers(0, 7), st.none(), st.sampled_from(CELLS))
    )
    return stage, hostile, given_too, spoiled


def spoil(good: Path, bad: Path, place: int, line: bytes | None, cell: Any) -> None:
    """Copy a file with one line replaced, or one cell of it."""
    lines = good.read_bytes().splitlines()
    if line is None:
        row = json.loads(lines[place])
        row[list(row)[place % len(row)]] = cell
        line = json.dumps(row).encode()
    lines[place] = line
    bad.write_bytes(b"\n".join(lines))


def run(line: list[str], folder: Path) -> tuple[int, str, int, float]:
    """Exit code, stderr, peak memory in bytes and seconds of a command in a fork of this process."""
    said = folder.parent / f"{folder.name}.said"
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1), os.dup2(out, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", errors="backslashreplace")
        os.environ["RARFT_CACHE"] = str(folder.parent / "cache")
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_SECONDS, MOST_CPU_SECONDS))  # of the fork alone
        try:
            code = main(line)
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException as error:
            print(f"ESCAPED {error!r}", file=sys.stderr, flush=True)
            code = 99
        sys.stderr.flush()
        os._exit(code)
    _, status, used = os.wait4(child, 0)
    text = said.read_bytes().decode("utf-8", "replace")
    return os.waitstatus_to_exitcode(status), text, used.ru_maxrss * 1024, time.monotonic() - began


def check(line: list[str], files: dict[str, str], folder: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    code, said, memory, seconds = run(line, folder)
    told = f"{line}\nexit {code} after {seconds:.0f} s, {memory >> 20} MiB:\n{said[-2000:]}"
    assert code in (0, 1, 2, 130), told
    assert "Traceback (most recent call last)" not in said, told
    if code in (1, 2):
        assert len(re.findall(r"^rarft: ", said, re.M)) == 1 and said.rstrip("\n").split("\n")[-1].startswith(
            "rarft: "
        ), told
    assert memory < before + MOST_MEMORY, told
    output = folder / "out"
    if output.exists():
        assert code == 0 and (output / "manifest.json").is_file(), told
    for path in files.values():
        assert not path.startswith("/") or os.path.exists(path), told


def attack(files: dict[str, str], folder: Path, command: Any) -> None:
    """Try one command in a folder of its own."""
    stage, hostile, given_too, spoiled = command
    folder.mkdir()
    config, inputs = find_stages()[stage].config_type, dict(files)
    if spoiled:
        inputs[spoiled[0]] = str(folder / "bad.jsonl")
        spoil(Path(files[spoiled[0]]), folder / "bad.jsonl", *spoiled[1:])
    line = [stage, "--output", "out"]
    for name, field in fields(config):
        if name in inputs and (field.is_required() or name in given_too):
            line += [inputs[name]] if config.positional == name else [_flag(name), inputs[name]]
    line += [word for name, value in hostile for word in (_flag(name), value)]
    check(line, files, folder)


@pytest.mark.fuzz
def test_hostile_commands(files: dict[str, str], tmp_path: Path) -> None:
    ends, count = time.monotonic() + SECONDS, itertools.count(1)
    block = FIRST_SEED
    while time.monotonic() < ends:

        @seed(block)
        @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(commands())
        def a_block(command: Any) -> None:
            attack(files, tmp_path / str(next(count)), command)

        a_block()
        block += 1
    print(f"{next(count) - 1} hostile commands, seeds {FIRST_SEED} to {block - 1}")
