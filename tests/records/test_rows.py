"""Tables from anywhere: whatever is wrong with a file or a cell is one line, and nothing becomes data by accident."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rarft.core.errors import InputError
from rarft.records import rows as tables
from rarft.records.problems import load_problems, load_traces
from rarft.records.rows import BadRow, TableWriter, as_line, plain_row, read_rows, scan_rows, write_jsonl

GOOD = '{"id": "a", "question": "q", "answer": "1"}\n'


def complaint(path: Path | str) -> str:
    with pytest.raises(InputError) as error:
        load_problems(str(path))
    text = str(error.value)
    assert text.startswith(str(path)) and len(text.splitlines()) == 1, text
    return text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + '{"id": "b", "question": "\\ud800"}', "row 2: half of a surrogate pair"),
        (GOOD + '{"id": "b", "question": "q", "more": [{"\\uDC00": 1}]}', "row 2: half of a surrogate pair"),
        (GOOD + '{"id": "b", "question": ' + "[" * 100_000 + "]" * 100_000 + "}", "row 2: nested more than 64 deep"),
        (GOOD + '{"id": "b", "question": "q", "x": ' + "[" * 70 + "]" * 70 + "}", "row 2: nested more than 64 deep"),
        (GOOD + '{"id": "b", "question": "q", "id": "c"}', "row 2: key 'id' twice"),
        (GOOD + '{"id": "b", "question": "q", "answer": ' + "9" * 5000 + "}", "row 2: an integer of more than 4300"),
        (GOOD + '{"id": "b", "question": ["q"]}', "row 2: column `question` holds a list; give text"),
        (GOOD + '{"id": "b", "question": {"a": "q"}}', "row 2: column `question` holds an object; give text"),
        (GOOD + '{"id": NaN, "question": "q"}', "row 2: column `id` holds nan"),
        (GOOD + '{"id": "b", "question": "q", "answer": -Infinity}', "row 2: column `answer` holds -inf"),
        (GOOD + '{"id": "b", "question": "q", "answer": 1e999}', "row 2: column `answer` holds inf"),
        (GOOD + '{"id": "b", "question": "q", "answer": true}', "row 2: column `answer` holds True"),
        (GOOD + '{"id": "b", "question": "q", "kind": []}', "row 2: column `kind` holds a list"),
        (GOOD + "null", "row 2: nothing where an object is needed"),
        (json.dumps([json.loads(GOOD)]), "row 1: a list where an object is needed; write one object a line"),
        ("{\n", "row 1: broken JSON"),
        (
            '{"id": "a", "questoin": "q"}',
            "row 1: column `question` is missing; did you mean `questoin`?",
        ),
        ('{"id": "a", "line\\nbreak": "q"}', "column `question` is missing; there are: id, line break"),
        ("\n\n", "no rows"),
    ],
)
def test_a_bad_jsonl_row_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(text)
    assert message in complaint(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"id,question,answer\na,caf\xe9,1\n", "row 1: not UTF-8; save the file as UTF-8"),
        (b"id,qu\xe9stion\na,b\n", "head: not UTF-8"),
        (b"id,question,answer\na,q,1\nb,q\n", "row 2: 2 fields where the head has 3"),
        (b"id,question,answer\na,q,1,2\n", "row 1: 4 fields where the head has 3"),
        (b"id,question,id\na,q,1\n", "head: column 'id' twice"),
        (b'id,question\na,"q\nb,r\n', "row 1: broken CSV"),
        (b'id,question\na,"q"x\n', "row 1: broken CSV"),
        (b"", "no rows"),
        (b"id,question\n", "no rows"),
    ],
)
def test_a_bad_csv_row_is_one_line(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(text)
    assert message in complaint(path)


def test_latin_1_is_told_by_its_row(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(GOOD.encode() + '{"id": "b", "question": "café"}'.encode("latin-1"))
    assert "row 2: not UTF-8 (" in complaint(path) and "save the file as UTF-8" in complaint(path)
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_problems(str(path))[0].id == "a"


@pytest.mark.parametrize(
    "value", [datetime(2024, 1, 2, 3, 4), date(2024, 1, 2), Decimal("1.50"), b"bytes", timedelta(1), [1], {"a": 1}]
)
def test_parquet_types_are_no_text_but_go_with_a_problem(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"id": ["a"], "question": [value]}), path)
    assert "row 1: column `question` holds a" in complaint(path) or "holds bytes" in complaint(path)
    pq.write_table(pa.table({"id": ["a"], "question": ["q"], "more": [value], "deep": [[value]]}), path)
    (problem,) = load_problems(str(path))
    write_jsonl(tmp_path / "again.jsonl", [problem])
    assert load_problems(str(tmp_path / "again.jsonl"))[0].extra == problem.extra
    assert ("more" in problem.extra) == (value != b"bytes")


def test_cells_as_json_has_them() -> None:
    row = {
        "when": datetime(2024, 1, 2, 3, 4), "price": Decimal("1.50"), "nan": float("nan"),
        "image": {"bytes": b"x", "path": "p"}, "pairs": [("a", 1), (b"b", 2)], 3: object(), "n": 1, "yes": True,
    }  # fmt: skip
    assert plain_row(row) == {
        "when": "2024-01-02T03:04:00", "price": "1.50", "nan": None, "image": {"path": "p"},
        "pairs": [["a", 1], [2]], "n": 1, "yes": True,
    }  # fmt: skip


def test_a_damaged_parquet_file_is_one_line(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.parquet", tmp_path / "p.parquet"
    text = [f"question {i} " + os.urandom(40).hex() for i in range(2000)]
    table = pa.table({"id": [str(i) for i in range(2000)], "question": text})
    pq.write_table(table, whole, compression="snappy", row_group_size=500, use_dictionary=False)
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(data)
    assert "cannot be read" in complaint(path)
    for start in (data[:middle], b"", b"PAR1", b"not parquet at all"):
        path.write_bytes(start)
        assert "not a Parquet file" in complaint(path)
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["id", "id"]), path)
    assert "column 'id' twice" in complaint(path)


def test_what_is_no_file_of_rows_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    assert "a pipe or device" in complaint(tmp_path / "pipe.jsonl")
    assert "no problems.jsonl in this folder" in complaint(tmp_path / "folder.jsonl")
    assert "unknown kind of file" in complaint(tmp_path / "notes.txt")
    assert "no such file" in complaint(tmp_path / "nothing.jsonl")
    assert "no such file" in complaint(tmp_path / "nothing")
    assert "too long" in complaint(tmp_path / ("x" * 300 + ".jsonl"))
    with pytest.raises(InputError, match="a folder; name a file in it"):
        list(read_rows(str(tmp_path)))


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/usr/bin/setpriv").exists(), reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    """In a process of its own, as root reads whatever it likes."""
    for name in ("p.jsonl", "p.csv", "p.parquet"):
        (tmp_path / name).write_text(GOOD)
        (tmp_path / name).chmod(0)
    tmp_path.chmod(0o755)
    code = (
        "import os, sys\n"
        "from rarft.records.problems import load_problems\n"
        "from rarft.core.errors import InputError\n"
        "import pyarrow.parquet\n"
        "if os.geteuid() == 0: os.setresuid(65534, 65534, 65534)\n"
        "for name in sys.argv[1:]:\n"
        "    try: load_problems(name)\n"
        "    except InputError as error: print(error)\n"
    )
    base = Path(*tmp_path.parts[:3])
    closed = [folder for folder in (tmp_path, *tmp_path.parents) if folder.is_relative_to(base)]
    modes = {folder: folder.stat().st_mode for folder in closed}
    try:
        for folder in closed:
            folder.chmod(0o755)
        names = [str(tmp_path / name) for name in ("p.jsonl", "p.csv", "p.parquet")]
        said = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True)
    finally:
        for folder, mode in modes.items():
            folder.chmod(mode)
    assert said.stdout.count("cannot be read (Permission denied)") == 3, said


def test_one_endless_line_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_BYTES", 1 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, start in (("p.jsonl", b'{"id": "'), ("p.csv", b'id,question\na,"')):
        path = tmp_path / name
        with path.open("wb") as file:
            file.write(start)
            file.truncate(1 << 29)  # sparse: half a gigabyte of zeros
        assert "more than 1 MiB in one" in complaint(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10
    path = tmp_path / "q.jsonl"
    path.write_bytes(GOOD.encode() + b"x" * (5 << 20) + b"\n" + GOOD.replace('"a"', '"b"').encode())
    rows = dict(scan_rows(str(path)))
    assert isinstance(rows[2], BadRow) and rows[1]["id"] == "a" and rows[3]["id"] == "b"  # type: ignore[call-overload]


def test_bad_rows_do_not_hide_the_good_ones(tmp_path: Path) -> None:
    path, rejects = tmp_path / "p.csv", tmp_path / "rejects.jsonl"
    path.write_bytes(b'id,question\na,q\nb\nc,"r"x\nd,caf\xe9\ne,"one, two"\n')
    assert [p.id for p in load_problems(str(path), skip_bad_rows=rejects)] == ["a", "e"]
    assert [json.loads(line)["row"] for line in rejects.read_text().splitlines()] == [2, 3, 4]


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert write_jsonl(path, [{"a": "\ud800"}, {"b": "é"}]) == 2
    assert path.read_text() == '{"a": "?"}\n{"b": "é"}\n' and as_line({"b": "é"}) == '{"b": "é"}\n'

    def broken() -> Any:
        yield {"a": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(path, broken())
    with pytest.raises(KeyboardInterrupt), TableWriter[tuple[str]](tmp_path / "t.parquet", {"a": pa.string()}) as out:
        out.write(("x",))
        raise KeyboardInterrupt
    assert path.read_text().count("\n") == 2 and [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
COLUMNS = st.sampled_from(["id", "question", "problem", "solution", "answer", "kind", "source", "more"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(COLUMNS, JSON, max_size=6) | JSON, min_size=1, max_size=3))
def test_any_json_row_is_read_or_told_in_one_line(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for load in (load_problems, load_traces):
        try:
            found = load(str(folder / "p.jsonl"))
        except InputError as error:
            assert len(str(error).splitlines()) == 1
            continue
        write_jsonl(folder / "again.jsonl", found)  # type: ignore[arg-type]
        assert load(str(folder / "again.jsonl")) == found


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([".jsonl", ".csv", ".parquet"]))
def test_any_bytes_are_read_or_told_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / f"p{suffix}"
    path.write_bytes(data)
    try:
        load_problems(str(path))
    except InputError as error:
        assert len(str(error).splitlines()) == 1
