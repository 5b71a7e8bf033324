"""Random models of a few thousand parameters, a character tokenizer, and little problems, for tests without network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;+-*/=\\{}()?!\n"
SHAPE: dict[str, Any] = {
    "vocab_size": len(CHARACTERS) + 3,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
    "tie_word_embeddings": True,
}
CONFIGS = {
    "llama": lambda: LlamaConfig(**SHAPE),
    "qwen2": lambda: Qwen2Config(**SHAPE),
    "qwen3": lambda: Qwen3Config(**SHAPE),
    "mistral": lambda: MistralConfig(**SHAPE, sliding_window=8),
    "gemma3": lambda: Gemma3TextConfig(
        **SHAPE, sliding_window=8, layer_types=["sliding_attention"] * 2 + ["full_attention"]
    ),
}


def tiny_model(kind: str = "llama", seed: int = 0) -> Any:
    """A random float32 model whose logits differ enough to matter."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[kind]())
    for parameter in model.parameters():
        parameter.data.mul_(3.0 if parameter.ndim > 1 else 1.0)
    return model


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {"<pad>": 0, "<eos>": 1, "<unk>": 2, **{c: i + 3 for i, c in enumerate(CHARACTERS)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(?m:.)"), "isolated")
    from tokenizers import decoders

    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )


def save_policy(folder: Path, kind: str = "llama") -> str:
    tiny_model(kind).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def write_problems(folder: Path, n: int = 6) -> Path:
    """problems.jsonl, traces.jsonl and analogies.parquet: each problem has a trace but the last."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    problems = [{"id": f"p{i}", "question": f"What is {i}+{i + 1}?", "answer": str(2 * i + 1)} for i in range(n)]
    traces = [{"id": f"t{i}", "problem": f"{i}+1?", "solution": f"So \\boxed{{{i + 1}}}."} for i in range(n)]
    traces += [{"id": f"p{i}", "problem": "x", "solution": f"It is \\boxed{{{2 * i + 1}}}."} for i in range(n)]
    for name, rows in (("problems", problems), ("traces", traces)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [(f"p{i}", rank + 1, f"t{(i + rank) % n}", 1.0) for i in range(n - 1) for rank in range(2)]
    columns = dict(zip(("problem_id", "rank", "trace_id", "score"), zip(*rows, strict=True), strict=True))
    pq.write_table(pa.table(columns), folder / "analogies.parquet")
    return folder
