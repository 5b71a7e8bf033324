"""Index and search: what is stored is found, changes need no rebuild, and the guard holds."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from rarft.core.artifacts import read_manifest
from rarft.core.errors import InputError
from rarft.records.problems import Trace, load_problems, load_traces
from rarft.retriever import (
    EvaluateRetrieverConfig,
    IndexConfig,
    RetrieveConfig,
    TraceIndex,
    evaluate_retriever,
    find_analogies,
    index,
    retrieve,
    trace_index,
)
from rarft.retriever.ann import CODES, Lists, centroid_sets, cluster
from rarft.retriever.encoder import Encoder, load_encoder
from rarft.retriever.maxsim import scores


@pytest.fixture(scope="module")
def built(toy: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return index(IndexConfig(traces=toy["traces"], retriever=toy["model"]), tmp_path_factory.mktemp("i") / "index")


def brute_force(toy: dict[str, str], questions: list[str], **kind: str) -> np.ndarray:
    encoder = load_encoder(toy["model"], **kind)
    return scores(encoder.encode_problems(questions), encoder.encode_traces(load_traces(toy["traces"])))


def questions_of(toy: dict[str, str], n: int = 8) -> list[str]:
    return [problem.question for problem in load_problems(toy["problems"])[:n]]


@pytest.mark.parametrize("kind", ["multi-vector", "single-vector"])
@pytest.mark.parametrize("exact_below", [10**9, 1])
def test_finds_the_best(kind: str, exact_below: int, toy: dict[str, str], tmp_path: Path) -> None:
    if kind == "single-vector" and exact_below == 1:
        pytest.skip("IVF_PQ needs more rows: test_many_single_vectors")
    config = IndexConfig(traces=toy["traces"], retriever=toy["model"], type=kind, exact_below=exact_below)
    folder = index(config, tmp_path / "index")
    results = read_manifest(folder)["results"]
    assert results["search"] == ("exact" if exact_below > 1 else "ann")
    assert results["n_vectors"] == 36 if kind == "single-vector" else results["n_vectors"] > 36 * 8
    questions = questions_of(toy)
    wanted = brute_force(toy, questions, type=kind)
    found = TraceIndex(folder).search(questions, 5)
    ids = [trace.id for trace in load_traces(toy["traces"])]
    for hits, row in zip(found, wanted, strict=True):
        assert [hit.score for hit in hits] == pytest.approx(-np.sort(-row)[:5], abs=5e-3)
        assert [hit.score for hit in hits] == pytest.approx([row[ids.index(h.trace_id)] for h in hits], abs=5e-3)


def test_many_single_vectors(tmp_path: Path, toy: dict[str, str]) -> None:
    rng = np.random.default_rng(0)
    traces = [Trace(f"x{i}", f"{i}", "s") for i in range(600)]
    made = rng.standard_normal((600, 32)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)

    class Fixed:
        settings = replace(load_encoder(toy["model"]).settings, type="single-vector")

        def encode_traces(self, chunk: list[Trace], *rest: int) -> list[np.ndarray]:
            return [made[int(t.id[1:])][None] for t in chunk]

        def encode_problems(self, texts: list[str], *rest: int) -> list[np.ndarray]:
            return [made[int(text)][None] for text in texts]

    info = trace_index.Info("made", "-", "single-vector", "both", 8, 1, 32, 500)
    found = TraceIndex.create(tmp_path, info, encoder=Fixed())  # type: ignore[arg-type]
    found.add(traces)
    found.finish()
    assert found.search_type == "ann"
    hits = found.search(["5", "77"], 3)
    assert [h[0].trace_id for h in hits] == ["x5", "x77"]
    assert [h[0].score for h in hits] == pytest.approx([1.0, 1.0], abs=1e-3)


def test_candidates_hold_the_best(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def texts(n: int) -> list[np.ndarray]:
        found = [rng.standard_normal((int(rng.integers(5, 20)), 16)).astype(np.float32) for _ in range(n)]
        return [x / np.linalg.norm(x, axis=1, keepdims=True) for x in found]

    import pyarrow as pa

    traces = texts(500)
    centroids = cluster(np.concatenate(traces), 64)
    assert np.linalg.norm(centroids, axis=1) == pytest.approx(1, abs=1e-5)
    sets = centroid_sets(traces, centroids)
    batch = pa.record_batch(
        {"id": [str(i) for i in range(500)], "centroids": pa.array(list(sets), pa.list_(pa.uint16()))}
    )
    lists = Lists.load([batch.slice(0, 200), batch.slice(200)], centroids)
    kept = 0
    for i in range(0, 500, 10):
        query = traces[i] + 0.1 * rng.standard_normal(traces[i].shape).astype(np.float32)
        found = lists.candidates(query / np.linalg.norm(query, axis=1, keepdims=True), 50)
        assert len(found) == len(set(found)) == 50
        kept += str(i) in found
    assert kept >= 49


@pytest.mark.parametrize("exact_below", [10**9, 1])
def test_add_and_remove_without_rebuild(
    exact_below: int, toy: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = load_traces(toy["traces"])
    config = IndexConfig(traces=toy["traces"], retriever=toy["model"], exact_below=exact_below)
    found = TraceIndex(index(config, tmp_path / "index"))
    encoded: list[str] = []
    encode = Encoder.encode_traces

    def counting(self: Encoder, chunk: list[Trace], *rest: int) -> list[np.ndarray]:
        encoded.extend(trace.id for trace in chunk)
        return encode(self, chunk, *rest)

    monkeypatch.setattr(Encoder, "encode_traces", counting)
    question = questions_of(toy)[0]
    best = found.search([question], 1)[0][0]
    assert found.remove([best.trace_id, "never there"]) == 1
    assert len(found) == 35 and best.trace_id not in {hit.trace_id for hit in found.search([question], 35)[0]}
    new = Trace("new's", question, "take abtwo")
    found.add([new])
    assert encoded == ["new's"] and len(found) == 36
    assert found.search([question], 1)[0][0].trace_id == "new's"
    assert found.search_text([question], 1)[0][0].trace_id == "new's"
    found.add([replace(new, problem="thingpu", solution="thingpu")])  # the same id: replaced
    assert len(found) == 36 and found.search([question], 1)[0][0].trace_id != "new's"
    # the stage: copies the old index and encodes only what changed
    encoded.clear()
    changed = tmp_path / "traces.jsonl"
    rows = [{"id": t.id, "problem": t.problem, "solution": t.solution} for t in traces[3:]]
    rows[0]["solution"] = "take ijtwo"
    rows.append({"id": "t99", "problem": "thingpu thingqv", "solution": "take cdtwo"})
    changed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    update = config.model_copy(update={"traces": str(changed), "update": str(tmp_path / "index")})
    folder = index(update, tmp_path / "new")
    assert sorted(encoded) == sorted(
        ["t3", "t99"] + ([best.trace_id] if best.trace_id not in ("t0", "t1", "t2") else [])
    )
    fresh = index(update.model_copy(update={"update": None}), tmp_path / "fresh")
    questions = questions_of(toy)
    a, b = (TraceIndex(f).search(questions, 3) for f in (folder, fresh))
    assert [[h.trace_id for h in hits] for hits in a] == [[h.trace_id for h in hits] for hits in b]
    with pytest.raises(InputError, match="part differ"):
        index(update.model_copy(update={"part": "problem"}), tmp_path / "other")


def test_goes_on_after_an_interruption(toy: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_index, "CHUNK", 10)
    encode, seen = Encoder.encode_traces, []

    def breaks(self: Encoder, chunk: list[Trace], *rest: int) -> list[np.ndarray]:
        if len(seen) == 20:
            raise KeyboardInterrupt
        seen.extend(trace.id for trace in chunk)
        return encode(self, chunk, *rest)

    config = IndexConfig(traces=toy["traces"], retriever=toy["model"])
    monkeypatch.setattr(Encoder, "encode_traces", breaks)
    with pytest.raises(KeyboardInterrupt):
        index(config, tmp_path / "index")
    assert not (tmp_path / "index").exists()
    seen.append("go on")
    folder = index(config, tmp_path / "index")
    assert sorted(seen) == sorted(["go on", *(f"t{i}" for i in range(36))])  # each encoded once
    assert read_manifest(folder)["results"]["n_traces"] == 36


def listed(found: TraceIndex) -> list[str]:
    return sorted(found.database.open_table(CODES).to_arrow()["id"].to_pylist())


@pytest.mark.parametrize("broken", [1, 2])
def test_a_trace_whose_writing_was_cut_off_is_found(
    broken: int, toy: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its two writes, the row and the lists of the vector index, the first or the second is cut off."""
    from lancedb.table import LanceTable

    config = IndexConfig(traces=toy["traces"], retriever=toy["model"], exact_below=1)
    old = index(config, tmp_path / "old")
    question = questions_of(toy)[0]
    more = tmp_path / "traces.jsonl"
    row = json.dumps({"id": "new", "problem": question, "solution": "take abtwo"})
    more.write_text(Path(toy["traces"]).read_text() + row + "\n")
    update = config.model_copy(update={"traces": str(more), "update": str(old)})
    add, writes = LanceTable.add, []

    def breaks(self: LanceTable, *args: object, **rest: object) -> object:
        writes.append(1)
        if len(writes) == broken:
            raise KeyboardInterrupt
        return add(self, *args, **rest)

    monkeypatch.setattr(LanceTable, "add", breaks)
    with pytest.raises(KeyboardInterrupt):
        index(update, tmp_path / "new")
    found = TraceIndex(index(update, tmp_path / "new"))
    assert found.search_type == "ann" and len(found) == 37
    assert found.search([question], 1)[0][0].trace_id == "new"
    assert listed(found) == sorted(["new", *(f"t{i}" for i in range(36))])


def test_an_update_mends_what_a_kill_left_of_the_lists(toy: dict[str, str], tmp_path: Path) -> None:
    config = IndexConfig(traces=toy["traces"], retriever=toy["model"], exact_below=1)
    old = index(config, tmp_path / "old")
    codes = TraceIndex(old).database.open_table(CODES)
    codes.delete("id = 't3'")
    codes.add([{"id": "gone", "centroids": [0]}])
    folder = index(config.model_copy(update={"update": str(old)}), tmp_path / "new")
    results = read_manifest(folder)["results"]
    assert (results["n_traces"], results["added"], results["removed"]) == (36, 1, 0)
    assert listed(TraceIndex(folder)) == sorted(f"t{i}" for i in range(36))


def test_equal_content_has_one_digest_however_it_was_written(
    toy: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands on an index is not made again where the index was built twice, in pieces, or elsewhere."""
    config = IndexConfig(traces=toy["traces"], retriever=toy["model"])
    first = index(config, tmp_path / "first")
    lines = Path(toy["traces"]).read_text().splitlines()
    shuffled = tmp_path / "shuffled.jsonl"
    shuffled.write_text("\n".join(lines[::-1]))
    moved = tmp_path / "moved"
    shutil.copytree(toy["model"], moved)
    again = index(config.model_copy(update={"traces": str(shuffled), "retriever": str(moved)}), tmp_path / "again")
    assert read_manifest(again)["digest"] == read_manifest(first)["digest"]
    wanted = RetrieveConfig(problems=toy["problems"], index=str(first), top_k=2)
    analogies = retrieve(wanted, tmp_path / "analogies")
    assert retrieve.status(wanted.model_copy(update={"index": str(again)}), analogies).state == "done"
    found = [TraceIndex(folder).search(questions_of(toy), 3) for folder in (first, again)]
    assert found[0] == found[1]
    other = tmp_path / "other.jsonl"
    other.write_text("\n".join([*lines[:-1], json.dumps(json.loads(lines[-1]) | {"solution": "take abtwo"})]))
    changed = index(config.model_copy(update={"traces": str(other)}), tmp_path / "changed")
    assert read_manifest(changed)["digest"] != read_manifest(first)["digest"]
    assert TraceIndex(changed).digest() == read_manifest(changed)["digest"]


def test_an_index_changed_in_place_is_noticed_and_a_searched_one_is_as_it_was(
    toy: dict[str, str], tmp_path: Path
) -> None:
    config = IndexConfig(traces=toy["traces"], retriever=toy["model"], exact_below=1)
    folder = index(config, tmp_path / "index")
    wanted = RetrieveConfig(problems=toy["problems"], index=str(folder))
    analogies = retrieve(wanted, tmp_path / "analogies")
    TraceIndex(folder).search_text(["take abtwo"], 1)
    assert (index.status(config, folder).state, retrieve.status(wanted, analogies).state) == ("done", "done")
    TraceIndex(folder).remove(["t3"])
    assert index.status(config, folder).state == "edited"
    assert retrieve.status(wanted, analogies).state == "changed"


def damaged(content: bytes, how: str) -> bytes | None:
    half = len(content) // 2
    return {
        "empty": b"",
        "half": content[:half],
        "zeros": content[: half // 2] + bytes(half - half // 2) + content[half:],
        "noise": np.random.default_rng(0).bytes(len(content)),
        "gone": None,
    }[how]


@pytest.mark.parametrize("how", ["empty", "half", "zeros", "noise", "gone"])
def test_a_damaged_index_is_told_in_one_line(how: str, toy: dict[str, str], tmp_path: Path) -> None:
    """Whatever file of it is damaged: one line, or (where the file is not needed) the right answer."""
    whole = index(IndexConfig(traces=toy["traces"], retriever=toy["model"], exact_below=1), tmp_path / "whole")
    questions = questions_of(toy, 2)
    wanted = TraceIndex(whole).search(questions, 2)
    told = []
    for file in sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file()):
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        content = damaged((folder / file).read_bytes(), how)
        (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
        try:
            found = TraceIndex(folder).search(questions, 2)
        except InputError as error:
            assert str(folder) in str(error) and "\n" not in str(error)
            told.append(file.parts[0])
        else:
            assert how == "zeros" or found == wanted
    assert {"index.json", "traces.lance"} <= set(told)


@pytest.mark.parametrize(
    "change", [{"dim": 64}, {"type": "single-vector"}, {"type": "tree"}, {"part": 7}, {"trace_tokens": "many"}]
)
def test_settings_that_do_not_fit_are_told(
    change: dict[str, object], built: Path, toy: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "index"
    shutil.copytree(built, folder)
    info = json.loads((folder / "index.json").read_text()) | change
    (folder / "index.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match="damaged"):
        TraceIndex(folder)


def test_an_index_does_not_choose_what_is_downloaded(
    built: Path, toy: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def hub(name: str, *, local_files_only: bool, **rest: object) -> str:
        asked.append((name, local_files_only))
        if local_files_only:
            raise FileNotFoundError("not in the cache")
        return toy["model"]

    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    folder = tmp_path / "index"
    shutil.copytree(built, folder)
    info = json.loads((folder / "index.json").read_text())
    info |= {"retriever": "stranger/model", "digest": "name:stranger/model"}
    (folder / "index.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match=r"stranger/model.* --retriever"):
        TraceIndex(folder)
    assert asked == [("stranger/model", True)]
    assert TraceIndex(folder, retriever="stranger/model").search(["abone"], 1)
    assert asked[-1] == ("stranger/model", False)


def test_another_retriever_is_refused(built: Path, toy: dict[str, str], tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(toy["model"], other)
    weights = load_file(other / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] += 0.1 * torch.ones(())
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="another retriever"):
        TraceIndex(built, retriever=str(other))
    config = RetrieveConfig(problems=toy["problems"], index=str(built), retriever=str(other))
    with pytest.raises(InputError, match="another retriever"):
        retrieve(config, tmp_path / "out")
    moved = tmp_path / "moved"
    shutil.copytree(toy["model"], moved)
    assert TraceIndex(built, retriever=str(moved)).search(["abone"], 1)


def read_analogies(folder: Path) -> list[dict]:
    return pq.read_table(folder / "analogies.parquet").to_pylist()


def test_retrieve_stage(built: Path, toy: dict[str, str], tmp_path: Path) -> None:
    folder = retrieve(RetrieveConfig(problems=toy["problems"], index=str(built), top_k=3), tmp_path / "out")
    rows = read_analogies(folder)
    problems = load_problems(toy["problems"])
    assert [row["problem_id"] for row in rows[::3]] == [problem.id for problem in problems]
    assert [row["rank"] for row in rows] == [1, 2, 3] * len(problems)
    wanted = brute_force(toy, [problem.question for problem in problems])
    assert [row["score"] for row in rows] == pytest.approx(-np.sort(-wanted, axis=1)[:, :3].reshape(-1), abs=5e-3)
    single = find_analogies(TraceIndex(built), [problems[4].question], 3).hits[0]
    assert [hit.trace_id for hit in single] == [row["trace_id"] for row in rows[12:15]]


def test_top_k_is_checked(built: Path, toy: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="top-k is 37"):
        retrieve(RetrieveConfig(problems=toy["problems"], index=str(built), top_k=37), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="top-k is 0"):
        find_analogies(TraceIndex(built), ["abone"], 0)


def test_minimum_score_leaves_problems_without(built: Path, toy: dict[str, str], tmp_path: Path) -> None:
    everything = read_analogies(retrieve(RetrieveConfig(problems=toy["problems"], index=str(built)), tmp_path / "all"))
    middle = float(np.median([row["score"] for row in everything]))
    config = RetrieveConfig(problems=toy["problems"], index=str(built), min_score=middle)
    folder = retrieve(config, tmp_path / "some")
    kept = read_analogies(folder)
    assert [row["problem_id"] for row in kept] == [r["problem_id"] for r in everything if r["score"] >= middle]
    assert read_manifest(folder)["results"]["n_without"] == len(everything) - len(kept) > 0
    none = retrieve(config.model_copy(update={"min_score": 2.0}), tmp_path / "none")
    assert read_analogies(none) == [] and read_manifest(none)["results"]["n_without"] == 72


GUARD_PROBLEM = (
    r"Tom has 12 apples and $\frac{1}{2}$ of 8 pears. He gives 5 apples away. How many fruits does Tom keep?"
)
LEAKS = {
    "same": GUARD_PROBLEM,
    "latex": GUARD_PROBLEM.replace("$\\frac{1}{2}$", r"\( \dfrac{1}{2}\, \)"),
    "numbers": GUARD_PROBLEM.replace("12", "20").replace("5", "7"),
    "paraphrase": r"Of his 12 apples Tom gives 5 away; he also keeps \frac{1}{2} of 8 pears. How many fruits has Tom?",
}


@pytest.mark.parametrize("retriever", ["model", "bm25", "random"])
def test_guard_blocks_leaks_whatever_their_score(retriever: str, toy: dict[str, str], tmp_path: Path) -> None:
    rows = [{"id": key, "problem": text, "solution": "11"} for key, text in LEAKS.items()]
    rows += [{"id": f"ok{i}", "problem": f"Ann paints {i + 3} doors of the {w} house. How many?", "solution": "x"}
             for i, w in enumerate(["old", "red", "tall", "small", "new", "grey"])]  # fmt: skip
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    name = toy.get(retriever, retriever)
    folder = index(IndexConfig(traces=str(path), retriever=name), tmp_path / "index")
    problems = tmp_path / "problems.jsonl"
    problems.write_text(json.dumps({"id": "p", "question": GUARD_PROBLEM, "answer": "11"}) + "\n")
    config = RetrieveConfig(problems=str(problems), index=str(folder), top_k=6)
    guarded = retrieve(config, tmp_path / "guarded")
    found = {row["trace_id"] for row in read_analogies(guarded)}
    assert not found & set(LEAKS)
    results = read_manifest(guarded)["results"]
    if retriever != "bm25":  # which returns only what shares a word
        assert len(found) == 6
    if retriever == "model":
        assert results["n_blocked"] == 4 and results["n_problems_with_blocked"] == 1
    unguarded = retrieve(config.model_copy(update={"guard": False, "top_k": 10}), tmp_path / "open")
    assert set(LEAKS) <= {row["trace_id"] for row in read_analogies(unguarded)}


def test_guard_looks_further_down_when_many_are_blocked(toy: dict[str, str], tmp_path: Path) -> None:
    question = "thingpu thingqv abone thingrw thingsx thingty"
    rows = [{"id": f"leak{i}", "problem": question, "solution": "abtwo"} for i in range(40)]
    rows += [{"id": "good", "problem": "thingsz cdtwo thingpv thingqw", "solution": "cdtwo"}]
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = TraceIndex(index(IndexConfig(traces=str(path), retriever=toy["model"]), tmp_path / "index"))
    result = find_analogies(found, [question], 1)
    assert [hit.trace_id for hit in result.hits[0]] == ["good"] and result.blocked == [40]


def test_diversity_prefers_the_unlike(toy: dict[str, str], tmp_path: Path) -> None:
    rows = [{"id": f"a{i}", "problem": "thingpu abtwo", "solution": "take abtwo"} for i in range(3)]
    rows += [{"id": "b", "problem": "thingqv cdtwo", "solution": "take cdtwo"}]
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = TraceIndex(index(IndexConfig(traces=str(path), retriever=toy["model"]), tmp_path / "index"))
    plain = find_analogies(found, ["thingpu abtwo take"], 2).hits[0]
    assert {hit.trace_id for hit in plain} <= {"a0", "a1", "a2"}
    diverse = find_analogies(found, ["thingpu abtwo take"], 2, diversity=0.9).hits[0]
    assert diverse[0].trace_id in ("a0", "a1", "a2") and diverse[1].trace_id == "b"


def test_baselines(toy: dict[str, str], tmp_path: Path) -> None:
    def search(name: str, seed: int = 0) -> list[list[str]]:
        folder = index(IndexConfig(traces=toy["traces"], retriever=name), tmp_path / name)
        found = TraceIndex(folder, seed=seed).search(questions_of(toy), 4)
        return [[hit.trace_id for hit in hits] for hits in found]

    assert search("random") == search("random") != search("random", seed=1)
    words = {trace.id: set(f"{trace.problem} {trace.solution}".split()) for trace in load_traces(toy["traces"])}
    for question, ids in zip(questions_of(toy), search("bm25"), strict=True):
        shared = [len(words[i] & set(question.split())) for i in words]
        assert len(words[ids[0]] & set(question.split())) >= np.percentile(shared, 90)


def test_pooling_keeps_fewer_vectors(built: Path, toy: dict[str, str], tmp_path: Path) -> None:
    folder = index(IndexConfig(traces=toy["traces"], retriever=toy["model"], pool=2), tmp_path / "index")
    small, whole = (read_manifest(f)["results"]["n_vectors"] for f in (folder, built))
    assert 0.4 * whole < small < 0.65 * whole
    assert TraceIndex(folder).search(questions_of(toy), 2)


@pytest.fixture
def evaluated(toy: dict[str, str], tmp_path: Path) -> Iterator[dict]:
    folder = evaluate_retriever(
        EvaluateRetrieverConfig(
            problems=toy["problems"],
            traces=toy["traces"],
            labels=toy["labels"],
            retriever=toy["model"],
            base_model=toy["model"],
        ),
        tmp_path / "scores",
    )
    yield json.loads((folder / "scores.json").read_text())


def test_evaluate_stage(evaluated: dict, toy: dict[str, str]) -> None:
    assert evaluated["n_problems"] == 72 and evaluated["n_traces"] == 36
    table = evaluated["retrievers"]
    assert list(table) == ["retriever", "untuned", "bm25", "random"]
    assert table["retriever"] == table["untuned"]
    wanted = brute_force(toy, questions_of(toy, 72)).argmax(1)
    assert table["retriever"]["R@1"]["value"] == pytest.approx(np.mean(wanted % 6 == np.arange(72) % 6), abs=0.03)
    for row in table.values():
        assert row["R@1"]["value"] <= row["R@5"]["value"] <= row["R@10"]["value"]
        assert all(score["low"] <= score["value"] <= score["high"] for score in row.values())


def test_evaluate_ranks_only_labelled_traces(toy: dict[str, str], tmp_path: Path) -> None:
    rows = [
        {"problem_id": f"p{i}", "trace_id": f"t{j}", "relevant": j == i % 6} for i in range(12) for j in (i % 6, 30)
    ]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {key: toy[key] for key in ("problems", "traces")} | {"labels": str(labels), "retriever": toy["model"]}
    config = EvaluateRetrieverConfig(**values, candidates="labelled", baselines=False)
    scores_of = json.loads((evaluate_retriever(config, tmp_path / "out") / "scores.json").read_text())
    assert scores_of["retrievers"]["retriever"]["R@5"]["value"] == 1.0
    assert list(scores_of["retrievers"]) == ["retriever"]
