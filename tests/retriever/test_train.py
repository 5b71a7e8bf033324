"""Training: it learns, splits cleanly, goes on after a kill, and starts from checkpoints of other libraries."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rarft.core.artifacts import read_manifest
from rarft.core.checkpoints import last_checkpoint
from rarft.core.errors import InputError
from rarft.records.problems import Problem, Trace, load_problems, load_traces
from rarft.records.same_problem import near_duplicate_groups
from rarft.retriever import TrainRetrieverConfig, train_retriever, trainer
from rarft.retriever.encoder import fingerprint, load_encoder, read_settings
from rarft.retriever.labels import Labels, Relations, read_labels
from rarft.retriever.maxsim import scores, top_traces
from rarft.retriever.train import Collator, draw, split, unit_scores
from rarft.retriever.trainer import HeldOutRecall
from tests.retriever.conftest import PROBLEM_WORDS, STRUCTURES, SURFACES, TRACE_WORDS


def config(toy: dict[str, str], **changes: object) -> TrainRetrieverConfig:
    values: dict[str, object] = {
        "problems": toy["problems"],
        "traces": toy["traces"],
        "labels": toy["labels"],
        "base_model": toy["model"],
        "part": "solution",
        "learning_rate": 3e-3,
        "batch_size": 16,
        "epochs": 15,
        "held_out": 0.2,
        "patience": 0,
    }
    return TrainRetrieverConfig.model_validate(values | changes)


def recall(folder: Path | str, toy: dict[str, str], **kind: str) -> float:
    """R@1 on problems that training never saw."""
    rng = np.random.default_rng(9)
    encoder = load_encoder(str(folder), **kind)
    questions = [
        " ".join([*rng.choice(SURFACES, 5), PROBLEM_WORDS[s], *rng.choice(SURFACES, 3)]) for s in STRUCTURES * 5
    ]
    traces = load_traces(toy["traces"])
    best, _ = top_traces(encoder.encode_problems(questions), [encoder.encode_traces(traces)], 1)
    found = [TRACE_WORDS[s] in traces[i].solution for s, i in zip(STRUCTURES * 5, best[:, 0], strict=True)]
    return float(np.mean(found))


@pytest.mark.parametrize("kind", ["multi-vector", "single-vector"])
def test_learns_what_the_labels_say(kind: str, toy: dict[str, str], tmp_path: Path) -> None:
    before = recall(toy["model"], toy, type=kind)
    folder = train_retriever(config(toy, type=kind, epochs=25), tmp_path / "out")
    results = read_manifest(folder)["results"]
    assert recall(folder, toy) >= 0.9 > 0.5 > before
    assert results["held_out_r@1"] >= 0.9 > results["held_out_r@1_before"]
    assert results["n_held_out_problems"] == 14
    settings = read_settings(folder)
    assert settings is not None and settings.type == kind
    problems = load_problems(toy["problems"])
    held = json.loads((folder / "held_out.json").read_text())
    trained = {p.id for p in problems if fingerprint(p.question) in settings.trained_on}
    assert not trained & set(held) and len(trained) == len(problems) - 14
    assert not (folder / "scratch").exists()


def test_graded_scores_train_by_kl(toy: dict[str, str], tmp_path: Path) -> None:
    rows = [json.loads(line) for line in Path(toy["labels"]).read_text().splitlines()]
    rng = np.random.default_rng(0)
    for row in rows:
        row["score"] = -2 + 1.5 * row["score"] + 0.1 * rng.standard_normal()
    labels = tmp_path / "graded.jsonl"
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = train_retriever(config(toy, labels=str(labels), negatives=5, epochs=25), tmp_path / "out")
    assert read_manifest(folder)["results"]["loss"] == "kl"
    assert recall(folder, toy) >= 0.7 > 0.5 > recall(toy["model"], toy)


def test_same_seed_same_weights(toy: dict[str, str], tmp_path: Path) -> None:
    found = [
        train_retriever(config(toy, epochs=2, seed=seed), tmp_path / f"out{i}") / "model.safetensors"
        for i, seed in enumerate([1, 1, 2])
    ]
    first, second, third = (path.read_bytes() for path in found)
    assert first == second != third


def files(folder: Path) -> dict[str, bytes]:
    """All but what holds times."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {name: content for name, content in found.items() if name not in ("manifest.json", "log.jsonl")}


def test_tokens_are_those_of_the_texts(toy: dict[str, str], tmp_path: Path) -> None:
    folder = train_retriever(config(toy, epochs=1, batch_size=1, held_out=0, mini_batch_size=0), tmp_path / "out")
    tokenizer = load_encoder(toy["model"]).model.tokenizer
    problems, traces = load_problems(toy["problems"]), load_traces(toy["traces"])
    rows = draw(read_labels(toy["labels"], problems, traces), np.arange(72), config(toy, epochs=1), use_kl=False)
    texts = [problems[row["problem"]].question for row in rows]
    texts += [traces[i].solution for row in rows for i in row["traces"]]
    assert read_manifest(folder)["ledger"]["tokens_in"] == sum(map(len, tokenizer(texts)["input_ids"]))


def test_early_stopping_counts_on_after_an_interruption(
    toy: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: list[tuple[float, float] | None] = [(0.5, 0.0), (0.6, 0.0), (0.4, 0.0), None, (0.4, 0.0), (0.9, 0.0)]

    def scripted(self: HeldOutRecall) -> tuple[float, float]:
        value = values.pop(0)
        if value is None:
            raise KeyboardInterrupt
        return value

    monkeypatch.setattr(HeldOutRecall, "measure", scripted)
    with pytest.raises(KeyboardInterrupt):
        train_retriever(config(toy, patience=2), tmp_path / "out")
    results = read_manifest(train_retriever(config(toy, patience=2), tmp_path / "out"))["results"]
    per_epoch = -(-results["n_train_problems"] // 16)
    assert (results["best_step"], results["steps"], results["held_out_r@1"]) == (per_epoch, 3 * per_epoch, 0.6)


@pytest.mark.parametrize("first", [0.6, 0.3])
def test_a_run_that_had_stopped_early_trains_no_further(
    first: float, toy: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after its last checkpoint. With the second value the untuned encoder is kept."""

    def measured(*values: float) -> None:
        left = iter(values)
        monkeypatch.setattr(HeldOutRecall, "measure", lambda self: (next(left), 0.0))

    def killed(*args: object) -> int:
        raise KeyboardInterrupt

    measured(0.5, first, 0.4, 0.4, 0.9, 0.9)
    whole = train_retriever(config(toy, patience=2), tmp_path / "whole")
    count = Collator.count_tokens
    monkeypatch.setattr(Collator, "count_tokens", killed)
    measured(0.5, first, 0.4, 0.4)
    with pytest.raises(KeyboardInterrupt):
        train_retriever(config(toy, patience=2), tmp_path / "broken")
    monkeypatch.setattr(Collator, "count_tokens", count)
    measured(0.9, 0.9)
    folder = train_retriever(config(toy, patience=2), tmp_path / "broken")
    assert files(folder) == files(whole)
    a, b = read_manifest(folder), read_manifest(whole)
    assert a["results"] == b["results"] and a["ledger"]["tokens_in"] == b["ledger"]["tokens_in"]
    assert b["results"]["steps"] == {0.6: 3, 0.3: 2}[first] * -(-b["results"]["n_train_problems"] // 16)


@pytest.mark.parametrize("dim", [0, 16])
def test_the_untuned_encoder_is_kept_where_nothing_beats_it(
    dim: int, toy: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = iter([(0.5, 0.1), (0.4, 0.9), (0.5, 0.1), (0.3, 0.0)])
    monkeypatch.setattr(HeldOutRecall, "measure", lambda self: next(values))
    folder = train_retriever(config(toy, dim=dim, patience=3), tmp_path / "out")
    results = read_manifest(folder)["results"]
    assert results["kept"] == "untuned" and results["held_out_r@1"] == results["held_out_r@1_before"] == 0.5
    assert (results["held_out_r@1_trained"], results["best_step"]) == (0.5, 0)
    assert "the untuned encoder is kept" in capsys.readouterr().err
    settings = read_settings(folder)
    assert settings is not None and settings.trained_on == []  # evaluation may use all problems
    question = [load_problems(toy["problems"])[0].question]
    mine, theirs = (load_encoder(name).encode_problems(question)[0] for name in (str(folder), toy["model"]))
    assert (mine == theirs).all()


def test_a_problems_own_trace_is_neither_ranked_nor_pushed_away(toy: dict[str, str], tmp_path: Path) -> None:
    """Where the corpus holds the problems' own solutions, nobody has labelled them, and nothing is more alike."""
    traces = [json.loads(line) for line in Path(toy["traces"]).read_text().splitlines()]
    own = [{"id": f"own-{p.id}", "problem": p.question, "solution": p.question} for p in load_problems(toy["problems"])]
    both = tmp_path / "traces.jsonl"
    both.write_text("".join(json.dumps(row) + "\n" for row in traces + own))
    problems, found = load_problems(toy["problems"]), load_traces(str(both))
    labels = read_labels(toy["labels"], problems, found)
    with_own, without = (
        HeldOutRecall(load_encoder(toy["model"]), problems, rows, labels, 1000, 0).measure()
        for rows in (found, found[: len(traces)])
    )
    assert with_own[0] > 0 and len(found) > len(traces)
    assert with_own[0] <= without[0]
    same_problem = Relations(labels, problems, found).look_up(torch.arange(5), torch.arange(36, 41))[-1]
    assert (same_problem == torch.eye(5, dtype=torch.bool)).all()


@pytest.mark.parametrize("kind", ["multi-vector", "single-vector"])
def test_held_out_recall_holds_few_traces_at_a_time(
    kind: str, toy: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And measures what it would with all of them: labelled or not, and some that are blocked."""
    problems = load_problems(toy["problems"])[:30]
    traces = load_traces(toy["traces"])
    traces += [Trace(f"own-{p.id}", p.question, "take abtwo") for p in problems]
    of, among = np.divmod(np.arange(30 * 36), 36)
    of, among = np.append(of, 1), np.append(among, 37)  # also a problem's own trace, which may not be ranked
    relevant = np.append((of + among)[:-1] % 6 == 0, True)
    labels = Labels(of, among, relevant, relevant.astype(float), False)
    encoder, at_once = load_encoder(toy["model"], type=kind), []
    encode = encoder.encode_traces

    def one_by_one(chunk: list[Trace]) -> list[np.ndarray]:
        at_once.append(len(chunk))
        return [encode([trace])[0] for trace in chunk]  # padded to no other

    monkeypatch.setattr(encoder, "encode_traces", one_by_one)
    evaluator = HeldOutRecall(encoder, problems, traces, labels, 60, 0)
    whole = evaluator.measure()
    monkeypatch.setattr(trainer, "CHUNK", 7)
    assert evaluator.measure() == pytest.approx(whole, abs=1e-3)
    assert at_once == [60, *[7] * 8, 4]

    pool, questions = evaluator.traces, [problem.question for problem in problems]
    groups = np.array(near_duplicate_groups([*questions, *(trace.problem for trace in pool)]))
    blocked = groups[:30, None] == groups[30:]
    good = {(i, traces[j].id) for i, j in zip(of[relevant].tolist(), among[relevant].tolist(), strict=True)}
    judged = np.array([[(i, trace.id) in good for trace in pool] for i in range(30)])
    assert (blocked & judged).any() and (blocked & ~judged).any()
    found = scores(encoder.encode_problems(questions), one_by_one(pool))
    best = np.where(judged & ~blocked, found, -1).max(axis=1)
    other = np.where(judged | blocked, -1, found).max(axis=1)
    assert whole == pytest.approx((np.mean(best > other), np.mean(best - other)), abs=1e-3)


@pytest.mark.parametrize("kind", ["multi-vector", "single-vector"])
def test_a_linear_map_learns_and_the_encoder_stays(kind: str, toy: dict[str, str], tmp_path: Path) -> None:
    texts = [problem.question for problem in load_problems(toy["problems"])[:3]]
    base, mapped = load_encoder(toy["model"], type=kind), load_encoder(toy["model"], type=kind)
    mapped.project(mapped.width, [])  # starts at the identity
    for a, b in zip(base.encode_problems(texts), mapped.encode_problems(texts), strict=True):
        assert a == pytest.approx(b, abs=1e-2)
    folder = train_retriever(config(toy, type=kind, train="linear", learning_rate=1e-2), tmp_path / "out")
    trained = load_encoder(str(folder))
    old, new = base.model[0].state_dict(), trained.model[0].state_dict()
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert read_manifest(folder)["results"]["kept"] == "trained"
    assert recall(folder, toy, type=kind) > recall(toy["model"], toy, type=kind)


def test_a_projection_starts_at_principal_components(toy: dict[str, str]) -> None:
    traces = load_traces(toy["traces"])
    encoder, plain = load_encoder(toy["model"]), load_encoder(toy["model"])
    encoder.project(32, traces)  # as wide as the encoder: a rotation
    assert scores(encoder.encode_traces(traces), encoder.encode_traces(traces)) == pytest.approx(
        scores(plain.encode_traces(traces), plain.encode_traces(traces)), abs=1e-2
    )
    encoder.model, plain_width = load_encoder(toy["model"]).model, 32
    encoder.project(4, traces)
    vectors, axes = np.concatenate(plain.encode_traces(traces)), np.concatenate(encoder.encode_traces(traces))
    assert axes.shape[1] == 4 < plain_width
    kept = np.linalg.svd(vectors, compute_uv=False)[:4] ** 2
    weight = encoder.model[1].linear.weight.detach().numpy()
    assert ((vectors @ weight.T) ** 2).sum(0) == pytest.approx(kept, rel=1e-2)


def test_goes_on_after_an_interruption(toy: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_retriever(config(toy, epochs=6), tmp_path / "whole")
    measure, calls = HeldOutRecall.measure, []

    def breaks(self: HeldOutRecall) -> tuple[float, float]:
        calls.append(1)
        if len(calls) == 5:  # before training, then three epochs
            raise KeyboardInterrupt
        return measure(self)

    monkeypatch.setattr(HeldOutRecall, "measure", breaks)
    with pytest.raises(KeyboardInterrupt):
        train_retriever(config(toy, epochs=6), tmp_path / "broken")
    monkeypatch.setattr(HeldOutRecall, "measure", measure)
    folder = train_retriever(config(toy, epochs=6), tmp_path / "broken")
    assert files(folder) == files(whole)
    assert read_manifest(folder)["ledger"]["tokens_in"] == read_manifest(whole)["ledger"]["tokens_in"] > 0
    steps = [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


@pytest.mark.slow
def test_goes_on_after_kill_9(toy: dict[str, str], tmp_path: Path) -> None:
    code = (
        "import sys, json; from rarft.retriever import *; "
        "train_retriever(TrainRetrieverConfig(**json.loads(sys.argv[1])), sys.argv[2])"
    )
    values = config(toy, epochs=40).model_dump_json()
    whole = train_retriever(config(toy, epochs=40), tmp_path / "whole")
    process = subprocess.Popen([sys.executable, "-c", code, values, str(tmp_path / "broken")])
    checkpoints = tmp_path / ".broken.partial" / "scratch" / "checkpoints"
    while not any(checkpoints.glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "broken").exists()
    folder = train_retriever(config(toy, epochs=40), tmp_path / "broken")
    assert files(folder) == files(whole)
    assert read_manifest(folder)["ledger"]["tokens_in"] == read_manifest(whole)["ledger"]["tokens_in"]


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step, state in ((5, '{"step": 5}'), (15, '{"step": 1'), (20, "")):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-10").mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-5"


@pytest.mark.parametrize(("third", "best"), [((0.5, 0.9), 2), ((0.6, 0.0), 2), ((0.6, 0.2), 3)])
def test_stops_early_and_keeps_the_best(
    third: tuple[float, float], best: int, toy: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where R@1 is the same the larger margin is better, but training does not go on for its sake."""
    values = iter([(0.1, 0.0), (0.3, 0.5), (0.6, 0.1), third, (0.4, 1.0), (0.9, 0.0), (0.9, 0.0)])
    monkeypatch.setattr(HeldOutRecall, "measure", lambda self: next(values))
    folder = train_retriever(config(toy, patience=2), tmp_path / "out")
    results = read_manifest(folder)["results"]
    per_epoch = -(-results["n_train_problems"] // 16)
    assert results["held_out_r@1"] == 0.6 and results["held_out_r@1_before"] == 0.1
    assert (results["best_step"], results["steps"]) == (best * per_epoch, 4 * per_epoch)


def test_near_duplicates_stay_on_one_side() -> None:
    texts = [f"{a} has {n} {b} and {n + len(b)} {c}, then sells {n + len(c)} {b} at the {c} fair. What is left?"
             for a, b, c in [("Tom", "apples", "pears"), ("Ann", "toys", "pencils"), ("Eva", "coins", "stamps"),
                             ("Max", "seashells", "jars"), ("Ida", "nut", "figs")] for n in (5, 17, 40)]  # fmt: skip
    problems = [Problem(str(i), text, "1") for i, text in enumerate(texts)]
    n = len(problems)
    labels = Labels(np.arange(n), np.zeros(n, int), np.ones(n, bool), np.ones(n), False)
    for seed in range(5):
        train, held = split(problems, labels, 0.4, 100, seed)
        assert set(train) | set(held) == set(range(n)) and not set(train) & set(held)
        assert {i // 3 for i in held.tolist()} & {i // 3 for i in train.tolist()} == set()
        assert 3 <= len(held) <= 6
    assert len(split(problems, labels, 0.0, 100, 0)[1]) == 0


def test_problems_without_a_relevant_trace_are_left_out() -> None:
    words = ["apple", "bridge", "candle", "drum", "engine", "feather", "guitar", "hammer", "island", "jacket"]
    problems = [Problem(str(i), f"{word} {word}s and the {word} of {word}", "1") for i, word in enumerate(words)]
    of = np.repeat(np.arange(10), 2)
    labels = Labels(of, np.tile([0, 1], 10), of < 4, np.tile([0.1, 0.2], 10), True)
    train, held = split(problems, labels, 0.5, 100, 0)
    assert set(train) | set(held) == set(range(4)) and len(held) == 2


def test_draws_only_labelled_traces(toy: dict[str, str]) -> None:
    problems, traces = load_problems(toy["problems"]), load_traces(toy["traces"])
    labels = read_labels(toy["labels"], problems, traces)
    ids = np.arange(30)
    rows = draw(labels, ids, config(toy, positives=2, negatives=3, epochs=2), use_kl=False)
    assert sorted(row["problem"] for row in rows[:30]) == list(range(30))
    for row in rows:
        good = [trace % 6 == row["problem"] % 6 for trace in row["traces"]]
        assert good == [True] * 2 + [False] * 3
    drawn = [row["traces"][0] for row in rows if row["problem"] == 0]
    assert len(rows) == 60 and len(drawn) == 2


def test_problems_judged_with_the_same_traces_follow_each_other(toy: dict[str, str]) -> None:
    """Twelve problems, of which each third was judged with six traces of its own; then all are linked by one pair."""
    problem, at = np.repeat(np.arange(12), 6), np.tile(np.arange(6), 12)
    trace = problem % 3 * 6 + at
    labels = Labels(problem, trace, at == 0, 1.0 - at, False)

    def order(labels: Labels) -> list[list[int]]:
        rows = draw(labels, np.arange(12), config(toy, epochs=4), use_kl=False)
        return [[row["problem"] for row in rows[start : start + 12]] for start in range(0, 48, 12)]

    epochs = order(labels)
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs) and len(set(map(tuple, epochs))) == 4
    assert all(len({i % 3 for i in epoch[at : at + 4]}) == 1 for epoch in epochs for at in (0, 4, 8))
    linked = replace(labels, trace=np.where(at == 5, 17, trace))
    assert any(len({i % 3 for i in epoch[:4]}) > 1 for epoch in order(linked))


def test_unit_scores() -> None:
    labels = Labels(np.array([0, 0, 0, 1, 1]), np.arange(5), np.ones(5, bool), np.array([-4, -2, -3, 7, 7.0]), True)
    assert unit_scores(labels).tolist() == [0, 1, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("layout", ["pylate", "stanford"])
def test_continues_colbert_checkpoints(layout: str, toy: dict[str, str], tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path / layout
    shutil.copytree(toy["model"], folder)
    weight = torch.nn.init.orthogonal_(torch.empty(16, 32))
    if layout == "pylate":
        dense = folder / "1_Dense"
        dense.mkdir()
        save_file({"linear.weight": weight}, dense / "model.safetensors")
        (dense / "config.json").write_text(
            json.dumps(
                {
                    "in_features": 32,
                    "out_features": 16,
                    "bias": False,
                    "activation_function": "torch.nn.modules.linear.Identity",
                }
            )
        )
        modules = [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
        ]
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 63, "do_lower_case": False}))
        (folder / "config_sentence_transformers.json").write_text(
            json.dumps(
                {
                    "model_type": "ColBERT",
                    "query_prefix": "[unused0]",
                    "document_prefix": "[unused1]",
                    "query_length": 24,
                    "document_length": 48,
                    "attend_to_expansion_tokens": False,
                    "skiplist_words": [".", ","],
                    "similarity_fn_name": "MaxSim",
                }
            )
        )
    else:
        weights = {f"bert.{key}": value for key, value in load_file(folder / "model.safetensors").items()}
        save_file({**weights, "linear.weight": weight}, folder / "model.safetensors", metadata={"format": "pt"})
        settings = json.loads((folder / "config.json").read_text()) | {"architectures": ["HF_ColBERT"]}
        (folder / "config.json").write_text(json.dumps(settings))
        (folder / "artifact.metadata").write_text(json.dumps({"query_maxlen": 24, "doc_maxlen": 48}))
    encoder = load_encoder(str(folder))
    assert encoder.encode_problems(["abone thingpu"])[0].shape[1] == 16  # its own projection, none of ours
    trained = train_retriever(config(toy, base_model=str(folder), epochs=2), tmp_path / "out")
    assert load_encoder(str(trained)).encode_problems(["abone"])[0].shape[1] == 16


def test_a_tracker_that_is_not_installed_is_told_before_any_work(
    toy: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)  # as if it were not installed
    with pytest.raises(InputError, match="report-to is trackio, which is not installed: pip install trackio"):
        train_retriever(config(toy, report_to="trackio", base_model="no-such/model"), tmp_path / "out")


def test_bad_input(toy: dict[str, str], tmp_path: Path) -> None:
    def labelled(rows: list[dict]) -> str:
        path = tmp_path / "labels.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    row = {"problem_id": "p0", "trace_id": "t0", "relevant": True}
    for rows, message in [
        ([row | {"trace_id": "t999"}], "row 1: trace 't999'"),
        ([row, {"problem_id": "p1", "trace_id": "t0"}], "row 2: column `relevant`"),
        ([row | {"problem_id": "nobody"}], "none of the given problems"),
        ([row | {"relevant": False}], "no pair is relevant"),
    ]:
        with pytest.raises(InputError, match=message):
            train_retriever(config(toy, labels=labelled(rows)), tmp_path / "out")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"no \.safetensors weights"):
        train_retriever(config(toy, base_model=str(empty)), tmp_path / "out")
    assert not (tmp_path / "out").exists()
