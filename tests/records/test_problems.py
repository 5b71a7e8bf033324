"""Reading problems and traces: every format the same, every bad row told in one line."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet as pq
import pytest

from rarft.core.errors import InputError
from rarft.models.prompts import with_answer
from rarft.records.problems import Problem, load_problems, load_traces, require_answers
from rarft.records.rows import write_jsonl
from rarft.rewards.problems import check_problems

ROWS = [
    {"id": "a", "question": "What is 1 + 1?", "answer": "2", "kind": "sums", "structure": "add"},
    {"id": "b", "question": "What is 2 * 3?", "answer": 6},
]


def written(tmp_path: Path, suffix: str) -> str:
    path = tmp_path / f"problems{suffix}"
    if suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n", encoding="utf-8")
    elif suffix == ".csv":
        path.write_text("id,question,answer,kind,structure\na,What is 1 + 1?,2,sums,add\nb,What is 2 * 3?,6,,\n")
    else:
        rows = [{**{"kind": None, "structure": None}, **row, "answer": str(row["answer"])} for row in ROWS]
        pq.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_every_format_reads_the_same(tmp_path: Path, suffix: str) -> None:
    first, second = load_problems(written(tmp_path, suffix))
    assert first == Problem("a", "What is 1 + 1?", "2", "sums") and first.extra["structure"] == "add"
    assert (second.answer, second.kind) == ("6", None)


def test_columns_and_folders(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_text('{"uid": 7, "problem": "p", "steps": "s", "answer": 2.0}\n')
    (trace,) = load_traces(str(tmp_path), columns={"id": "uid", "solution": "steps"})
    assert (trace.id, trace.solution, trace.answer) == ("7", "s", "2")


def test_a_mapped_column_wins_over_the_file_s_own(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "a", "uid": 7, "question": "no", "prompt": "yes", "test_list": ["t"], "more": 1}\n')
    (problem,) = load_problems(str(path), {"question": "prompt", "id": "uid", "tests": "test_list"})
    assert (problem.id, problem.question, problem.answer) == ("7", "yes", None)
    assert problem.extra == {"tests": ["t"], "more": 1}
    assert problem.as_row() == {"id": "7", "question": "yes", "tests": ["t"], "more": 1}
    (same,) = load_problems(str(path), {"id": "prompt", "question": "prompt"})  # one column may serve twice
    assert (same.id, same.question) == ("yes", "yes")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"questoin": "prompt"}, "is none that problems have; did you mean `question`?"),
        ({"question": "promt"}, "row 1: column `promt` is missing; did you mean `prompt`?"),
        ({"question": "prompt", "kind": "topics"}, "no row has column `topics`, mapped to `kind`; did you mean"),
    ],
)  # fmt: skip
def test_a_mapping_to_nothing_names_the_nearest(tmp_path: Path, columns: dict[str, str], message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "a", "prompt": "q"}\n{"id": "b", "prompt": "q", "topic": "sums"}\n')
    with pytest.raises(InputError) as error:
        load_problems(str(path), columns)
    assert message in str(error.value)
    assert load_problems(str(path), {"question": "prompt", "kind": "topic"})[1].kind == "sums"


def test_answers_are_for_the_reward_to_ask_for(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"id": "a", "question": "q", "answer": "1"}\n{"id": "b", "question": "q", "tests": "assert f()"}\n'
    )
    problems = load_problems(str(path))
    assert [(p.answer, p.gold) for p in problems] == [("1", "1"), (None, "")]
    with pytest.raises(InputError, match=r"p\.jsonl: problem b: no answer, which the labeler needs"):
        require_answers(problems, str(path), "the labeler")
    with pytest.raises(InputError, match=r"p\.jsonl: problem b: the gold answer is empty"):
        check_problems(problems, str(path), "math")
    with pytest.raises(InputError, match=r"--reward typo: no reward is called 'typo'"):
        check_problems(problems, str(path), "typo")


def test_write_and_read_back(tmp_path: Path) -> None:
    problems = load_problems(written(tmp_path, ".jsonl"))
    write_jsonl(tmp_path / "again.jsonl", problems)
    again = load_problems(str(tmp_path / "again.jsonl"))
    assert again == problems and again[0].extra == problems[0].extra


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "a", "question": "q", "answer": "1"}\n{"id": "b", "question"\n', r"row 2: broken JSON"),
        ('{"id": "a", "question": "", "answer": "1"}\n', r"row 1: column `question` is empty"),
        (
            '{"id": "a", "text": "q", "answer": "1"}\n',
            r"row 1: column `question` is missing; there are: id, text, answer",
        ),
        ('{"id": "a", "question": "q", "answer": "1"}\n' * 2, r"row 2: id 'a' was used in row 1"),
        ("[1, 2]\n", r"row 1: a list where an object is needed"),
        ("", r"no rows"),
    ],
)
def test_bad_input_names_file_row_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load_problems(str(path))
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_bad_rows_can_be_skipped_into_a_rejects_file(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text('{"id": "a", "question": "q", "answer": "1"}\nnot json\n{"id": "c", "text": "q"}\n')
    rejects = tmp_path / "rejects.jsonl"
    assert [p.id for p in load_problems(str(path), skip_bad_rows=rejects)] == ["a"]
    rows = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [row["row"] for row in rows] == [2, 3] and "broken JSON" in rows[0]["reason"]


def test_missing_and_strange_files(tmp_path: Path) -> None:
    for name, message in (("nothing.jsonl", "no such file"), ("notes.docx", "unknown kind of file")):
        if name == "notes.docx":
            (tmp_path / name).write_text("x")
        with pytest.raises(InputError, match=message):
            load_problems(str(tmp_path / name))
    with pytest.raises(InputError, match=r"no problems\.jsonl in this folder"):
        load_problems(str(tmp_path))


def test_a_traces_file_serves_as_problems_with_solutions(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_text(
        '{"id": "a", "problem": "What is 1 + 1?", "solution": "2.", "answer": "2"}\n'
    )
    (problem,) = load_problems(str(tmp_path / "traces.jsonl"))
    assert (problem.question, problem.answer, problem.extra) == ("What is 1 + 1?", "2", {"solution": "2."})


def test_a_solution_ends_in_its_answer_once() -> None:
    assert with_answer("48 / 2 = 24. ", "24") == "48 / 2 = 24.\nThe answer is \\boxed{24}."
    assert with_answer("So \\boxed{24}.", "24") == "So \\boxed{24}."
    assert with_answer("Nobody knows.", None) == "Nobody knows."
