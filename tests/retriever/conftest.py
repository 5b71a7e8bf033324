"""A toy world: problems and traces share a hidden word, told in other letters; and an encoder small enough to train."""

import json
import random
from pathlib import Path

import pytest

STRUCTURES = ["ab", "cd", "ef", "gh", "ij", "kl"]
PROBLEM_WORDS = {s: f"{s}one" for s in STRUCTURES}
TRACE_WORDS = {s: f"{s}two" for s in STRUCTURES}
SURFACES = [f"thing{a}{b}" for a in "pqrst" for b in "uvwxyz"]


def write_rows(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files `problems`, `traces`, `labels` (JSONL), and an untrained encoder folder `model`."""
    folder = tmp_path_factory.mktemp("toy")
    rng = random.Random(0)

    def told(word: str) -> str:
        return " ".join([*rng.sample(SURFACES, 5), word, *rng.sample(SURFACES, 3)])

    problems = [
        {"id": f"p{i}", "question": told(PROBLEM_WORDS[s]), "answer": "1", "kind": "toy"}
        for i, s in enumerate(STRUCTURES * 12)
    ]
    traces = [
        {"id": f"t{i}", "problem": told(TRACE_WORDS[s]), "solution": f"take {TRACE_WORDS[s]}", "kind": "toy"}
        for i, s in enumerate(STRUCTURES * 6)
    ]
    labels = [
        {"problem_id": p["id"], "trace_id": t["id"], "relevant": i % 6 == j % 6, "score": float(i % 6 == j % 6)}
        for i, p in enumerate(problems)
        for j, t in enumerate(traces)
    ]
    return {
        "problems": write_rows(folder / "problems.jsonl", problems),
        "traces": write_rows(folder / "traces.jsonl", traces),
        "labels": write_rows(folder / "labels.jsonl", labels),
        "model": str(save_tiny_encoder(folder / "model")),
    }


def save_tiny_encoder(folder: Path) -> Path:
    """A BERT of two layers and 32 dimensions with one token per word of the toy world."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]", "take", ".", ","]
    words += [*PROBLEM_WORDS.values(), *TRACE_WORDS.values(), *SURFACES]
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(words),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
    ).save_pretrained(folder)
    return folder
