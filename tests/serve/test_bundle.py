"""The bundle: what is in it, that it works where it is moved, that a changed file is named, and the chosen minimum."""

from __future__ import annotations

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rarft.cli import main
from rarft.core.artifacts import MANIFEST, read_manifest, write_json
from rarft.core.errors import InputError
from rarft.evaluation import EvaluateConfig, evaluate
from rarft.models.prompts import PromptConfig
from rarft.records.problems import load_problems
from rarft.retriever import RetrieveConfig, TraceIndex, find_analogies, retrieve
from rarft.serve import BundleConfig, bundle
from rarft.serve.folder import open_bundle
from rarft.serve.live import Corpus
from rarft.serve.threshold import choose_minimum
from tests.serve import recording
from tests.serve.conftest import QUESTION, Running
from tests.serve.stub_upstream import StubUpstream


@pytest.mark.parametrize("top_k", [1, 3])
def test_served_prompts_are_those_of_evaluate_to_the_token(
    top_k: int, made: Path, policy: str, toy: dict[str, str], toy_index: str, tmp_path: Path, stub: StubUpstream
) -> None:
    problems = tmp_path / "problems.jsonl"
    traces = [json.loads(line) for line in Path(toy["traces"]).read_text().splitlines()]
    rows = [json.loads(line) for line in Path(toy["problems"]).read_text().splitlines()[:6]]
    rows.append({"id": "leak", "question": traces[0]["problem"], "answer": "1"})  # its own trace must be kept back
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = retrieve(RetrieveConfig(problems=[str(problems)], index=toy_index, top_k=top_k), tmp_path / "analogies")
    recording.PROMPTS.clear()
    evaluate(
        EvaluateConfig(
            problems=[str(problems)], model=policy, traces=toy["traces"], analogies=str(found), top_k=top_k, samples=1,
            engine="tests.serve.recording:Engine",
        ),
        tmp_path / "scores",
    )  # fmt: skip
    with Running(made, stub.url) as server:
        for row in rows:
            body: dict[str, Any] = {"rarft": {"top_k": top_k}} if top_k > 1 else {}
            assert server.chat(row["question"], **body).status_code == 200
    assert [body["prompt"] for body in stub.bodies] == recording.PROMPTS
    assert len(set(map(tuple, recording.PROMPTS))) == len(rows)


def test_what_a_bundle_holds(made: Path, toy_index: str, toy: dict[str, str]) -> None:
    about = json.loads((made / "bundle.json").read_text())
    assert about["min_score"] is None and about["top_k"] == 1 and about["untuned"] == toy["model"]
    assert {"policy/model.safetensors", "retriever/model.safetensors", "traces.jsonl"} <= set(about["files"])
    assert not list(made.rglob("*.bin")) and not list(made.rglob("*.pt")) and not list(made.rglob("*.py"))
    copied, whole = TraceIndex(made / "index", retriever=str(made / "retriever")), TraceIndex(toy_index)
    assert copied.search([QUESTION], 5) == whole.search([QUESTION], 5)
    card = (made / "README.md").read_text()
    assert card.startswith("---\nlicense: other\n") and "36 worked examples" in card


def test_it_works_where_it_is_moved_and_without_what_it_was_made_from(
    policy: str, toy: dict[str, str], toy_index: str, tmp_path: Path, stub: StubUpstream
) -> None:
    sources = tmp_path / "sources"
    shutil.copytree(policy, sources / "policy")
    shutil.copytree(toy_index, sources / "index")
    shutil.copytree(toy["model"], sources / "model")
    config = BundleConfig(
        model=str(sources / "policy"), index=str(sources / "index"), retriever=str(sources / "model"),
        traces=toy["traces"],
    )  # fmt: skip
    made = bundle(config, tmp_path / "bundle")
    shutil.rmtree(sources)
    made.rename(tmp_path / "elsewhere")
    with Running(tmp_path / "elsewhere", stub.url) as server:
        assert server.chat().json()["choices"][0]["message"]["context"]["citations"]


@pytest.mark.parametrize(
    "name", ["policy/model.safetensors", "policy/tokenizer.json", "index/index.json", "traces.jsonl"]
)
def test_a_changed_file_is_named(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert main(["serve", str(folder)]) == 2
    told = capsys.readouterr().err
    assert f"{name}: changed since the bundle was made" in told and told.count("\n") == 1


def test_missing_and_added_files_are_named(folder: Path) -> None:
    (folder / "policy" / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"policy/adapter_config\.json: was added"):
        open_bundle(folder)
    (folder / "policy" / "adapter_config.json").unlink()
    (folder / "README.md").write_text("another card")
    (folder / MANIFEST).unlink()
    open_bundle(folder)
    (folder / "retriever" / "config.json").unlink()
    with pytest.raises(InputError, match=r"retriever/config\.json: is missing"):
        open_bundle(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1}', "null", '{"files": {"../../etc/passwd": "x"}}'])
def test_a_damaged_description_is_one_line(folder: Path, text: str) -> None:
    (folder / "bundle.json").write_text(text)
    with pytest.raises(InputError, match=r"bundle\.json"):
        open_bundle(folder)


def test_no_path_leads_out(folder: Path) -> None:
    about = json.loads((folder / "bundle.json").read_text())
    about["files"]["../outside"] = "0" * 64
    write_json(folder / "bundle.json", about)
    with pytest.raises(InputError, match="outside of the bundle"):
        open_bundle(folder)


def test_a_bundle_that_refers_to_its_policy(policy: str, toy_index: str, tmp_path: Path) -> None:
    own = Path(shutil.copytree(policy, tmp_path / "own"))
    made = bundle(BundleConfig(model=str(own), index=toy_index, reference_model=True), tmp_path / "bundle")
    assert not list((made / "policy").glob("*.safetensors")) and (made / "policy" / "tokenizer.json").is_file()
    assert open_bundle(made).weights() == str(own)
    (own / "config.json").write_text((own / "config.json").read_text() + "\n")
    with pytest.raises(InputError, match="is not the policy"):
        open_bundle(made).weights()


def test_a_lora_adapter_is_merged(policy: str, toy_index: str, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from rarft.models.loading import load_policy

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(policy), LoraConfig(target_modules=["q_proj"], r=2))
    for name, value in model.named_parameters():
        if "lora_B" in name:
            value.data.normal_()
    model.save_pretrained(tmp_path / "adapter")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(policy) / name, tmp_path / "adapter")
    made = bundle(BundleConfig(model=str(tmp_path / "adapter"), index=toy_index), tmp_path / "bundle")
    assert not (made / "policy" / "adapter_config.json").exists()
    ids = torch.tensor([[5, 6, 7]])
    ours, theirs = (load_policy(str(path))[0](ids).logits for path in (made / "policy", tmp_path / "adapter"))
    base = load_policy(policy)[0](ids).logits
    assert torch.allclose(ours, theirs, atol=1e-5) and not torch.allclose(ours, base, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"labels": "labels"}, "--labels and --problems"),
        ({"labels": "labels", "problems": "problems", "min_score": 0.5}, "nothing to choose"),
        ({"licences": {"weights": "mit"}}, "no such part"),
        ({"traces": "wrong"}, "give the traces it is of"),
        ({"name": "a b"}, "name"),
    ],
)
def test_bad_options_are_one_line(
    options: dict[str, Any], line: str, policy: str, toy: dict[str, str], toy_index: str, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"id": "t0", "problem": "another", "solution": "text"}\n')
    values = {k: {"wrong": str(wrong), **toy}.get(v, v) if isinstance(v, str) else v for k, v in options.items()}
    with pytest.raises(InputError, match=line):
        bundle(BundleConfig.parse({"model": policy, "index": toy_index, **values}, "test"), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_scores_of_another_prompt_are_refused_and_of_this_one_shown(
    policy: str, toy: dict[str, str], toy_index: str, tmp_path: Path
) -> None:
    prompt = PromptConfig(instruction="Think.")
    scores = evaluate(
        EvaluateConfig(problems=[toy["problems"]], model=policy, samples=1, limit=2, prompt=prompt,
                       engine="tests.serve.recording:Engine"),
        tmp_path / "scores",
    )  # fmt: skip
    base = {"model": policy, "index": toy_index, "scores": str(scores)}
    with pytest.raises(InputError, match="was measured with prompt"):
        bundle(BundleConfig.parse(base, "test"), tmp_path / "bundle")
    made = bundle(BundleConfig.parse({**base, "prompt": prompt.model_dump()}, "test"), tmp_path / "bundle")
    assert "| problems | 0.0 [" in (made / "README.md").read_text()
    assert (made / "scores.json").read_bytes() == (scores / "scores.json").read_bytes()
    assert read_manifest(made)["results"]["n_traces"] == 36


# The minimum score


def test_the_minimum_separates_what_the_labels_separate(toy: dict[str, str], toy_index: str, tmp_path: Path) -> None:
    index = TraceIndex(toy_index)
    problems = load_problems(toy["problems"])
    hits = find_analogies(index, [problem.question for problem in problems], 1).hits
    best = {problem.id: found[0] for problem, found in zip(problems, hits, strict=True)}
    middle = float(np.median([hit.score for hit in best.values()]))
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(
        json.dumps({"problem_id": i, "trace_id": hit.trace_id, "relevant": hit.score > middle, "score": 1.0}) + "\n"
        for i, hit in best.items()
    ))  # fmt: skip
    chosen = choose_minimum(index, str(labels), toy["problems"])
    assert chosen.about["balanced_accuracy"] == 1.0 and chosen.about["not_judged"] == 0
    kept = [hit.score >= chosen.value for hit in best.values()]
    assert kept == [hit.score > middle for hit in best.values()]


def test_labels_of_one_kind_choose_nothing(toy: dict[str, str], toy_index: str, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    rows = [json.loads(line) for line in Path(toy["labels"]).read_text().splitlines()]
    labels.write_text("".join(json.dumps({**row, "relevant": True}) + "\n" for row in rows))
    with pytest.raises(InputError, match="needs both kinds"):
        choose_minimum(TraceIndex(toy_index), str(labels), toy["problems"])


def test_the_bundles_minimum_is_used(policy: str, toy_index: str, tmp_path: Path, stub: StubUpstream) -> None:
    made = bundle(BundleConfig(model=policy, index=toy_index, min_score=1.5), tmp_path / "bundle")
    with Running(made, stub.url) as server:
        context = server.chat().json()["choices"][0]["message"]["context"]
        assert context["retrieval"] == "below_min_score" and context["min_score"] == 1.5
        assert server.chat(rarft={"min_score": -1.0}).json()["choices"][0]["message"]["context"]["citations"]


# To the hub, before a stand-in for it


class Hub(ThreadingHTTPServer):
    """Takes what `upload_folder` sends: which files it was told of, and their contents."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _HubHandler)
        self.files: dict[str, bytes] = {}
        self.created: list[str] = []
        self.refuse = False


class _HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def _json(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._json({"id": "org/name", "sha": "0" * 40, "siblings": [], "private": False, "tags": []})

    def do_POST(self) -> None:
        import base64

        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.split("?")[0]
        if self.server.refuse:
            self._json({"error": "no such token"}, 401)
        elif path.endswith("/repos/create"):
            self.server.created.append(json.loads(raw)["name"])
            self._json({"url": f"http://{self.headers['Host']}/org/name"})
        elif "/preupload/" in path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(raw)["files"]
            ]
            self._json({"files": files})
        elif "/commit/" in path:
            for line in raw.splitlines():
                told = json.loads(line)
                if told["key"] == "file":
                    self.server.files[told["value"]["path"]] = base64.b64decode(told["value"]["content"])
            self._json({"commitUrl": f"http://{self.headers['Host']}/org/name/commit/1", "commitOid": "1" * 40})
        else:
            self._json({})


def test_push_uploads_the_bundle_and_nothing_of_this_machine(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rarft.records.problems import Trace
    from rarft.serve import push as module

    corpus = Corpus(open_bundle(folder))
    corpus.add([Trace("a", "thingpu", "s")])
    corpus.close()
    hub = Hub()
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        _point_to(monkeypatch, hub)
        module.push(folder, "org/name")
        expected = {*json.loads((folder / "bundle.json").read_text())["files"], "bundle.json", "README.md"}
        assert set(hub.files) == expected and hub.created == ["name"]
        for name, content in hub.files.items():
            (tmp_path / "fetched" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "fetched" / name).write_bytes(content)
        open_bundle(tmp_path / "fetched")
        hub.refuse = True
        from rarft.core.errors import StageError

        with pytest.raises(StageError, match="the bundle is whole"):
            module.push(folder, "org/name")
        with pytest.raises(InputError, match="ORG/NAME"):
            module.push(folder, "name")
    finally:
        hub.shutdown()
        hub.server_close()


def _point_to(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    """Have huggingface_hub's own client talk to the stand-in."""
    from functools import partial

    import huggingface_hub

    endpoint = f"http://127.0.0.1:{hub.server_address[1]}"
    monkeypatch.setattr(huggingface_hub, "HfApi", partial(huggingface_hub.HfApi, endpoint=endpoint, token="hf_x"))
