"""Teacher and kinds through a server in the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer

from rarft.cli import main
from rarft.core.artifacts import read_manifest
from rarft.preparation.kinds import KINDS, parse_kind
from rarft.records.problems import load_problems, load_traces


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def inputs(folder: Path) -> list[str]:
    problems = write(folder / "p.jsonl", [{"id": "p", "question": "Where do parallel lines meet?", "answer": "0"}])
    traces = [
        {"id": f"t{i}", "problem": f"Add {i} and {i * i}, the {name} pair.", "answer": str(i + i * i)}
        for i, name in enumerate(["first", "second", "third", "fourth", "fifth", "sixth"])
    ]
    traces[0]["solution"] = "It is just 0."
    traces[5]["answer"] = None  # type: ignore[assignment]
    return ["--problems", problems, "--traces", write(folder / "t.jsonl", traces), "--output", str(folder / "out")]


def teach(body: dict[str, Any]) -> str:
    """Right for all but the third; the second only when asked again."""
    text = body["messages"][0]["content"]
    i = int(text.split("Add ")[1].split(" ")[0])
    right = i + i * i
    if i == 3 or (i == 2 and body.get("seed", 0) < 7919):
        right += 1
    return f"<think>hm</think>1. Add them.\n2. We get \\boxed{{{right}}}."


def test_teacher_writes_what_is_missing_and_only_right_solutions_count(tmp_path: Path) -> None:
    with FaultServer(answer=teach) as server:
        arguments = ["--teacher.base-url", server.url, "--teacher.model", "m", "--near-duplicates", "1"]
        assert main(["prepare", *inputs(tmp_path), *arguments]) == 0
        assert len(server.bodies) == 1 + 2 + 3 + 1 + 3  # t1, t2, t3, t4, t5
        assert all("just" not in body["messages"][0]["content"] for body in server.bodies)
    found = {trace.id: trace for trace in load_traces(str(tmp_path / "out"))}
    assert set(found) == {"t0", "t1", "t2", "t4"}
    assert found["t0"].solution == "It is just 0." and "written_by" not in found["t0"].extra
    assert found["t2"].solution == "1. Add them.\n2. We get \\boxed{6}." and found["t2"].extra == {"written_by": "m"}
    rows = [json.loads(line) for line in (tmp_path / "out" / "removed.jsonl").read_text().splitlines()]
    assert [(row["id"], row["reason"]) for row in rows] == [
        ("t3", "no right solution from the teacher"),
        ("t5", "no answer to check the teacher by"),
    ]
    manifest = read_manifest(tmp_path / "out")
    assert manifest["results"]["n_written_by_teacher"] == 3 and manifest["ledger"]["calls"] == 10


def test_teacher_condenses_everything_when_asked_to(tmp_path: Path) -> None:
    with FaultServer(answer=teach) as server:
        arguments = ["--teacher.base-url", server.url, "--teacher.model", "m", "--near-duplicates", "1"]
        assert main(["prepare", *inputs(tmp_path), *arguments, "--teacher.rewrite", "all"]) == 0
        assert any("It is just 0." in body["messages"][0]["content"] for body in server.bodies)
    found = load_traces(str(tmp_path / "out"))
    assert all(trace.extra["written_by"] == "m" for trace in found)


def test_without_a_teacher_a_missing_solution_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", *inputs(tmp_path)]) == 2
    assert "row 2: column `solution` is missing" in capsys.readouterr().err


def test_kinds_are_asked_once_per_row_that_has_none(tmp_path: Path) -> None:
    problems = [{"id": "a", "question": "Count the subsets of a set", "answer": "1"}]
    problems += [{"id": "b", "question": "Find the area of it", "answer": "1", "kind": "given"}]
    traces = [{"id": "a", "problem": "Count the ways to pick three", "solution": "s"}]
    traces += [{"id": "c", "problem": "Differentiate the sine", "solution": "s"}]

    def answer(body: dict[str, Any]) -> str:
        text = body["messages"][0]["content"]
        if "Differentiate" in text:
            return "I like turtles"
        return '{"kind": "Combinatorics"}'

    arguments = ["--problems", write(tmp_path / "p.jsonl", problems), "--traces", write(tmp_path / "t.jsonl", traces)]
    with FaultServer(answer=answer) as server:
        arguments += ["--kinds.by", "judge", "--kinds.base-url", server.url, "--kinds.model", "m"]
        assert main(["prepare", *arguments, "--output", str(tmp_path / "out")]) == 0
        assert len(server.bodies) == 2 + 3
    assert [p.kind for p in load_problems(str(tmp_path / "out"))] == ["combinatorics", "given"]
    assert [t.kind for t in load_traces(str(tmp_path / "out"))] == ["combinatorics", "other"]
    assert read_manifest(tmp_path / "out")["results"]["kinds_unanswered"] == 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"kind": "number theory"}', "number theory"),
        ("This is Linear Algebra.", "linear algebra"),
        ("algebra or geometry", None),
        ("{broken: geometry", "geometry"),
        ('{"kind": 3}', None),
        ("", None),
    ],
)
def test_parse_kind(text: str, kind: str | None) -> None:
    assert parse_kind(text, KINDS) == kind
