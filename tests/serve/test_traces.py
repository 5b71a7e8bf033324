"""Worked examples added and removed while serving: found at once, and still there after a restart or a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rarft.core.errors import InputError, StageError
from rarft.records.problems import Trace, load_traces
from rarft.retriever import IndexConfig, TraceIndex, find_analogies, index
from rarft.retriever.encoder import load_encoder
from rarft.serve import BundleConfig, bundle
from rarft.serve.folder import LIVE, open_bundle
from rarft.serve.live import Corpus, LiveIndex
from tests.serve.conftest import QUESTION, Running
from tests.serve.stub_upstream import StubUpstream

NEW = {"id": "new", "problem": "thingpu thingqv abone thingrx", "solution": "take abone"}


def ids(server: Running, k: int = 3, question: str = QUESTION, **body: Any) -> list[str]:
    reply = server.post("/v1/retrieve", queries=[question], top_k=k, **body)
    assert reply.status_code == 200, reply.text
    return [trace["id"] for trace in reply.json()["data"][0]["traces"]]


def test_what_is_added_is_found_by_the_next_request(fresh: Running, folder: Path, stub: StubUpstream) -> None:
    # the question has the words of the new example, and is long enough not to be the same problem
    question = (
        f"{NEW['problem']} and also thingsu thingsv thingsw thingsx thingsy thingsz thingtu thingtv thingtw thingtx"
    )
    assert "new" not in ids(fresh, question=question)
    done = fresh.post("/v1/traces", traces=[NEW])
    assert done.status_code == 200 and done.json()["added"] == ["new"] and done.json()["n_traces"] == 37
    assert ids(fresh, question=question)[0] == "new"
    assert ids(fresh, question=question, retriever="untuned")[0] == "new"
    assert fresh.chat(question).json()["choices"][0]["message"]["context"]["citations"][0]["id"] == "new"
    assert "take abone" in fresh.service.prompter.tokenizer.decode(stub.bodies[-1]["prompt"])
    gone = fresh.client.request("DELETE", "/v1/traces", json={"ids": ["new", "t3", "nobody"]})
    assert gone.json() == {"object": "list", "removed": ["new", "t3"], "absent": ["nobody"], "n_traces": 35}
    assert not {"new", "t3"} & set(ids(fresh, k=35, question=question))


def test_the_guard_holds_for_what_was_added(fresh: Running) -> None:
    fresh.post("/v1/traces", traces=[{**NEW, "problem": QUESTION}])
    reply = fresh.post("/v1/retrieve", queries=[QUESTION], top_k=3).json()["data"][0]
    assert "new" not in [trace["id"] for trace in reply["traces"]] and reply["blocked"] == 1


def test_a_trace_without_an_id_is_there_once(fresh: Running) -> None:
    row = {"problem": "a", "solution": "b"}
    first = fresh.post("/v1/traces", traces=[row]).json()["added"]
    assert fresh.post("/v1/traces", traces=[row]).json() == {"object": "list", "added": first, "n_traces": 37}


@pytest.mark.parametrize("traces", [[], [{"problem": "p"}], [{"problem": " ", "solution": "s"}], [NEW, NEW], "x"])
def test_bad_traces_change_nothing(server: Running, traces: Any) -> None:
    assert server.post("/v1/traces", traces=traces).status_code == 400
    assert len(server.service.retrieval) == 36


def test_changes_outlive_the_server_and_leave_the_bundle_as_it_was(folder: Path, stub: StubUpstream) -> None:
    with Running(folder, stub.url) as server:
        server.post("/v1/traces", traces=[NEW, {**NEW, "id": "t1", "problem": "another thingpz"}])
        server.client.request("DELETE", "/v1/traces", json={"ids": ["t2"]})
        before = server.post("/v1/retrieve", queries=[QUESTION], top_k=36).json()
    with Running(folder, stub.url) as server:
        after = server.post("/v1/retrieve", queries=[QUESTION], top_k=36).json()
    assert after == before and len(after["data"][0]["traces"]) + after["data"][0]["blocked"] == 36
    replaced = next(trace for trace in after["data"][0]["traces"] if trace["id"] == "t1")
    assert replaced["problem"] == "another thingpz"
    open_bundle(folder)


def test_half_a_line_is_absent_and_what_follows_is_whole(folder: Path) -> None:
    corpus = Corpus(open_bundle(folder))
    corpus.add([Trace("a", "thingpu", "s")])
    corpus.close()
    with (folder / LIVE).open("ab") as log:
        log.write(b'{"add": [{"id": "torn", "problem": "p"')
    corpus = Corpus(open_bundle(folder))
    assert "a" in corpus.traces and "torn" not in corpus.traces
    corpus.add([Trace("b", "thingpv", "s")])
    corpus.close()
    assert {"a", "b"} <= set(Corpus(open_bundle(folder)).traces)


def test_a_log_that_cannot_be_written_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rarft.core.append_log import AppendLog

    corpus = Corpus(open_bundle(folder))

    def full(self: Any, row: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(AppendLog, "append", full)
        with pytest.raises(StageError, match="no space left"):
            corpus.add([Trace("a", "thingpu", "s")])
    assert "a" not in corpus.traces and len(corpus.index) == 36
    corpus.add([Trace("b", "thingpu", "s")])
    assert len(corpus.index) == 37
    corpus.close()


def test_one_server_has_the_log(folder: Path) -> None:
    first = Corpus(open_bundle(folder))
    first.add([Trace("a", "thingpu", "s")])
    with pytest.raises(StageError, match="another server has it"):
        Corpus(open_bundle(folder))
    first.close()
    Corpus(open_bundle(folder)).close()


def test_a_damaged_log_is_named(folder: Path) -> None:
    (folder / LIVE).write_text('{"add": [{"id": "x"}]}\n')
    with pytest.raises(InputError, match=r"live\.jsonl: damaged"):
        Corpus(open_bundle(folder))


# A live index ranks as one that was built with the same traces does


@pytest.mark.parametrize("kind", ["exact", "ann", "single", "bm25"])
def test_ranks_like_an_index_of_the_same_traces(kind: str, toy: dict[str, str], tmp_path: Path) -> None:
    traces = load_traces(toy["traces"])
    changed = Trace("t4", "thingpz cdone thingqz", "take cdone")
    added = [Trace(f"n{i}", f"thingp{'uvwxyz'[i]} {w} thingr{'zyxwvu'[i]}", f"take {w}") for i, w in enumerate(
        ("abone", "cdtwo", "efone", "ghtwo", "ijone", "kltwo"))]  # fmt: skip
    removed = {"t7", "t8", "t9"}
    final = [t for t in traces if t.id not in removed | {"t4"}] + [changed, *added]

    def build(name: str, rows: list[Trace]) -> Path:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(trace.as_row()) + "\n" for trace in rows))
        options: dict[str, Any] = {"retriever": toy["model"]}
        if kind == "bm25":
            options = {"retriever": "bm25"}
        if kind == "single":
            options["type"] = "single-vector"
        if kind == "ann":
            options["exact_below"] = 1
        return index(IndexConfig(traces=str(path), **options), tmp_path / name)

    live = LiveIndex(build("before", traces))
    whole = LiveIndex(build("after", final))
    live.put([changed, *added], live.encoded([changed, *added]))
    live.drop([*removed, "nobody"])
    assert len(live) == len(whole) == 39 and live.search_type == whole.search_type
    questions = [QUESTION, "cdone thingpz thingqz thingru", "kltwo", "thingtu thingtv"]
    for k in (1, 5, 39):
        ours, theirs = find_analogies(live, questions, k), find_analogies(whole, questions, k)
        assert ours.blocked == theirs.blocked
        for a, b in zip(ours.hits, theirs.hits, strict=True):
            assert [hit.score for hit in a] == pytest.approx([hit.score for hit in b], abs=2e-3)
            assert {hit.trace_id for hit in a if hit.score > b[-1].score + 4e-3} <= {hit.trace_id for hit in b}


def test_single_vectors_rank_as_the_index_ranks_them_ties_too(toy: dict[str, str], tmp_path: Path) -> None:
    rows = [trace.as_row() for trace in load_traces(toy["traces"])]
    rows += [{**row, "id": f"{row['id']}-again"} for row in rows]  # each score twice
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = index(
        IndexConfig(traces=str(path), retriever=toy["model"], type="single-vector"), tmp_path / "index"
    )  # fmt: skip
    questions = [QUESTION, "cdone thingpz thingqz thingru"]
    for k in (1, 7, 72):
        assert LiveIndex(folder).search(questions, k) == TraceIndex(folder).search(questions, k)


def test_removing_nearly_all_still_finds_the_rest(toy_index: str) -> None:
    live = LiveIndex(toy_index)
    live.drop([f"t{i}" for i in range(34)])
    assert {hit.trace_id for hit in live.search([QUESTION], 2)[0]} == {"t34", "t35"}
    live.drop(["t34", "t35"])
    assert len(live) == 0


def test_a_query_is_encoded_once(folder: Path, toy: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Corpus(open_bundle(folder))
    corpus.add([Trace("a", "thingpu", "s")])
    calls: list[int] = []
    model = corpus.index.encoder.model
    real = model.encode_query
    monkeypatch.setattr(
        model, "encode_query", lambda texts, **options: calls.append(len(texts)) or real(texts, **options)
    )
    corpus.index.search([QUESTION, "abone", QUESTION], 3)
    corpus.index.search([QUESTION], 5)
    assert calls == [2]
    expected = load_encoder(toy["model"]).encode_problems([QUESTION])[0]
    assert np.allclose(corpus.index.encoder.encode_problems([QUESTION])[0], expected, atol=1e-2)
    corpus.close()


def test_an_index_without_a_retriever_serves_too(
    policy: str, toy: dict[str, str], stub: StubUpstream, tmp_path: Path
) -> None:
    made = index(IndexConfig(traces=toy["traces"], retriever="bm25"), tmp_path / "index")
    folder = bundle(BundleConfig(model=policy, index=str(made)), tmp_path / "bundle")
    with Running(folder, stub.url) as server:
        server.post("/v1/traces", traces=[{**NEW, "problem": "zzz yyy xxx", "solution": "www"}])
        assert ids(server, k=1, question="zzz and yyy or www and more words to be another problem") == ["new"]
