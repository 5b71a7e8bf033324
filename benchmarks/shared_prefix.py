"""Time and memory of an update and a rollout: the released TRL GRPOTrainer, and ours with the prompt computed once.

Both trainers get the same weights and the same batches, one group of G completions of C tokens each after a prompt of
P tokens, and run alternately in one process; times are medians, on a CPU of CPU time (so that a busy machine disturbs
them less), and a ratio is the median over pairs. Memory is what
an update holds at its peak beyond weights and gradients: the process's peak resident size on a CPU, the allocator's on
a GPU. The model is random, in the shape of a 135M Llama by default; what is measured does not depend on the weights.

    python benchmarks/shared_prefix.py --output results.json                      # CPU, 135M, float32
    python benchmarks/shared_prefix.py --device cuda --bf16 --shape 0.5b --gpu-grid --largest --output gpu.json

Left out: vLLM rollouts (its prefix cache is its own), several GPUs.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config
from trl import GRPOConfig, GRPOTrainer

from rarft.models.packing import base_model
from rarft.policy.trl.shared import SharedGRPOTrainer

SHAPES: dict[str, Any] = {
    "135m": LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=8192, tie_word_embeddings=True, pad_token_id=0,
    ),
    "0.5b": Qwen2Config(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, max_position_embeddings=32768, tie_word_embeddings=True, pad_token_id=0,
    ),
    "tiny": LlamaConfig(
        vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=8192, tie_word_embeddings=True, pad_token_id=0,
    ),
}  # fmt: skip
GRID = [(400, 80, 8), (80, 80, 8), (400, 80, 16), (200, 80, 8), (800, 80, 8), (400, 160, 8)]
CHECKPOINTED = [(400, 80, 8), (1024, 512, 8)]
GPU_GRID = [(p, c, g) for p in (512, 1024, 2048, 4096) for c in (512, 2048, 8192) for g in (8, 16)]


def make_trainers(args: argparse.Namespace, folder: str) -> dict[str, Any]:
    """TRL's and our trainer around equal models."""
    vocabulary = {f"t{i}": i for i in range(8)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="t2")),
        pad_token="t0", eos_token="t1", unk_token="t2", padding_side="left",
    )  # fmt: skip
    trainers = {}
    shape = SHAPES[args.shape]
    if args.layers:
        shape.num_hidden_layers = args.layers
        shape.layer_types = None if not hasattr(shape, "layer_types") else shape.layer_types[: args.layers]
    for name, cls in (("trl", GRPOTrainer), ("ours", SharedGRPOTrainer)):
        config = GRPOConfig(
            output_dir=folder, per_device_train_batch_size=8, num_generations=8, max_completion_length=80,
            report_to=[], bf16=args.bf16, use_cpu=args.device == "cpu", gradient_checkpointing=False, beta=0.0,
            loss_type="grpo", dataloader_pin_memory=False,
        )  # fmt: skip
        torch.manual_seed(0)
        trainer = cls(
            model=AutoModelForCausalLM.from_config(shape, dtype=torch.float32).to(args.device),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=config,
            train_dataset=Dataset.from_dict({"prompt": ["t3"] * 8}),
            processing_class=tokenizer,
        )
        trainer.current_gradient_accumulation_steps = 1
        trainer.micro_batch_tokens = args.tokens
        trainer.model = trainer.accelerator.prepare_model(trainer.model)
        trainer.model_wrapped = trainer.model
        trainer.model.train()
        trainers[name] = trainer
    return trainers


def make_batch(trainer: Any, p: int, c: int, g: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """One group in TRL's form: the prompt G times, G completions."""
    generator = torch.Generator().manual_seed(seed)
    size = trainer.model.config.vocab_size
    prompt = torch.randint(8, size, (1, p), generator=generator).expand(g, -1)
    completion = torch.randint(8, size, (g, c), generator=generator)
    batch = {
        "prompt_ids": prompt.contiguous(),
        "prompt_mask": torch.ones(g, p, dtype=torch.long),
        "completion_ids": completion,
        "completion_mask": torch.ones(g, c, dtype=torch.long),
        "advantages": torch.linspace(-1, 1, g),
        "num_items_in_batch": torch.tensor(float(g * c)),
    }
    return {name: value.to(trainer.accelerator.device) for name, value in batch.items()}


def update(trainer: Any, batch: dict[str, torch.Tensor]) -> None:
    """Forward and backward pass."""
    loss = trainer.compute_loss(trainer.model, batch)
    trainer.accelerator.backward(loss)
    synchronise(trainer)


def rollout(trainer: Any, p: int, c: int, g: int) -> None:
    """Sample G completions of exactly C tokens: no token ends them early."""
    trainer.max_completion_length = c
    trainer.generation_config.max_new_tokens = c
    trainer.eos_token_ids = trainer.generation_config.eos_token_id = [10**6]
    trainer.num_generations = g
    ids = make_batch(trainer, p, 1, 1)["prompt_ids"][0].tolist()
    rows = trainer._generate_single_turn([ids] * g, None, {}, g)[0]
    assert all(len(row) == c for row in rows)
    synchronise(trainer)


def synchronise(trainer: Any) -> None:
    if trainer.accelerator.device.type == "cuda":
        torch.cuda.synchronize()


def seconds(trainer: Any, function: Any, *arguments: Any) -> float:
    """Wall time on a GPU; on a CPU the process's CPU time, which other processes disturb less."""
    clock = time.perf_counter if trainer.accelerator.device.type == "cuda" else time.process_time
    started = clock()
    function(trainer, *arguments)
    return clock() - started


def memory(trainer: Any, batch: dict[str, torch.Tensor]) -> float:
    """MiB an update holds at its peak, beyond what it found (weights and gradients)."""
    gc.collect()
    if trainer.accelerator.device.type == "cuda":
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        update(trainer, batch)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    release_to_system()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts at the present size
    before = status("VmRSS")
    update(trainer, batch)
    return (status("VmHWM") - before) / 1024


def release_to_system() -> None:
    import ctypes

    ctypes.CDLL("libc.so.6").malloc_trim(0)


def status(field: str) -> float:
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith(field))
    return float(line.split()[1])


def largest_group(trainer: Any, p: int, c: int) -> int:
    """The largest power of two G whose update fits."""
    fits, g = 0, 8
    while g <= 4096:
        try:
            update(trainer, make_batch(trainer, p, c, g))
        except torch.OutOfMemoryError:
            break
        finally:
            trainer.model.zero_grad(set_to_none=False)
            torch.cuda.empty_cache()
        fits, g = g, g * 2
    return fits


def measure(args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        trainers = make_trainers(args, folder)
    found: dict[str, Any] = {"update": [], "rollout": [], "setting": vars(args) | {"threads": torch.get_num_threads()}}
    found["setting"]["where"] = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    for trainer in trainers.values():  # gradients exist from here on, as in training
        update(trainer, make_batch(trainer, 8, 8, 2))
    for p, c, g, checkpointed in [(*size, False) for size in args.cells] + [
        (*size, True) for size in args.checkpointed
    ]:
        for trainer in trainers.values():
            switch = "enable" if checkpointed else "disable"
            getattr(base_model(trainer.model), f"gradient_checkpointing_{switch}")()
        batches = {name: make_batch(trainer, p, c, g) for name, trainer in trainers.items()}
        times: dict[str, list[float]] = {name: [] for name in trainers}
        try:
            peak = {name: memory(trainers[name], batches[name]) for name in trainers}
            for _ in range(args.repeats):
                for name, trainer in trainers.items():
                    times[name].append(seconds(trainer, update, batches[name]))
                    trainer.model.zero_grad(set_to_none=False)
        except torch.OutOfMemoryError:
            print(f"update  P{p:<5} C{c:<5} G{g:<3} does not fit", flush=True)
            for trainer in trainers.values():
                trainer.model.zero_grad(set_to_none=False)
            continue
        row = summary(p, c, g, times) | {
            "checkpointed": checkpointed, "ceiling": ceiling(p, c, g),
            "trl_mib": peak["trl"], "ours_mib": peak["ours"], "memory_ratio": peak["ours"] / peak["trl"],
        }  # fmt: skip
        found["update"].append(row)
        show("update ", row)
    rounds: list[dict[tuple[int, int, int], dict[str, float]]] = []
    for _ in range(args.repeats):  # cells in turn too: how they compare with each other is a result
        rounds.append(
            {cell: {name: seconds(t, rollout, *cell) for name, t in trainers.items()} for cell in args.rollouts}
        )
    for cell in args.rollouts:
        times = {name: [done[cell][name] for done in rounds] for name in trainers}
        row = summary(*cell, times)
        first = next(other for other in args.rollouts if other[1:] == cell[1:])
        row["ours_to_first"] = statistics.median(done[cell]["ours"] / done[first]["ours"] for done in rounds)
        found["rollout"].append(row)
        show("rollout", row)
    if args.largest:
        for p, c in ((2048, 512), (4096, 512)):
            row = {"P": p, "C": c} | {name: largest_group(trainer, p, c) for name, trainer in trainers.items()}
            found.setdefault("largest_group", []).append(row)
            print("largest group that fits:", row)
    return found


def ceiling(p: int, c: int, g: int) -> float:
    """How many times fewer tokens run when the prompt runs once: no sharing can be faster than this by much."""
    return g * (p + c) / (p + g * c)


def print_ceilings() -> None:
    """The ceiling as a table of prompt by completion length: where sharing stops paying."""
    for g in (8, 16):
        for p in (1024, 4096):
            found = ", ".join(f"C {c:,}: {ceiling(p, c, g):.2f}" for c in (80, 512, 2048, 8192, 32768))
            print(f"ceiling G(P+C)/(P+GC), G {g}, P {p:,}: {found}")


def summary(p: int, c: int, g: int, times: dict[str, list[float]]) -> dict[str, Any]:
    ratios = [a / b for a, b in zip(times["trl"], times["ours"], strict=True)]
    middle = {name: statistics.median(values) for name, values in times.items()}
    return {
        "P": p, "C": c, "G": g, "trl_s": middle["trl"], "ours_s": middle["ours"],
        "speedup": statistics.median(ratios), "speedup_low": min(ratios), "speedup_high": max(ratios),
    }  # fmt: skip


def show(what: str, row: dict[str, Any]) -> None:
    text = (
        f"{what} P{row['P']:<5} C{row['C']:<5} G{row['G']:<3} TRL {row['trl_s']:7.2f} s  ours {row['ours_s']:7.2f} s  "
    )
    text += f"{row['speedup']:.2f}x ({row['speedup_low']:.2f}-{row['speedup_high']:.2f})"
    if "trl_mib" in row:
        text += f" of {row['ceiling']:.2f}{' checkpointed' if row['checkpointed'] else ''}"
        text += f"  peak {row['trl_mib']:6.0f} / {row['ours_mib']:6.0f} MiB ({row['memory_ratio']:.2f})"
    if "ours_to_first" in row:
        text += f"  ours {row['ours_to_first']:.2f} times that of the first P"
    print(text, flush=True)


def cell(text: str) -> tuple[int, int, int]:
    p, c, g = map(int, text.split(","))
    return p, c, g


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="135m")
    parser.add_argument("--layers", type=int, help="fewer layers than the shape has, where memory is short")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--cells", type=cell, nargs="*", default=GRID, help="P,C,G of updates")
    parser.add_argument(
        "--checkpointed",
        type=cell,
        nargs="*",
        default=CHECKPOINTED,
        help="P,C,G of updates with gradient checkpointing",
    )
    parser.add_argument(
        "--tokens", type=int, default=2**30, help="ours: cut the update into pieces of this many tokens"
    )
    parser.add_argument("--ceilings", action="store_true", help="only print the table of ceilings")
    parser.add_argument("--rollouts", type=cell, nargs="*", default=[(80, 80, 8), (400, 80, 8)], help="P,C,G")
    parser.add_argument("--gpu-grid", action="store_true", help="P 512-4096, C 512-8192, G 8-16, and C 32,768 once")
    parser.add_argument("--largest", action="store_true", help="also find the largest group that fits (GPU)")
    parser.add_argument("--output", help="JSON file for the figures")
    args = parser.parse_args()
    if args.gpu_grid:
        args.cells = [size for size in GPU_GRID if size[1] <= 2048]
        args.checkpointed = [*GPU_GRID, (1024, 32768, 8)]
        args.rollouts = [(512, 512, 16), (2048, 512, 16), (4096, 512, 16)]
    if args.ceilings:
        return print_ceilings()
    torch.set_num_threads(args.threads)
    found = measure(args)
    if args.output:
        Path(args.output).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
