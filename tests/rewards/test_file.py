import json
import subprocess
import sys

import pytest

from rarft.core.errors import InputError
from rarft.rewards.file import verify_file

ROWS = [
    {"gold": "1/2", "answer": r"so \boxed{0.5}", "id": "a"},
    {"gold": "1/2", "answer": "0.5", "id": "b"},
    {"gold": 7, "answer": 7},
    {"gold": "7", "answer": r"\frac{1}{2}"},
    {"gold": "7", "answer": ""},
    {"gold": "7", "answer": "several lines\nwithout an answer, 7"},
    {"gold": "7", "answer": "7 or 8"},
    {"gold": r"\sqrt{2}", "answer": "9^{9^{9^{9}}}"},
    {"gold": "7", "answer": "\ud800 7"},
    {"gold": "7", "answer": "1} {7"},
    {"gold": "7", "answer": r"\boxed{7"},
]
REASONS = ["correct", "correct", "correct", "wrong", "no_answer", "no_answer", "wrong", "timeout", "wrong", "wrong"]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_rows_come_out_in_order_with_reward_and_reason(tmp_path):
    output = tmp_path / "out.jsonl"
    verify_file(write(tmp_path / "in.jsonl", ROWS), str(output))
    scored = [json.loads(line) for line in output.read_text().splitlines()]
    assert [{k: v for k, v in row.items() if k not in ("reward", "reason")} for row in scored] == ROWS
    assert [row["reason"] for row in scored] == [*REASONS, "no_answer"]
    assert [row["reward"] for row in scored] == [float(reason == "correct") for reason in [*REASONS, "no_answer"]]
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_command_writes_to_standard_output(tmp_path):
    path = write(tmp_path / "in.jsonl", ROWS[:2])
    command = [sys.executable, "-m", "rarft.cli", "verify", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert [json.loads(line)["reason"] for line in done.stdout.splitlines()] == ["correct", "correct"]
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"gold": "1"}\n', "row 1: column `answer` is missing"),
        ('{"gold": "1", "answer": "1"}\n{"answer": "1"}\n', "row 2: column `gold` is missing"),
        ('{"gold": " ", "answer": "1"}\n', "row 1: column `gold` is empty"),
        ("nonsense\n", "row 1: broken JSON"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written(tmp_path, text, message):
    path, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        verify_file(str(path), str(output))
    assert "in.jsonl" in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl"]


def test_bad_options_are_refused(tmp_path):
    path = write(tmp_path / "in.jsonl", ROWS[:1])
    with pytest.raises(InputError, match="--reward maths"):
        verify_file(path, None, reward="maths")
    with pytest.raises(InputError, match="--timeout"):
        verify_file(path, None, timeout=0)
    with pytest.raises(InputError, match="choose another --output"):
        verify_file(path, str(tmp_path / "no" / "out.jsonl"))
    with pytest.raises(InputError, match="no such file"):
        verify_file(str(tmp_path / "none.jsonl"), None)
