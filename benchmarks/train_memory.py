"""Peak memory of real `rarft train` runs against what `--dry-run` reckons, on random models of five configurations.

    python benchmarks/train_memory.py                                   # five configurations, up to 3 GiB, minutes
    python benchmarks/train_memory.py --model FOLDER -- --bf16          # one run with a model of yours, GRPO, 8 x 8
    python benchmarks/train_memory.py --head                            # the head alone, by the width of its tiles

Each run is a process of its own that trains two steps or more with a random reward; its peak is the process's largest
resident size (the allocator's on a GPU), as the manifest has it. Problems are random words, so completions reach their
limit. Options after `--` go to `rarft train` and win. Left out: vLLM, several processes, SFT.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rarft.core.artifacts import read_manifest
from rarft.rewards import Reward

NAMES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab")
SMALL = dict(zip(NAMES, (256, 1024, 8, 4, 8192), strict=True))
WIDE = dict(zip(NAMES, (576, 1536, 12, 9, 49152), strict=True))
WHOLE = {**WIDE, "num_hidden_layers": 30}
RUNS: dict[str, tuple[dict[str, int], list[str]]] = {
    "10M, float32": (SMALL, ["--micro-batch-tokens", "4096"]),
    "10M, checkpointing": (SMALL, ["--micro-batch-tokens", "4096", "--gradient-checkpointing"]),
    "71M, LoRA": (WIDE, ["--micro-batch-tokens", "2048", "--lora.rank", "16"]),
    "71M, bfloat16": (WIDE, ["--micro-batch-tokens", "1024", "--bf16"]),
    "135M, checkpointing": (WHOLE, ["--micro-batch-tokens", "1024", "--gradient-checkpointing"]),
}


class Even(Reward):
    """1 for about half of all completions."""

    def extract(self, completion: str) -> str | None:
        return completion

    def shortcut(self, gold: str, answer: str, extra: Mapping[str, Any]) -> float | None:
        return float(zlib.crc32(answer.encode()) % 2)

    def plain_gold(self, gold: str) -> bool:
        return True


def make_model(folder: Path, shape: dict[str, int]) -> None:
    """A random Llama and a tokenizer of as many words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

    size = shape["vocab"]
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(size)}, unk_token="w2"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="w0", eos_token="w1", unk_token="w2", padding_side="left"
    ).save_pretrained(folder)
    config = LlamaConfig(
        **{name: value for name, value in shape.items() if name != "vocab"}, vocab_size=size, pad_token_id=0,
        bos_token_id=None, eos_token_id=1, tie_word_embeddings=True, max_position_embeddings=4096,
        num_key_value_heads=shape["num_attention_heads"] // (3 if shape["num_attention_heads"] % 3 == 0 else 2),
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)


def write_problems(file: Path, tokens: int, words: list[str]) -> None:
    draw = random.Random(0)
    rows = [{"id": str(i), "question": " ".join(draw.choices(words, k=tokens)), "answer": "1"} for i in range(64)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run(model: Path, problems: Path, output: Path, args: argparse.Namespace, options: list[str]) -> dict[str, Any]:
    """One training in a process of its own: MiB at the peak, of them those reckoned, and seconds per step."""
    values = {
        "problems": problems, "model": model, "reward": "train_memory:Even", "num_generations": args.samples,
        "prompts_per_step": args.prompts, "max_new_tokens": args.completion, "steps": args.steps,
        "prompt.instruction": "", "prompt.template": "plain",
    }  # fmt: skip
    flags = [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))] + options
    path = [str(Path(__file__).parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    command = [sys.executable, "-m", "rarft.cli", "train", *flags]
    told = subprocess.run([*command, "--dry-run"], env=environment, capture_output=True, text=True, check=True).stdout
    line = next((line for line in told.splitlines() if line.startswith("memory: ")), "memory: 0 of ")
    started = time.monotonic()
    done = subprocess.run([*command, "--output", str(output)], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    steps = [json.loads(row) for row in (output / "log.jsonl").read_text().splitlines()]
    return {
        "options": options,
        "dry_run": line,
        "reckoned_gib": float(line.split()[1]),
        "peak_gib": read_manifest(output)["ledger"]["peak_memory_mb"] / 1024,
        "seconds_per_step": min(row["seconds"] for row in steps if "seconds" in row),
        "seconds": time.monotonic() - started,
    }


def show(name: str, row: dict[str, Any]) -> None:
    ratio = row["reckoned_gib"] / row["peak_gib"]
    print(
        f"{name:<22} reckoned {row['reckoned_gib']:5.1f} GiB  peak {row['peak_gib']:6.2f} GiB  ratio {ratio:.2f}  "
        f"{row['seconds_per_step']:6.1f} s a step\n    {row['dry_run']}",
        flush=True,
    )


def head() -> None:
    """Time and memory of TRL's chunked head, forward and backward, by the width of its tiles."""
    import torch
    from trl.kernels import ChunkedLogProbFunction

    from rarft.core.processes import release_memory

    tokens, hidden, words = 768, 448, 65536
    torch.manual_seed(0)
    states = torch.randn(tokens, hidden, requires_grad=True)
    weight, targets = torch.randn(words, hidden, requires_grad=True), torch.randint(words, (tokens,))
    for width in (32768, 8192, 2048, 512, 32768, 8192, 2048, 512):
        states.grad = weight.grad = None
        release_memory()
        Path("/proc/self/clear_refs").write_text("5")
        before, started = resident("VmRSS"), time.process_time()
        outputs = ChunkedLogProbFunction.apply(
            states, weight, None, targets, 1.0, width, None, 1.0, ("log_probs", "entropy")
        )
        outputs[0].sum().backward()
        seconds, grown = time.process_time() - started, resident("VmHWM") - before
        print(f"{width:>6} words wide: {seconds:5.2f} s of processor time, {grown:6.0f} MiB at the peak", flush=True)


def resident(field: str) -> float:
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(field))
    return float(line.split()[1]) / 1024


def main() -> None:
    """Read the command line; run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="configurations whose name has one of these words")
    parser.add_argument("--model", type=Path, help="a model folder to train instead, with its own tokenizer")
    parser.add_argument("--prompts", type=int, default=8, help="problems per step")
    parser.add_argument("--samples", type=int, default=8, help="samples per problem")
    parser.add_argument("--prompt", type=int, default=200, help="words of a problem")
    parser.add_argument("--completion", type=int, default=48, help="most tokens of a completion")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--head", action="store_true", help="measure the head alone")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("options", nargs="*", help="after --: more options of rarft train")
    args = parser.parse_args()
    if args.head:
        return head()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        problems = Path(folder) / "problems.jsonl"
        if args.model:
            write_problems(
                problems,
                args.prompt,
                ["time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child"],
            )
            found[args.model.name] = run(args.model, problems, Path(folder) / "out", args, args.options)
            show(args.model.name, found[args.model.name])
        else:
            write_problems(problems, args.prompt, [f"w{i}" for i in range(3, 8000)])
            chosen = {n: r for n, r in RUNS.items() if not args.only or any(word in n for word in args.only)}
            for i, (name, (shape, options)) in enumerate(chosen.items()):
                make_model(Path(folder) / f"model-{i}", shape)
                output = Path(folder) / f"out-{i}"
                found[name] = run(Path(folder) / f"model-{i}", problems, output, args, options + args.options)
                show(name, found[name])
    if args.output:
        args.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
