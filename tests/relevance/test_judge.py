"""The judge: reading what models answer, and labelling through a server that misbehaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fault_server import FAULTS, FaultServer, verdict

from rarft.cli import main
from rarft.core.artifacts import read_manifest
from rarft.core.errors import InputError
from rarft.llm import client as client_module
from rarft.relevance.label import LabelConfig, label
from rarft.relevance.labelers.judge import parse_verdict

KEY = "sk-secret-of-the-test"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"pattern": "pigeonhole", "relevant": true}', (True, "pigeonhole")),
        ('{"relevant": false, "pattern": "none"}', (False, "none")),
        ('Sure!\n```json\n{"pattern": "x", "relevant": true}\n```\nHope this helps.', (True, "x")),
        ('{"pattern": "the set {1, 2}", "relevant": "Yes"}', (True, "the set {1, 2}")),
        ('{"Pattern": "x", "Relevant": "false"}', (False, "x")),
        ('{"pattern": "x", "relevant": 1}', (True, "x")),
        ('{"pattern": ["a"], "relevant": true}', (True, "")),
        ('{"pattern": "line\nbreak", "relevant": true}', (True, "line\nbreak")),
        ('<think>no no {"relevant": false}</think> {"pattern": "x", "relevant": true}', (True, "x")),
        ("Yes, both count in two ways.", (True, "Yes, both count in two ways.")),
        ("**No.** Nothing is shared.", (False, "**No.** Nothing is shared.")),
        ("Pattern: telescoping\nRelevant: yes", (True, "Pattern: telescoping Relevant: yes")),
        ("The final answer is: No", (False, "The final answer is: No")),
        # unclear ones: never a no
        ("", None),
        ("I cannot decide.", None),
        ('{"pattern": "x", "relevant": "maybe"}', None),
        ('{"pattern": "x", "relevant": null}', None),
        ('{"pattern": "x", "relevant": 0.5}', None),
        ('{"pattern": "x", "relevant": [true]}', None),
        ('{"pattern": "x", "relev', None),
        ('{"relevant": true} or {"relevant": false}', None),
        ("Relevant: yes. Answer: no.", None),
        ("[true]", None),
        ("There is no theorem here that would be known", None),
        ("Nobody knows. Notable.", None),
    ],
)
def test_parse_verdict(text: str, expected: tuple[bool, str] | None) -> None:
    found = parse_verdict(text)
    assert (found and (found["relevant"], found["pattern"])) == expected


def write_inputs(folder: Path, n_problems: int = 12, n_traces: int = 20) -> dict[str, str]:
    problems = [{"id": f"p{i}", "question": f"What is {i} times {i + 4}?", "answer": f"{i}"} for i in range(n_problems)]
    traces = [{"id": f"t{i}", "problem": f"Halve {i * 31}.", "solution": f"So {i}."} for i in range(n_traces)]
    for name, rows in (("problems", problems), ("traces", traces)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"problems": str(folder / "problems.jsonl"), "traces": str(folder / "traces.jsonl")}


def config(folder: Path, url: str, **judge: Any) -> LabelConfig:
    values = {"base_url": url, "model": "m", "concurrency": 8, "timeout": 2, **judge}
    return LabelConfig.parse({**write_inputs(folder), "judge": values, "candidates": {"per_problem": 10}}, "test")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "FIRST_DELAY", 0.02)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def test_labels_say_what_the_judge_said_through_every_fault(tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    def fault(n: int, body: dict[str, Any]) -> str:
        prompt = body["messages"][1]["content"]
        seen[prompt] = seen.get(prompt, 0) + 1
        return FAULTS[n % len(FAULTS)] if seen[prompt] == 1 and n else "ok"

    def answer(body: dict[str, Any]) -> Any:
        prompt = body["messages"][1]["content"]
        good = json.dumps({"pattern": "p", "relevant": verdict(prompt)})
        bad = [good, f"Here it is: {good} Bye.", '{"pattern": 3, "relevant": "perhaps"}', good[:20]]
        return bad[len(prompt) % 4] if "JSON" in prompt else "Yes." if verdict(prompt) else "no"

    with FaultServer(fault, answer) as server:
        folder = label(config(tmp_path, server.url), tmp_path / "out")
        prompts = {body["messages"][1]["content"] for body in server.bodies}
        prompts = {prompt for prompt in prompts if "JSON" in prompt}
    rows = pq.read_table(folder / "labels.parquet").to_pylist()
    assert len(rows) == 120 and len(prompts) == 120
    by_text = {(p.split("What is ")[1].split(" ")[0], p.split("Halve ")[1].split(".")[0]): verdict(p) for p in prompts}
    for row in rows:
        pair = row["problem_id"][1:], str(31 * int(row["trace_id"][1:]))
        assert row["relevant"] == by_text[pair] and row["score"] == float(row["relevant"])
        assert row["labeler"] == "judge"
    assert not (folder / "unjudged.jsonl").exists()


def test_a_pair_without_a_usable_answer_is_unjudged_not_irrelevant(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> str:
        prompt = body["messages"][1]["content"]
        return "hmm" if "What is 3 times" in prompt else json.dumps({"pattern": "p", "relevant": False})

    with FaultServer(answer=answer) as server:
        folder = label(config(tmp_path, server.url, max_unjudged=0.2), tmp_path / "out")
    labels = pq.read_table(folder / "labels.parquet").to_pylist()
    unjudged = [json.loads(line) for line in (folder / "unjudged.jsonl").read_text().splitlines()]
    assert {row["problem_id"] for row in unjudged} == {"p3"} and len(unjudged) == 10
    assert unjudged[0]["raw"] == ["hmm"]
    assert len(labels) == 110 and not any(row["problem_id"] == "p3" for row in labels)
    assert read_manifest(folder)["results"]["judge_unjudged"] == 10


def test_too_many_unjudged_pairs_fail_the_stage(tmp_path: Path) -> None:
    with FaultServer(answer=lambda body: "hmm") as server, pytest.raises(InputError, match="cannot be used"):
        label(config(tmp_path, server.url), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_votes_give_a_share_and_a_majority(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> str:
        return json.dumps({"pattern": f"vote {body['seed']}", "relevant": body["seed"] != 1})

    with FaultServer(answer=answer) as server:
        folder = label(config(tmp_path, server.url, votes=3, temperature=0.7), tmp_path / "out")
        assert len(server.bodies) == 360
    rows = pq.read_table(folder / "labels.parquet").to_pylist()
    assert all(row["relevant"] and row["score"] == pytest.approx(2 / 3) for row in rows)
    with pytest.raises(InputError, match="odd number"):
        label(config(tmp_path, server.url, votes=2, temperature=0.7), tmp_path / "other")


def test_the_key_is_in_no_file_that_the_stage_leaves(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> str:
        return json.dumps({"pattern": f"your key {KEY}", "relevant": True})

    with FaultServer(answer=answer, key=KEY) as server:
        with pytest.raises(InputError):
            label(config(tmp_path, server.url, max_calls=50), tmp_path / "out")
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert any(path.name == "answers.jsonl" for path in files)
        assert all(KEY.encode() not in path.read_bytes() for path in files)
        folder = label(config(tmp_path, server.url), tmp_path / "out")
    assert all(KEY.encode() not in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert pq.read_table(folder / "labels.parquet").to_pylist()[0]["rationale"] == "your key ***"


def test_ledger_counts_what_was_paid(tmp_path: Path) -> None:
    with FaultServer() as server:
        with pytest.raises(InputError, match="max-calls"):
            label(config(tmp_path, server.url, max_calls=50), tmp_path / "out")
        folder = label(config(tmp_path, server.url, price_in=1.0, price_out=2.0), tmp_path / "out")
        assert len(server.bodies) == 120
    manifest = read_manifest(folder)
    assert manifest["ledger"]["calls"] == 120
    assert manifest["ledger"]["tokens_in"] == 12000 and manifest["ledger"]["tokens_out"] == 2400
    assert manifest["results"]["judge_cost_dollars"] == pytest.approx(0.0168)


def test_dry_run_prints_the_plan_and_calls_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = write_inputs(tmp_path)
    with FaultServer() as server:
        arguments = ["label", "--problems", inputs["problems"], "--traces", inputs["traces"], "--dry-run"]
        arguments += ["--judge.base-url", server.url, "--judge.model", "m", "--candidates.per-problem", "10"]
        arguments += ["--judge.price-in", "1", "--judge.price-out", "10", "--judge.votes", "3"]
        assert main([*arguments, "--judge.temperature", "0.5"]) == 0
        assert not server.bodies
    said = capsys.readouterr().out
    assert "pairs       120" in said and "calls       360" in said and "cost        $" in said
    assert not (tmp_path / "out").exists()


def test_wrong_settings_are_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = write_inputs(tmp_path)
    arguments = ["label", "--problems", inputs["problems"], "--traces", inputs["traces"]]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("rarft: --judge.base-url is missing")
    assert main([*arguments, "--labeler", "likelihood", "--output", str(tmp_path / "out")]) == 2
    assert "give it with --model" in capsys.readouterr().err
