"""The whole corridor on a small testbed, through `rarft run`, and the contracts of every file it leaves."""

# ruff: noqa: E501  (the recipe)
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rarft.cli import main

RECIPE = """
name: small
output: {output}
inputs: {{encoder: minilm}}
stages:
  testbed:
    {{n_warmup: 48, n_drills: 8, n_garbled: 8, n_train: 16, n_eval: 4, n_corpus: 64, policy: {{hidden: 48, layers: 2, heads: 4}}}}
  prepare: {{problems: "${{testbed}}/train", traces: "${{testbed}}/corpus", benchmarks: ["${{testbed}}/eval"], ngram: 40}}
  warmup: &train
    {{stage: train, algorithm: sft, problems: "${{testbed}}/warmup", traces: "${{testbed}}/warmup", model: "${{testbed}}/policy-init",
     analogies: "${{testbed}}/warmup", steps: 2, prompts_per_step: 4, learning_rate: 1.0e-3}}
  label: {{problems: "${{prepare}}", traces: "${{prepare}}", labeler: oracle}}
  train-retriever:
    {{problems: "${{prepare}}", traces: "${{prepare}}", labels: "${{label}}", base_model: "${{encoder}}", batch_size: 4,
     query_tokens: 48, trace_tokens: 48, max_steps: 2, held_out: 0.25}}
  evaluate-retriever:
    {{problems: "${{prepare}}", traces: "${{prepare}}", labels: "${{label}}", retriever: "${{train-retriever}}",
     base_model: "${{encoder}}"}}
  index: {{traces: "${{prepare}}", retriever: "${{train-retriever}}"}}
  retrieve: {{problems: "${{prepare}}", index: "${{index}}", top_k: 2}}
  retrieve-eval: {{stage: retrieve, problems: "${{testbed}}/eval", index: "${{index}}", top_k: 2}}
  grpo: &rl
    {{stage: train, algorithm: grpo, problems: "${{prepare}}", traces: "${{prepare}}", analogies: "${{retrieve}}", model: "${{warmup}}",
     retrieval: false, steps: 2, prompts_per_step: 2, num_generations: 2, max_completion_length: 12}}
  ra-rft: {{<<: *rl, retrieval: true}}
  evaluate-grpo: &evaluate
    {{stage: evaluate, problems: ["${{testbed}}/eval"], model: "${{grpo}}", samples: 2, max_new_tokens: 12}}
  evaluate-ra-rft: {{<<: *evaluate, model: "${{ra-rft}}", traces: "${{prepare}}", analogies: "${{retrieve-eval}}", top_k: 2}}
  report: {{runs: ["${{output}}"]}}
arms:
  - {{name: GRPO, evaluate: evaluate-grpo, train: grpo}}
  - {{name: RA-RFT, evaluate: evaluate-ra-rft, train: ra-rft, retriever: evaluate-retriever, system: retriever}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("end_to_end")
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(output=folder / "run"))
    assert main(["run", str(recipe)]) == 0
    yield folder / "run"


def columns(path: Path) -> dict[str, str]:
    return {field.name: str(field.type) for field in pq.read_schema(path)}


def test_contract_of_labels_and_analogies(run: Path) -> None:
    assert columns(run / "label" / "labels.parquet") == {
        "problem_id": "string", "trace_id": "string", "relevant": "bool", "score": "double", "labeler": "string",
        "rationale": "string",
    }  # fmt: skip
    found = pq.read_table(run / "retrieve" / "analogies.parquet").to_pylist()
    assert set(found[0]) == {"problem_id", "rank", "trace_id", "score"}
    ranks: dict[str, list[int]] = {}
    for row in found:
        ranks.setdefault(row["problem_id"], []).append(row["rank"])
    assert len(ranks) == 16 and all(rank == [1, 2] for rank in ranks.values())


def test_contract_of_rollouts_and_scores(run: Path) -> None:
    rollouts = pq.read_table(run / "evaluate-ra-rft" / "rollouts.parquet")
    assert {"problem_id", "sample", "trace_ids", "completion", "answer", "reward"} <= set(rollouts.column_names)
    assert pa.types.is_list(rollouts.schema.field("trace_ids").type) and len(rollouts) == 4 * 2
    assert all(len(ids) == 2 for ids in rollouts["trace_ids"].to_pylist())
    scores = json.loads((run / "evaluate-ra-rft" / "scores.json").read_text())
    for block in (scores["overall"], *scores["benchmarks"].values()):
        for metric in ("avg@k", "pass@k", "maj@k"):
            assert 0 <= block[metric]["low"] <= block[metric]["value"] <= block[metric]["high"] <= 1
    assert scores["overall"]["n_problems"] == 4 and scores["overall"]["n_samples"] == 2


def test_models_load_with_their_own_libraries(run: Path) -> None:
    from sentence_transformers import MultiVectorEncoder
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(run / "ra-rft")
    tokenizer = AutoTokenizer.from_pretrained(run / "ra-rft")
    assert model.config.vocab_size == len(tokenizer)
    assert MultiVectorEncoder(str(run / "train-retriever"), device="cpu").encode_query(["a problem"])[0].shape[1] > 0
    assert not [p for p in run.rglob("*") if p.suffix in (".bin", ".pt", ".pkl", ".pickle", ".pth")]


def test_every_manifest_says_what_it_was_made_of_and_cost(run: Path) -> None:
    order = json.loads((run / "run.json").read_text())["order"]
    for name in order:
        manifest = json.loads((run / name / "manifest.json").read_text())
        assert manifest["ledger"]["wall_seconds"] > 0 and manifest["ledger"]["peak_memory_mb"] > 0
        assert manifest["versions"]["rarft"] and manifest["config"]
        assert all(len(entry["digest"]) == 64 or entry["digest"].startswith("name:") for entry in
                   manifest["inputs"].values())  # fmt: skip
    assert not list(run.glob(".*"))


def test_the_report_is_one_file(run: Path) -> None:
    page = (run / "report" / "report.html").read_text()
    assert "RA-RFT" in page and not re.search(r"""(src|href)=["']https?://[^"']*\.(js|css)""", page)


def test_run_again_does_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in run.glob("*/manifest.json")}
    assert main(["run", str(run.parent / "recipe.yaml")]) == 0
    told = capsys.readouterr()
    assert told.err.count("done already") == len(before)
    assert "RA-RFT" in told.out and {p: p.stat().st_mtime_ns for p in before} == before


def test_same_seed_same_files(run: Path, tmp_path: Path) -> None:
    """All but times, and the names that LanceDB gives its files; what the index answers is in `retrieve`."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(output=tmp_path / "run"))
    assert main(["run", str(recipe), "--until", "evaluate-ra-rft"]) == 0
    compared = 0
    for path in sorted(p for p in (tmp_path / "run").rglob("*") if p.is_file()):
        name = path.relative_to(tmp_path / "run")
        twin = run / name
        if name.parts[0] == "index" or name.name in ("manifest.json", "run.json"):
            continue
        compared += 1
        if name.name == "log.jsonl":
            assert timeless(path) == timeless(twin), name
        else:
            assert path.read_bytes() == twin.read_bytes(), name
    assert compared > 40
    for manifest in (tmp_path / "run").glob("*/manifest.json"):
        twin = run / manifest.parent.name / "manifest.json"
        ours, theirs = (json.loads(file.read_text())["results"] for file in (manifest, twin))
        clock = {"engine_seconds", "tokens_per_second"}
        assert {k: v for k, v in ours.items() if k not in clock} == {k: v for k, v in theirs.items() if k not in clock}


def timeless(log: Path) -> list[dict[str, object]]:
    """Rows of a log without what the clock put there."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [{key: row[key] for key in row if not re.search("second|runtime|/s$", key)} for row in rows]


def test_commands_take_stage_folders_and_say_what_is_wrong(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = [
        (["retrieve", "--problems", f"{run}/prepare", "--index", f"{run}/index", "--top-k", "1000"], "top-k"),
        (["train", "--problems", f"{run}/prepare", "--model", f"{run}/label"], "no model weights|config.json"),
        (["train", "--problems", f"{run}/prepare", "--model", f"{run}/grpo", "--analogies", f"{run}/retrieve"],
         "--traces"),
        (["evaluate", "--problems", f"{run}/testbed/eval", "--model", f"{run}/grpo", "--samples", "0"], "samples"),
        (["evaluate", "--problems", f"{run}/testbed/eval", "--model", f"{run}/grpo", "--max-new-tokens", "9999"],
         "exceed the model"),
        (["index", "--traces", f"{run}/label", "--retriever", "minilm"], "no traces.jsonl"),
    ]  # fmt: skip
    for arguments, message in cases:
        output = run.parent / "wrong"
        assert main([*arguments, "--output", str(output)]) == 2, arguments
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("rarft: ")]
        assert len(told) == 1 and re.search(message, told[0]), told
        assert not output.exists() and not list(run.parent.glob(".wrong*")), arguments
