"""The testbed's initial policy: a small Llama with random weights, and a tokenizer with one token per word or number.

Its words are those of the warm-up; every other word is one and the same unknown token, as unfamiliar words are to a
beginner. What is left out: pretrained weights; the warm-up is an ordinary `sft` training stage.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIALS = ("<pad>", "<eos>", "<unk>")
SYMBOLS = (*"+-*/=.,:?'", "\\boxed{", "}", "Problem", "Solution", "Work", "out")

INITIAL_STD = 0.06  # the usual 0.02 is for models ten times as wide; here it takes twice the steps


def build_tokenizer(words: Iterable[str], largest_number: int, context: int) -> PreTrainedTokenizerFast:
    """A word-level tokenizer: words, whole numbers 0..largest_number, symbols; the rest is `<unk>`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    entries = [*SPECIALS, *SYMBOLS, *map(str, range(largest_number + 1)), *words]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(entries))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r"\\boxed\{|[A-Za-z]+|[0-9]+|[^A-Za-z0-9]"), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=True),
            decoders.Fuse(),
            decoders.Replace("\\boxed{ ", "\\boxed{"),
            decoders.Replace(" }", "}"),
            decoders.Replace(" :", ":"),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def save_initial_policy(
    folder: Path,
    words: Iterable[str],
    largest_number: int,
    *,
    hidden: int,
    layers: int,
    heads: int,
    context: int,
    seed: int,
) -> int:
    """Write a randomly initialised Llama and its tokenizer as a Hugging Face folder.

    Args:
        hidden: width of the residual stream; the feed-forward part is 8/3 of it, rounded to 64.
        context: longest sequence in tokens.

    Returns:
        Number of parameters.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = build_tokenizer(words, largest_number, context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=hidden,
                intermediate_size=-(-hidden * 8 // 3 // 64) * 64,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                num_key_value_heads=heads,
                max_position_embeddings=context,
                tie_word_embeddings=True,
                initializer_range=INITIAL_STD,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                bos_token_id=None,
            )
        )
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())
