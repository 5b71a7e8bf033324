"""Memory that a training run needs at its peak on each device, reckoned before it runs, from the model's config alone.

A run has moments that differ in what they hold: the update (weights, gradients, optimiser states, activations of one
piece of the micro-batch, the head's tiles) and the rollouts (weights, states, keys and values, vLLM's share). The peak
is the larger. `benchmarks/train_memory.py` compares it with what real runs took. Left out: images, what DeepSpeed does,
activation offloading, quantised weights; FSDP is taken to shard weights, gradients and states evenly.

    rarft train ... --dry-run
    memory: 9.6 of 23.5 GiB at the peak (update: weights 1.8, gradients 1.8, optimiser 3.7, process 0.6, ...)
"""

from __future__ import annotations

import json
import os
import re
import shlex
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from rarft.core.errors import InputError
from rarft.models.number_types import has_amx
from rarft.policy.config import TrainConfig, mixed_precision, tokens_at_once
from rarft.records.problems import load_problems, load_traces

GIB = 2**30
PROCESS = int(0.65 * GIB)
"""What a process holds before it has a model: on a CPU its libraries, on a GPU the context."""
KERNELS = GIB // 2
"""What oneDNN compiles for bfloat16 on a CPU with AMX (measured, with the limit that `rarft.cli` sets)."""
TEXT = 512
"""Tokens of a problem that cannot be read now."""
HOLES = 1.25
"""What adapters add on a CPU: their passing results leave holes in the heap between the activations (measured)."""
LEAST_TOKENS = 1024
"""The smallest budget of a pass that is advised."""
MOST_READ = 2**26
"""Bytes of data that a dry run reads for the lengths of its texts."""


@dataclass(frozen=True)
class Shape:
    """A causal language model in numbers."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    """Width of the MLP that a token goes through; of all its experts together."""
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool = True
    """Whether the head is the embedding."""
    qk_norm: bool = False
    context: int | None = None
    """Most tokens that the model takes."""

    @property
    def of_queries(self) -> int:
        return self.heads * self.head_dim

    @property
    def of_keys(self) -> int:
        return self.kv_heads * self.head_dim


@dataclass(frozen=True)
class Load:
    """What runs on a device: the lengths and numbers that its memory depends on."""

    prompt: int
    """Tokens of the longest prompt."""
    rows: int
    """Sequences of an optimiser step."""
    at_once: int
    """Sequences of a micro-batch, which is cut into passes."""
    tokens: int
    """Tokens in one forward and backward pass."""
    scored: int
    """Of these the completions', which the head sees."""
    pieces: int
    """Passes of a step."""


@dataclass(frozen=True)
class Plan:
    """Bytes at the peak by what they are for, and the moment."""

    moment: str
    parts: dict[str, int]

    @property
    def peak(self) -> int:
        """Bytes in all."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Device:
    """What a run is planned for."""

    gpu: bool
    memory: int
    """Bytes."""
    processes: int = 1
    shards: int = 1
    """Devices over which weights, gradients and states are parted (FSDP)."""
    amx: bool = False
    """A CPU that multiplies bfloat16 in tiles."""


# The model


def shape_of(model: str) -> Shape | None:
    """The model's shape from its config and, where they are there, its weights' headers; None where it is not here.

    Nothing is downloaded and no weight is read.
    """
    from transformers import AutoConfig  # torch: keeps --help quick

    path = Path(model).expanduser()
    try:
        if (path / "adapter_config.json").is_file() and not (path / "config.json").is_file():
            return shape_of(json.loads((path / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"])
        if path.is_file():
            config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
        else:
            config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
        return shape_from(config, count_parameters(path, config))
    except Exception:  # a broken or missing config makes the library raise anything; the run itself tells what it is
        return None


def shape_from(config: Any, parameters: int) -> Shape:
    """The shape that a transformers config tells."""
    text = config.get_text_config(decoder=True)
    heads = text.num_attention_heads
    experts = getattr(text, "num_experts_per_tok", None)
    width = text.intermediate_size
    if experts:
        width = experts * (getattr(text, "moe_intermediate_size", None) or width)
    return Shape(
        parameters=parameters,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=width,
        heads=heads,
        kv_heads=getattr(text, "num_key_value_heads", None) or heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // heads,
        vocabulary=text.vocab_size,
        tied=bool(getattr(config, "tie_word_embeddings", True)),
        qk_norm=text.model_type.startswith(("qwen3", "gemma3")),
        context=getattr(text, "max_position_embeddings", None),
    )


def count_parameters(folder: Path, config: Any) -> int:
    """Numbers in the folder's safetensors, by their headers; without any, in a model that has no memory of its own."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if files:
        return sum(_numbers_in(file) for file in files)
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())


def _numbers_in(file: Path) -> int:
    with open(file, "rb") as opened:
        header = json.loads(opened.read(struct.unpack("<Q", opened.read(8))[0]))
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def adapter_parameters(shape: Shape, config: TrainConfig) -> int:
    """Numbers in the LoRA adapters."""
    h, q, kv, i = shape.hidden, shape.of_queries, shape.of_keys, shape.intermediate
    widths = {"q_proj": h + q, "k_proj": h + kv, "v_proj": h + kv, "o_proj": q + h}
    widths |= dict.fromkeys(("gate_proj", "up_proj", "down_proj"), h + i)
    names = [name.strip() for name in config.lora.target_modules.split(",")]
    chosen = [width for name, width in widths.items() if name in names] or list(widths.values())
    return config.lora.rank * shape.layers * sum(chosen)


# The run


def load_of(config: TrainConfig, shape: Shape, device: Device, prompt: int) -> Load:
    """How many tokens run at a time.

    Args:
        prompt: tokens of the longest prompt.
    """
    completion = config.max_new_tokens
    if shape.context:
        completion = min(completion, shape.context)
        prompt = max(1, min(prompt, shape.context - completion))
    budget = tokens_at_once(config, device.gpu)
    if config.algorithm == "sft":  # padded rows, as many as the budget allows
        rows = max(1, config.prompts_per_step // device.processes)
        at_once = min(config.micro_batch or rows, rows, max(1, budget // (prompt + completion)))
        tokens = at_once * (prompt + completion)
        return Load(prompt, rows, at_once, tokens, at_once * completion, -(-rows // at_once))
    group = config.num_generations
    rows = max(1, config.prompts_per_step * group // device.processes)
    at_once = min(config.micro_batch or rows, rows)
    each = prompt * config.contexts_per_group
    whole = at_once * completion + -(-at_once // group) * each
    tokens = max(prompt + completion, min(budget, whole))
    share = group * completion / (each + group * completion)
    scored = max(completion, int(tokens * share)) if tokens > prompt + completion else completion
    pieces = -(-whole // tokens) * -(-rows // at_once)
    return Load(prompt, rows, at_once, tokens, min(scored, tokens), pieces)


def plan(config: TrainConfig, shape: Shape, device: Device, prompt: int = TEXT) -> Plan:
    """The peak on a device, at its moment, by parts."""
    return max(moments(config, shape, device, prompt), key=lambda moment: moment.peak)


def moments(config: TrainConfig, shape: Shape, device: Device, prompt: int = TEXT) -> list[Plan]:
    """What each moment of the run holds: the update, and for RL the rollouts."""
    config = config.model_copy(update={"bf16": mixed_precision(config, device.gpu)})
    load = load_of(config, shape, device, prompt)
    states = _states(config, shape, device)
    vllm, asleep = _vllm(config, shape, device)
    update = {**states, **_update(config, shape, device, load), "vLLM": 0 if asleep else vllm}
    found = [Plan("update", _without_zeros(update))]
    if config.algorithm != "sft":
        kept = {name: size for name, size in states.items() if name != "gradients"}
        rollout = {**kept, "vLLM": vllm}
        if config.vllm == "none":
            rollout |= _rollout(config, shape, load)
        found.append(Plan("rollouts", _without_zeros(rollout)))
    return found


def _without_zeros(parts: dict[str, int]) -> dict[str, int]:
    return {name: size for name, size in parts.items() if size}


def _bytes(config: TrainConfig) -> tuple[int, int]:
    """Bytes of a weight, and of a number that is computed."""
    weight = 2 if config.dtype == "bfloat16" else 4
    return weight, 2 if config.bf16 else weight


def _states(config: TrainConfig, shape: Shape, device: Device) -> dict[str, int]:
    """What is there all the time; gradients from a step's first backward pass to its end."""
    weight, _ = _bytes(config)
    adapters = adapter_parameters(shape, config) if config.lora.rank else 0
    trained = adapters * 4 if adapters else shape.parameters * weight
    optim = str(config.trl.get("optim", "adamw"))
    per_number = 0.0 if optim == "sgd" else 0.5 if "8bit" in optim else 2.0
    if config.optimizer == "muon":  # a momentum, and of embedding and head AdamW's two
        apart = 0 if adapters else _embeddings(shape) / shape.parameters
        per_number = 1.0 + apart
    reference = config.beta > 0 and not adapters and config.algorithm != "sft"
    parts = {
        "weights": shape.parameters * weight + adapters * 4,
        "gradients": trained,
        "optimiser": int(trained * per_number),
        "reference model": shape.parameters * weight if reference else 0,
    }
    parts = {name: size // device.shards for name, size in parts.items()}
    if device.shards > 1:  # what a layer's turn gathers, and the embedding with the head
        layer = (shape.parameters - _embeddings(shape)) // shape.layers
        parts["gathered weights"] = 2 * (_embeddings(shape) + layer) * weight
    kernels = KERNELS if device.amx and _bytes(config)[1] == 2 else 0
    return {**parts, "process": PROCESS, "kernels": kernels}


def _embeddings(shape: Shape) -> int:
    return shape.vocabulary * shape.hidden * (1 if shape.tied else 2)


def _update(config: TrainConfig, shape: Shape, device: Device, load: Load) -> dict[str, int]:
    weight, number = _bytes(config)
    h, q, kv, i = shape.hidden, shape.of_queries, shape.of_keys, shape.intermediate
    mixed = number < weight
    # kept for the backward pass, per token and layer: two norms, attention, a gated MLP
    norms = 26 * h if mixed else 24 * h if number == 4 else 16 * h
    attention = number * 2 * (q + kv)
    if shape.qk_norm:
        attention += (8 if number == 4 else 6) * (q + kv)
    adapters = 4 * (i + q + 2 * h) if config.lora.rank and weight == 2 else 0  # they compute in float32
    layer = load.tokens * (norms + attention + adapters + 4 * i * number)
    passing = load.tokens * (3 * i * number + 2 * h * 4)  # gradients within a layer
    copies = 2 * (shape.parameters - _embeddings(shape)) // device.shards if mixed else 0
    if config.gradient_checkpointing:
        activations = shape.layers * load.tokens * h * weight + layer + passing
        copies = max(0, copies - layer - passing)  # the forward pass's copies go before a layer is computed again
    else:
        activations = shape.layers * layer + passing
    activations += 3 * load.tokens * h * 4
    if config.lora.rank and not device.gpu:
        activations = int(activations * HOLES)
    head = 3 * load.scored * h * 4
    if device.gpu:
        head += min(load.scored, 4096) * min(shape.vocabulary, 32768) * number
    else:
        head += 9 * min(load.scored, 4096) * min(shape.vocabulary, 2048) * 4
    if not config.lora.rank:  # the gradient of the head, or of the embedding when the activations are gone
        matrix = shape.vocabulary * h * 4
        head += matrix if device.gpu or device.processes > 1 else max(0, matrix - activations)
    loss = 12 * 4 * load.at_once * config.max_new_tokens
    parts = {"bfloat16 copies": copies, "activations": activations, "head": head, "loss": loss}
    if load.pieces == 1:  # gradients come as activations go
        gradients = _states(config, shape, device)["gradients"]
        parts["gradients"] = max(0, gradients - activations)
    return parts


def _rollout(config: TrainConfig, shape: Shape, load: Load) -> dict[str, int]:
    """Of our own decoding: keys and values, the prompts' pass, and the draw over the vocabulary."""
    _, number = _bytes(config)
    rows = min(config.rollout_batch, load.rows)
    prompts = -(-rows // config.num_generations)
    kv = shape.layers * 2 * shape.of_keys * number
    cache = kv * int(prompts * load.prompt + 1.5 * rows * config.max_new_tokens)
    running = prompts * load.prompt * (3 * shape.intermediate + 4 * shape.hidden) * number
    return {"keys and values": cache, "decoding": max(running, rows * shape.vocabulary * 32)}


def _vllm(config: TrainConfig, shape: Shape, device: Device) -> tuple[int, bool]:
    """Bytes of a colocated vLLM, and whether it gives them back during the update."""
    if config.vllm != "colocate":
        return 0, False
    if not device.gpu:
        return shape.parameters * 2 + int(os.environ.get("VLLM_CPU_KVCACHE_SPACE") or 4) * GIB, False
    share = float(config.trl.get("vllm_gpu_memory_utilization", 0.3))
    return int(share * device.memory), bool(config.trl.get("vllm_enable_sleep_mode", False))


# The device


def device_of(config: TrainConfig) -> Device:
    """The device that a run will have: what `device_memory` says, else this machine's."""
    processes, fsdp = _launched(config.launch)
    shards = processes if fsdp else 1
    if config.device_memory:
        return Device(True, int(config.device_memory * GIB), processes, shards)
    gpu, memory, amx = _here()
    return Device(gpu, memory if gpu else memory // processes, processes, shards, amx)


def _here() -> tuple[bool, int, bool]:
    """Whether there is a GPU, its or this machine's memory, and whether the CPU has AMX."""
    import torch

    if torch.cuda.is_available():
        return True, torch.cuda.get_device_properties(0).total_memory, False
    return False, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), has_amx()


def _launched(launch: str) -> tuple[int, bool]:
    """Number of processes that the arguments of `accelerate launch` start, and whether FSDP parts the model."""
    words = shlex.split(launch)
    text = " ".join(words)
    found = re.search(r"--num_processes[ =](\d+)", text)
    file = re.search(r"--config_file[ =](\S+)", text)
    told = Path(file[1]).read_text("utf-8") if file and Path(file[1]).is_file() else ""
    in_file = re.search(r"^num_processes:\s*(\d+)", told, re.M)
    number = int(found[1]) if found else int(in_file[1]) if in_file else 1
    return max(1, number), "--use_fsdp" in words or bool(re.search(r"^distributed_type:\s*FSDP", told, re.M))


# What is said


def describe(config: TrainConfig, shape: Shape | None) -> str:
    """The line of a dry run: the peak, its parts, and what to change where it does not fit.

    Args:
        shape: of the policy; None where it is not known.
    """
    if shape is None:
        return f"memory: known once {config.model} is on this machine (a folder with its config.json is enough)"
    device = device_of(config)
    at = longest_prompt(config)
    found = plan(config, shape, device, at)
    parts = ", ".join(f"{name} {gib(size)}" for name, size in found.parts.items() if size >= 0.05 * GIB)
    line = f"memory: {gib(found.peak)} of {gib(device.memory)} GiB at the peak ({found.moment}: {parts})"
    if found.peak <= device.memory:
        return line
    return f"{line}; too much: {advise(config, shape, device, at)}"


def gib(size: int) -> str:
    """`1.5` for 1,610,612,736 bytes."""
    return f"{size / GIB:.1f}"


def advise(config: TrainConfig, shape: Shape, device: Device, prompt: int = TEXT) -> str:
    """Which options to change, as few as bring the peak under the device's memory; those that cost least come first."""

    def excess(changed: TrainConfig) -> int:
        """Bytes that are missing, over all moments."""
        return sum(max(0, moment.peak - device.memory) for moment in moments(changed, shape, device, prompt))

    def changes() -> Iterator[tuple[str, dict[str, Any]]]:
        """Each of the config as the ones before have left it."""
        yield "trl.vllm_enable_sleep_mode true", {"trl": {**config.trl, "vllm_enable_sleep_mode": True}}
        yield "--rollout-batch 32", {"rollout_batch": min(32, config.rollout_batch)}
        checkpointing = ("--gradient-checkpointing", {"gradient_checkpointing": True})
        if not device.gpu:  # costs nothing on a CPU, a smaller budget does (docs/train.md)
            yield checkpointing
        tokens = tokens_at_once(config, device.gpu)
        while tokens > LEAST_TOKENS and excess(config.model_copy(update={"micro_batch_tokens": tokens})):
            tokens = max(LEAST_TOKENS, tokens // 2)
        yield f"--micro-batch-tokens {tokens}", {"micro_batch_tokens": tokens}
        yield checkpointing
        share = min(0.3, float(config.trl.get("vllm_gpu_memory_utilization", 0.3)))
        yield (
            f"trl.vllm_gpu_memory_utilization {share}",
            {"trl": {**config.trl, "vllm_gpu_memory_utilization": share}},
        )
        yield "--lora.rank 16", {"lora": config.lora.model_copy(update={"rank": config.lora.rank or 16})}

    told: list[str] = []
    for knob, values in changes():
        changed = config.model_copy(update=values)
        if excess(changed) < excess(config):
            told.append(knob)
            config = changed
    if not excess(config):
        return ", ".join(told)
    more = "part the model over several devices (--launch with --use_fsdp)" if device.shards == 1 else "more devices"
    return ", ".join([*told, more]) + ", or a smaller model"


def longest_prompt(config: TrainConfig) -> int:
    """Tokens of the longest prompt, from the data where it is here and not large, else by the limits of the options."""
    from rarft.models.loading import load_tokenizer  # torch: keeps --help quick

    tokenizer = None
    with suppress(InputError):
        tokenizer = load_tokenizer(config.model) if Path(config.model).exists() else None

    def tokens(texts: list[str]) -> int:
        longest = sorted(texts, key=len)[-8:]
        return max((len(tokenizer(t)["input_ids"]) if tokenizer else len(t) // 3 for t in longest), default=0)

    shown = config.retrieval and config.analogies is not None
    problem, asked, solution = TEXT, TEXT, config.prompt.max_trace_tokens
    with suppress(InputError):  # the run tells what is wrong with them
        if _is_quick(config.problems):
            problem = tokens([row.question for row in load_problems(config.problems)])
        if shown and config.traces and _is_quick(config.traces):
            traces = load_traces(config.traces)
            asked = tokens([trace.problem for trace in traces])
            solution = min(solution, tokens([trace.solution for trace in traces]))
    told = tokens([config.prompt.instruction + config.prompt.system])
    return problem + told + (config.top_k * (asked + solution + 16) if shown else 0) + 32


def _is_quick(source: str) -> bool:
    path = Path(source)
    files = [file for file in path.iterdir() if file.suffix in (".jsonl", ".parquet")] if path.is_dir() else [path]
    return path.exists() and sum(file.stat().st_size for file in files) <= MOST_READ
