"""The judge: reading what models answer, and labelling through a server that misbehaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fault_server import FAULTS, FaultServer, completion, judgement, verdict

from rarft.cli import main
from rarft.core.artifacts import read_manifest
from rarft.core.errors import InputError
from rarft.llm import client as client_module
from rarft.llm.store import store_path
from rarft.relevance.label import LabelConfig, label

KEY = "sk-secret-of-the-test"


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
        files = [path for path in (*tmp_path.rglob("*"), store_path("m")) if path.is_file()]
        assert store_path("m") in files
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


def test_an_interrupted_labelling_whose_options_change_asks_only_what_is_new(tmp_path: Path) -> None:
    with FaultServer() as server:
        changed = config(tmp_path, server.url)
        changed = changed.model_copy(update={"candidates": changed.candidates.model_copy(update={"per_problem": 11})})
        with pytest.raises(InputError, match="max-calls"):
            label(config(tmp_path, server.url, max_calls=50), tmp_path / "out")
        folder = label(changed, tmp_path / "out")
        first, then = asked(server)[:50], asked(server)[50:]
        assert not set(first) & set(then)
    assert pq.read_table(folder / "labels.parquet").num_rows == 132
    manifest = read_manifest(folder)
    assert manifest["results"]["judge_reused"] == 132 - len(then)
    assert manifest["results"]["judge_calls"] == manifest["ledger"]["calls"] == len(then)


def test_a_second_labelling_elsewhere_buys_nothing_and_says_so(tmp_path: Path) -> None:
    with FaultServer() as server:
        first = label(config(tmp_path, server.url), tmp_path / "out")
        second = label(config(tmp_path, "http://127.0.0.1:9/v1"), tmp_path / "elsewhere")
        assert len(server.bodies) == 120
    assert (first / "labels.parquet").read_bytes() == (second / "labels.parquet").read_bytes()
    manifest = read_manifest(second)
    assert manifest["ledger"]["calls"] == manifest["ledger"]["tokens_in"] == 0
    assert manifest["results"]["judge_reused"] == 120 and manifest["results"]["judge_cost_dollars"] == 0


def test_with_more_tokens_only_cut_answers_are_asked_for_again(tmp_path: Path) -> None:
    """Those that could be read stay, although they were cut too; so do the unreadable ones that ended by themselves."""

    def reply(n: int, body: dict[str, Any]) -> Any:
        prompt = body["messages"][1]["content"]
        if "What is 3 times" in prompt and body["max_tokens"] == 20:
            return 200, {}, completion('{"pattern": "the pattern of', finish_reason="length")
        if "What is 4 times" in prompt:
            return 200, {}, completion("hmm")
        return 200, {}, completion(judgement(body), finish_reason="length")

    with FaultServer(fault=reply) as server:
        settings = {"asks": 2, "max_unjudged": 0.5}
        label(config(tmp_path, server.url, max_tokens=20, **settings), tmp_path / "short")
        assert len(server.bodies) == 140
        folder = label(config(tmp_path, server.url, max_tokens=40, **settings), tmp_path / "long")
        assert all("What is 3 times" in prompt for prompt in asked(server)[140:])
        assert len(server.bodies) == 150
    assert pq.read_table(folder / "labels.parquet").num_rows == 110
    assert read_manifest(folder)["results"]["judge_reused"] == 100


def test_answers_that_end_the_stage_are_asked_for_again_and_the_error_shows_one(tmp_path: Path) -> None:
    cut = completion("Let me see, the", finish_reason="length")
    with (
        FaultServer(fault=lambda n, body: (200, {}, cut)) as server,
        pytest.raises(
            InputError, match=r"cannot be used .* \d\d of them cut at --judge.max-tokens 256; one .*Let me see"
        ),
    ):
        label(config(tmp_path, server.url, asks=1), tmp_path / "out")
    with FaultServer() as server:
        label(config(tmp_path, server.url, asks=1), tmp_path / "out")
        assert len(server.bodies) == 120


def test_a_key_given_as_the_variable_is_in_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = write_inputs(tmp_path)
    arguments = ["label", "--problems", inputs["problems"], "--traces", inputs["traces"], "--labeler", "oracle"]
    assert main([*arguments, "--judge.api-key-env", KEY, "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert "name of an environment variable" in said.err and KEY not in said.err + said.out
    assert not (tmp_path / "out").exists()


def asked(server: FaultServer) -> list[str]:
    return [body["messages"][1]["content"] for body in server.bodies]


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
