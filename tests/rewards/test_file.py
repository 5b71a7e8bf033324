import json
import os
import stat
import subprocess
import sys
import threading

import pytest

from rarft.core.errors import InputError
from rarft.core.files import open_output
from rarft.rewards import check_reward
from rarft.rewards.file import verify_file

ROWS = [
    {"gold": "1/2", "answer": r"so \boxed{0.5}", "id": "a"},
    {"gold": "1/2", "answer": "0.5", "id": "b"},
    {"gold": 7, "answer": 7},
    {"gold": 0.5, "answer": 1e-1},
    {"gold": "100000000000000000000000", "answer": 1e23},
    {"gold": "7", "answer": r"\frac{1}{2}"},
    {"gold": "7", "answer": ""},
    {"gold": "7", "answer": "several lines\nwithout an answer, 7"},
    {"gold": "7", "answer": "7 or 8"},
    {"gold": r"\sqrt{2}", "answer": "9^{9^{9^{9}}}"},
    {"gold": "7", "answer": "\ufffd 7"},
    {"gold": "7", "answer": "1} {7"},
    {"gold": "7", "answer": r"\boxed{7"},
]
REASONS = [
    "correct",
    "correct",
    "correct",
    "wrong",
    "correct",
    "wrong",
    "no_answer",
    "no_answer",
    "wrong",
    "timeout",
    "wrong",
    "wrong",
]


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
        ('{"gold": NaN, "answer": "1"}\n', "row 1: column `gold` holds nan; give it text or a number"),
        ('{"gold": "1", "answer": -Infinity}\n', "row 1: column `answer` holds -inf"),
        ('{"gold": "1", "answer": ["1"]}\n', "row 1: column `answer` holds a list"),
        ('{"gold": {"a": 1}, "answer": "1"}\n', "row 1: column `gold` holds a dict"),
        ('{"gold": true, "answer": "1"}\n', "row 1: column `gold` holds True"),
        ("7\n", "row 1: .* where an object is needed"),
        ("[1]\n", "row 1: .* where an object is needed"),
        ("NaN\n", "row 1: .* where an object is needed"),
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
    for output in (tmp_path / "no" / "out.jsonl", tmp_path, tmp_path / "in.jsonl" / "out.jsonl", ""):
        with pytest.raises(InputError, match="choose another --output"):
            verify_file(path, str(output))
    with pytest.raises(InputError, match="no such file"):
        verify_file(str(tmp_path / "none.jsonl"), None)


def test_a_reward_that_is_not_there_is_refused_before_any_work():
    for call in (check_reward, lambda name: verify_file("no such file", None, reward=name)):
        with pytest.raises(InputError, match=r"--reward maths: .*math, reasoning-gym, .*module:Class"):
            call("maths")
    for name in ("no_such_module:Class", "json:Class", "json:JSONDecoder", ":", "math:", "os.path:join"):
        with pytest.raises(InputError, match=name):
            check_reward(name)
    with pytest.raises(InputError, match="--verifier typo"):
        check_reward("typo", "--verifier")
    for name in ("math", "odd_rewards:NoStart"):  # its warm_up fails, so no worker was asked
        check_reward(name)


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "rarft.cli", "verify", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        **options,
    )


def test_what_is_no_regular_file_is_written_through(tmp_path):
    path, pipe, link = write(tmp_path / "in.jsonl", ROWS[:2]), tmp_path / "pipe", tmp_path / "null"
    os.mkfifo(pipe)
    link.symlink_to("/dev/null")
    read = []
    reader = threading.Thread(target=lambda: read.extend(pipe.read_text().splitlines()))
    reader.start()
    for output in (pipe, link, "/dev/null"):
        verify_file(path, str(output))
    reader.join()
    assert [json.loads(line)["reason"] for line in read] == ["correct", "correct"]
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode) and link.is_symlink() and pipe.is_fifo()
    assert {p.name for p in tmp_path.iterdir()} == {"in.jsonl", "pipe", "null"}


def test_a_link_stays_and_its_file_is_replaced_whole(tmp_path):
    (tmp_path / "there").mkdir()
    file, link, dangling = tmp_path / "there" / "out.jsonl", tmp_path / "link", tmp_path / "dangling"
    file.write_text("old\n")
    file.chmod(0o600)
    link.symlink_to(file)
    dangling.symlink_to("there/new.jsonl")
    for output in (link, dangling):
        verify_file(write(tmp_path / "in.jsonl", ROWS[:2]), str(output))
        assert output.is_symlink() and len(output.read_text().splitlines()) == 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(RuntimeError), open_output(link) as out:
        out.write("half")
        raise RuntimeError
    assert len(file.read_text().splitlines()) == 2
    assert sorted(p.name for p in (tmp_path / "there").iterdir()) == ["new.jsonl", "out.jsonl"]


def test_the_file_read_may_be_the_file_written(tmp_path):
    path = write(tmp_path / "in.jsonl", ROWS)
    verify_file(path, path)
    assert [json.loads(line)["reason"] for line in (tmp_path / "in.jsonl").read_text().splitlines()][:3] == REASONS[:3]


def test_closed_output_ends_the_command_quietly(tmp_path):
    path = write(tmp_path / "in.jsonl", ROWS[:1] * 20_000)
    read, pipe = os.pipe()
    os.close(read)
    with os.fdopen(pipe) as gone:
        done = command(path, stdout=gone)
    assert (done.returncode, done.stderr) == (0, "")
    done = command(path, preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, "")
    with open("/dev/full", "w") as full:
        done = command(path, stdout=full)
    assert done.returncode == 1 and done.stderr.count("\n") == 1


def test_bad_rows_end_the_command_with_one_line_and_code_2(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"gold": NaN, "answer": "1"}\n')
    done = command(str(path), stdout=subprocess.DEVNULL)
    assert (
        done.returncode == 2
        and done.stderr == f"rarft: {path}, row 1: column `gold` holds nan; give it text or a number\n"
    )
