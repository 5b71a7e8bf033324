"""A small run made by real `evaluate` stages with a tiny random policy, and a train stage that only writes a log."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rarft.core.artifacts import write_json
from rarft.core.config import Config, Input
from rarft.core.stages import Work, stage
from rarft.evaluation import EvaluateConfig, evaluate
from rarft.records.rows import write_jsonl

ANSWERS = ["\\boxed{1}", "\\boxed{2}", "\\boxed{3}"]
QUESTIONS = ["one fox", "two hens", "three <b>cows</b>"]


def make_policy(folder: Path, seed: int) -> str:
    """A one-layer Llama whose words include whole answers, so that random weights give some right ones."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<eos>", "so", "then", *ANSWERS, "Problem:", "Solution:", "one", "two", "three", "what"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>")
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=128, eos_token_id=1, bos_token_id=None, pad_token_id=1, initializer_range=0.4,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


class LogConfig(Config):
    """Stands in for the train stage's config."""

    model: Input
    """Policy."""
    seed: int = 0
    """Seed."""


@stage("train", "trains")
def write_log(config: LogConfig, work: Work) -> None:
    """A log of the form that training writes, with a curve made up for the test."""
    rows = [
        {"step": step, "reward": 1 - math.exp(-step / 20), "loss": 1 / (1 + step), "mean_length": 20 + step,
         "reason/correct": 1 - math.exp(-step / 20), "reason/wrong": math.exp(-step / 20)}
        for step in range(0, 200, 2)
    ]  # fmt: skip
    (work.path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_run(folder: Path, seed: int, n: int = 12) -> Path:
    """A run folder: arms `bare` and `RA-RFT`, context variation, a training log."""
    folder.mkdir(parents=True)
    data = folder.parent / "data"
    data.mkdir(exist_ok=True)
    write_jsonl(data / "bench.jsonl", [
        {"id": f"p{i}", "question": f"what {QUESTIONS[i % 3]} {i}", "answer": str(i % 3 + 1), "structure": f"s{i % 3}"}
        for i in range(n)
    ])  # fmt: skip
    write_jsonl(data / "traces.jsonl", [
        {"id": f"t{i}", "problem": f"the {QUESTIONS[i % 3]}", "solution": f"so {ANSWERS[i % 3]}"} for i in range(4)
    ])  # fmt: skip
    rows = [
        {"problem_id": f"p{i}", "rank": r, "trace_id": f"t{(i + r) % 4}", "score": 1 / r}
        for i in range(n) for r in (1, 2)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), data / "analogies.parquet")
    model = make_policy(data / f"policy-{seed}", seed)
    common = {"problems": str(data / "bench.jsonl"), "samples": 4, "max_new_tokens": 6, "seed": seed, "model": model}
    traced = common | {"traces": str(data / "traces.jsonl"), "analogies": str(data / "analogies.parquet")}
    write_log(LogConfig(model=model, seed=seed), folder / "ra-rft")
    evaluate(EvaluateConfig.model_validate(common), folder / "evaluate-bare")
    evaluate(EvaluateConfig.model_validate(traced), folder / "evaluate-ra-rft")
    each = traced | {"top_k": 2, "contexts": "each"}
    evaluate(EvaluateConfig.model_validate(each), folder / "contexts")
    recipe = {
        "name": "tiny",
        "description": "A tiny run.",
        "seed": seed,
        "order": ["ra-rft", "evaluate-bare", "evaluate-ra-rft", "contexts"],
        "arms": [
            {"name": "bare", "evaluate": "evaluate-bare"},
            {"name": "RA-RFT", "evaluate": "evaluate-ra-rft", "train": "ra-rft"},
        ],
    }
    write_json(folder / "run.json", recipe)
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run."""
    return make_run(tmp_path_factory.mktemp("runs") / "seed-0", 0)


@pytest.fixture(scope="session")
def other_run(run: Path) -> Path:
    """The same recipe under another seed, on the same problems."""
    return make_run(run.parent / "seed-1", 1)


@pytest.fixture(scope="session")
def run_maker() -> Callable[..., Path]:
    """Makes further runs."""
    return make_run
