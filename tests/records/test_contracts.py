"""Labels, analogies and rollouts: written and read back, from any format, and strict in the same way."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rarft.core.errors import InputError
from rarft.records.analogies import Analogy, read_analogies, read_ranked, write_analogies
from rarft.records.labels import Label, LabelWriter, read_labels
from rarft.records.problems import Trace
from rarft.records.rollouts import Rewarded, Rollout, read_rewards, read_rollouts, write_rollouts

LABELS = [
    Label("p", "t", True, 0.5, "judge", "same trick"),
    Label("p", "u", False, -1.0, "judge", ""),
    Label("q", "t", True, 2.0, "oracle", "é"),
]
ANALOGIES = [Analogy("p", 2, "u", 0.25), Analogy("p", 1, "t", 0.5), Analogy("q", 1, "u", -3.0)]
ROLLOUTS = [
    Rollout("b", "p", 0, 0, ["t", "u"], "so \\boxed{4}", "4", 1.0, "correct", 9, False, 7, 3, 1),
    Rollout("b", "p", 0, 1, [], "", None, 0.0, "no_answer", 0, True, 7, 3, 1),
]


def written(folder: Path, suffix: str, rows: list[dict[str, Any]]) -> str:
    path = folder / f"rows{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            out = csv.DictWriter(file, list(rows[0]))
            out.writeheader()
            out.writerows(rows)
    return str(path)


def look_up(path: str) -> dict[str, list[Trace]]:
    return read_analogies(path, {key: Trace(key, "p", "s") for key in ("t", "u")}, "corpus.jsonl")


def write_labels(path: Path, labels: list[Label]) -> None:
    with LabelWriter(path) as out:
        for label in labels:
            out.write(label)
    assert out.n_relevant == sum(label.relevant for label in labels)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_every_format_reads_the_same(tmp_path: Path, suffix: str) -> None:
    assert list(read_labels(written(tmp_path, suffix, [label._asdict() for label in LABELS]))) == LABELS
    ranked = read_ranked(written(tmp_path, suffix, [row._asdict() for row in ANALOGIES]))
    assert ranked == {"p": ["t", "u"], "q": ["u"]}
    assert {
        key: [trace.id for trace in traces] for key, traces in look_up(str(tmp_path / f"rows{suffix}")).items()
    } == ranked


def test_what_is_written_is_read_back_also_by_the_folder(tmp_path: Path) -> None:
    write_labels(tmp_path / "labels.parquet", LABELS)
    assert write_analogies(tmp_path / "analogies.parquet", ANALOGIES) == 3
    assert write_rollouts(tmp_path / "rollouts.parquet", ROLLOUTS, training=True) == 2
    assert list(read_labels(str(tmp_path))) == LABELS
    assert read_ranked(str(tmp_path)) == {"p": ["t", "u"], "q": ["u"]}
    assert read_rollouts(tmp_path) == read_rollouts(tmp_path / "rollouts.parquet") == ROLLOUTS
    rewards = [Rewarded(r.benchmark, r.problem_id, r.trace_ids, r.reward, r.step) for r in ROLLOUTS]
    assert list(read_rewards(tmp_path)) == rewards
    (tmp_path / "rollouts.parquet").unlink()
    (tmp_path / "rollouts.jsonl").write_text("".join(json.dumps(row.__dict__) + "\n" for row in ROLLOUTS))
    assert read_rollouts(tmp_path) == ROLLOUTS


def test_what_a_model_wrote_can_be_written(tmp_path: Path) -> None:
    """Half of a surrogate pair in an answer that was paid for must not end the run."""
    write_labels(tmp_path / "labels.parquet", [LABELS[0]._replace(rationale="so \ud83d")])
    assert next(read_labels(str(tmp_path))).rationale == "so ?"


def test_the_columns_are_those_of_the_contract(tmp_path: Path) -> None:
    write_labels(tmp_path / "labels.parquet", [])
    write_analogies(tmp_path / "analogies.parquet", [])
    write_rollouts(tmp_path / "rollouts.parquet", [])
    write_rollouts(tmp_path / "training.parquet", ROLLOUTS, training=True)
    found = {path.stem: pq.read_schema(path) for path in tmp_path.iterdir()}
    assert str(found["labels"].remove_metadata()).split("\n") == [
        "problem_id: string", "trace_id: string", "relevant: bool", "score: double", "labeler: string",
        "rationale: string",
    ]  # fmt: skip
    assert found["analogies"].types == [pa.string(), pa.int32(), pa.string(), pa.float64()]
    assert found["analogies"].names == ["problem_id", "rank", "trace_id", "score"]
    assert set(found["training"].names) - set(found["rollouts"].names) == {"step", "visit"}
    assert {"problem_id", "sample", "trace_ids", "completion", "answer", "reward"} <= set(found["rollouts"].names)
    assert read_rollouts(tmp_path) == [] and read_ranked(str(tmp_path)) == {} and not list(read_labels(str(tmp_path)))


def test_files_from_elsewhere_need_the_contract_alone(tmp_path: Path) -> None:
    rows = [{"problem_id": 1, "trace_id": 2, "relevant": said} for said in ("true", "False", "yes", 0)]
    file = written(tmp_path, ".jsonl", rows)
    assert [(label.relevant, label.score) for label in read_labels(file)] == [
        (True, 1),
        (False, 0),
        (True, 1),
        (False, 0),
    ]
    assert next(read_labels(file))[:2] == ("1", "2")
    assert read_ranked(written(tmp_path, ".csv", [{"problem_id": 1, "rank": 1, "trace_id": 2}])) == {"1": ["2"]}
    row = {"problem_id": "p", "sample": 0, "trace_ids": ["t"], "completion": "x", "answer": None, "reward": 1}
    (found,) = read_rollouts(written(tmp_path, ".jsonl", [row]))
    assert found == Rollout("problems", "p", 0, 0, ["t"], "x", None, 1.0, "", 0, False)
    assert list(read_rewards(tmp_path / "rows.jsonl")) == [Rewarded("problems", "p", ["t"], 1.0, None)]


@pytest.mark.parametrize(
    ("read", "change", "message"),
    [
        (read_labels, {"problem_id": ""}, "column `problem_id` is empty"),
        (read_labels, {"trace_id": None}, "column `trace_id` is empty"),
        (read_labels, {"trace_id": ["t"]}, "column `trace_id` holds a list"),
        (read_labels, {"relevant": "maybe"}, "column `relevant` holds 'maybe'; write true or false"),
        (read_labels, {"relevant": 2}, "column `relevant` holds 2; write true or false"),
        (read_labels, {"relevant": None}, "column `relevant` is empty"),
        (read_labels, {"score": None}, "column `score` is empty"),
        (read_labels, {"score": float("nan")}, "column `score` holds nan; give a finite number"),
        (read_labels, {"score": "high"}, "column `score` holds 'high'; give a finite number"),
        (read_labels, {"score": True}, "column `score` holds True; give a finite number"),
        (read_labels, {"trace_id": "v"}, "trace 'v' is not among the traces given"),
        (read_ranked, {"problem_id": " "}, "column `problem_id` is empty"),
        (read_ranked, {"rank": 0}, "column `rank` holds 0; give a whole number, 1 or more"),
        (read_ranked, {"rank": 1.5}, "column `rank` holds 1.5; give a whole number"),
        (read_ranked, {"rank": 10**40}, "give a whole number"),
        (read_ranked, {"score": float("inf")}, "column `score` holds inf"),
        (look_up, {"trace_id": "v"}, "trace 'v' is not in corpus.jsonl; give the corpus that was searched"),
        (read_rollouts, {"sample": -1}, "column `sample` holds -1; give a whole number, 0 or more"),
        (read_rollouts, {"trace_ids": "t"}, "column `trace_ids` holds 't'; give a list of texts"),
        (read_rollouts, {"trace_ids": [1]}, "column `trace_ids` holds a list; give a list of texts"),
        (read_rollouts, {"completion": None}, "column `completion` is empty"),
        (read_rollouts, {"completion": 7.5, "reward": None}, "column `reward` is empty"),
        (read_rollouts, {"truncated": "cut"}, "column `truncated` holds 'cut'"),
    ],
)
def test_a_bad_row_names_file_row_and_remedy(tmp_path: Path, read: Any, change: dict[str, Any], message: str) -> None:
    good = {read_labels: LABELS[0], read_rollouts: ROLLOUTS[0]}.get(read, ANALOGIES[0])
    row = good._asdict() if isinstance(good, tuple) else dict(good.__dict__)
    file = written(tmp_path, ".jsonl", [row, row | {"rank": 1} | change])
    with pytest.raises(InputError) as error:
        list(read(file, {"t", "u"}) if read is read_labels else read(file))
    assert str(error.value).startswith(f"{file}, row 2: ") and message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("read", "needed"),
    [
        (read_labels, ("problem_id", "trace_id", "relevant")),
        (read_ranked, ("problem_id", "rank", "trace_id")),
        (read_rollouts, ("problem_id", "sample", "trace_ids", "completion", "answer", "reward")),
        (read_rewards, ("problem_id", "trace_ids", "reward")),
    ],
)
def test_a_missing_column_or_file_is_told(tmp_path: Path, read: Any, needed: tuple[str, ...]) -> None:
    good = {read_labels: LABELS[0], read_ranked: ANALOGIES[0], read_rollouts: ROLLOUTS[0], read_rewards: ROLLOUTS[0]}[
        read
    ]
    row = good._asdict() if isinstance(good, tuple) else dict(good.__dict__)
    for suffix in (".jsonl", ".parquet"):
        for column in needed:
            with pytest.raises(InputError, match=rf"row 1: column `{column}`"):
                list(read(written(tmp_path, suffix, [{k: v for k, v in row.items() if k != column}])))
    with pytest.raises(InputError, match="no such file or folder"):
        list(read(str(tmp_path / "nothing")))
    with pytest.raises(InputError, match="in this folder; name the file"):
        list(read(str(tmp_path)))


def test_a_rank_is_given_once(tmp_path: Path) -> None:
    file = written(tmp_path, ".jsonl", [ANALOGIES[0]._asdict(), ANALOGIES[0]._asdict() | {"trace_id": "t"}])
    with pytest.raises(InputError, match=r"row 2: problem 'p' has a second trace of rank 2; give each its own"):
        read_ranked(file)
