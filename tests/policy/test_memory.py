"""The memory that a dry run reckons: against what autograd keeps, for the recipes of Qwen3, and what it advises."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from rarft.cli import main
from rarft.models.packing import accept_packs, pack
from rarft.policy.config import TrainConfig
from rarft.policy.memory import GIB, Device, Load, _update, advise, describe, device_of, plan, shape_from, shape_of
from tests.policy.tiny import SHAPE, save_policy, write_problems

ROOT = Path(__file__).parents[2]
QWEN3: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 151936, "max_position_embeddings": 40960, "tie_word_embeddings": True,
}  # fmt: skip
SIZES: dict[str, tuple[dict[str, int], int]] = {
    "qwen3-1.7b": (
        {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16},
        1_720_574_976,
    ),
    "qwen3-4b": (
        {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32},
        4_022_468_096,
    ),
}


def config(**values: Any) -> TrainConfig:
    return TrainConfig.parse({"problems": "p.jsonl", "model": "m", **values}, "test")


@pytest.fixture
def qwen(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A recipe's name, and a folder with its policy's config alone."""
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN3 | SIZES[request.param][0]))
    return request.param, folder


@pytest.mark.parametrize("qwen", SIZES, indirect=True)
def test_the_recipes_of_qwen3_fit_80_gb(qwen: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    name, folder = qwen
    shape = shape_of(str(folder))
    assert shape is not None and shape.parameters == SIZES[name][1]
    run = ["run", str(ROOT / "recipes" / f"{name}.yaml"), "--dry-run", "--inputs.policy", str(folder)]
    assert main(run) == 0
    lines = re.findall(r"memory: ([\d.]+) of 79\.0 GiB at the peak \((.*)", capsys.readouterr().out)
    assert len(lines) == 2
    assert all(float(peak) < 79 and "too much" not in parts for peak, parts in lines)
    assert main([*run, "--ra-rft.gradient_checkpointing", "false"]) == 0
    assert "--gradient-checkpointing" in capsys.readouterr().out.split("too much: ")[1].splitlines()[0]


@pytest.mark.parametrize("kind", [LlamaConfig, Qwen3Config])
@pytest.mark.parametrize("options", [{}, {"bf16": True}, {"dtype": "bfloat16"}], ids=["float32", "mixed", "bfloat16"])
def test_activations_are_what_autograd_keeps(kind: type, options: dict[str, Any]) -> None:
    """Of one layer more: its activations, and under autocast its weights' copies."""
    kept, reckoned = [], []
    for layers in (1, 2):
        made = kind(**{**SHAPE, "num_hidden_layers": layers})
        dtype = torch.bfloat16 if "dtype" in options else torch.float32
        model = AutoModelForCausalLM.from_config(made, dtype=dtype)
        assert accept_packs(model) is None
        ids = torch.arange(202) % 70 + 3
        row = pack([(ids[:100], [ids[100:150], ids[150:202]])])
        own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        found: dict[int, torch.Tensor] = {}

        def note(tensor: torch.Tensor, own: set[int] = own, found: Any = found) -> torch.Tensor:
            if tensor.untyped_storage().data_ptr() not in own:
                found[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        mixed = torch.autocast("cpu", torch.bfloat16, enabled="bf16" in options)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), mixed:
            model.model(input_ids=row.ids, packed=row)
        kept.append(sum(tensor.untyped_storage().nbytes() for tensor in found.values()))
        shape = shape_from(made, sum(p.numel() for p in model.parameters()))
        load = Load(prompt=100, rows=2, at_once=2, tokens=200, scored=100, pieces=2)
        parts = _update(config(**options), shape, Device(False, GIB), load)
        reckoned.append(parts["activations"] + parts["bfloat16 copies"])
    assert reckoned[1] - reckoned[0] == pytest.approx(kept[1] - kept[0], rel=0.05)


def test_each_option_takes_or_gives_what_it_should(tmp_path: Path) -> None:
    shape = shape_of(save_policy(tmp_path / "m"))
    assert shape is not None
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert shape == shape_from(made.config, sum(p.numel() for p in made.parameters()))
    device = Device(False, GIB)

    def parts(**options: Any) -> dict[str, int]:
        return plan(config(max_new_tokens=64, micro_batch_tokens=4096, **options), shape, device, 32).parts

    usual = parts()
    assert usual["weights"] == usual["gradients"] == usual["optimiser"] // 2 == shape.parameters * 4
    assert parts(beta=0.1)["reference model"] == usual["weights"]
    assert parts(lora={"rank": 2})["optimiser"] < usual["optimiser"] / 4
    assert "reference model" not in parts(lora={"rank": 2}, beta=0.1)
    assert parts(gradient_checkpointing=True)["activations"] < usual["activations"] * 0.7
    assert parts(micro_batch=16)["activations"] < usual["activations"]
    assert "optimiser" not in parts(trl={"optim": "sgd"})
    ends = {id(end.weight): end.weight for end in (made.get_input_embeddings(), made.get_output_embeddings())}
    apart = sum(weight.numel() for weight in ends.values())
    assert parts(optimizer="muon")["optimiser"] == usual["weights"] + 4 * apart
    gpu = Device(True, 10 * GIB)
    job = config(vllm="colocate", trl={"vllm_gpu_memory_utilization": 0.5})
    assert plan(job, shape, gpu).parts["vLLM"] == 5 * GIB
    sleeping = config(vllm="colocate", trl={"vllm_gpu_memory_utilization": 0.5, "vllm_enable_sleep_mode": True})
    assert plan(sleeping, shape, gpu).moment == "rollouts"


def test_advice_is_as_little_as_fits() -> None:
    values = {key: value for key, value in QWEN3.items() if key != "architectures"}
    made = Qwen3Config(**values, **SIZES["qwen3-1.7b"][0])
    shape = shape_from(made, SIZES["qwen3-1.7b"][1])
    job = config(max_new_tokens=2048, bf16=True, device_memory=79)
    device = device_of(job)
    assert (device.gpu, device.memory) == (True, 79 * GIB)
    peak = plan(job, shape, device).peak
    assert advise(job, shape, Device(True, int(peak * 0.8))) == "--micro-batch-tokens 8192"
    assert advise(job, shape, Device(True, int(peak * 0.36))).endswith("--gradient-checkpointing")
    assert advise(job, shape, Device(True, 22 * GIB)).endswith("--lora.rank 16")
    assert advise(job, shape, Device(True, GIB)).endswith("or a smaller model")
    job = config(rollout_batch=8, micro_batch_tokens=4096)
    peak = plan(job, shape, Device(False, GIB)).peak
    assert advise(job, shape, Device(False, int(0.9 * peak))) == "--gradient-checkpointing"


def test_both_dry_runs_tell_the_memory(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stage whose policy an earlier one will make too; one that nobody knows is told to be so."""
    monkeypatch.chdir(tmp_path)
    data, model = write_problems(tmp_path / "data"), save_policy(tmp_path / "m")
    one = f"{{stage: train, problems: {data}, traces: {data}, model: {model}, algorithm: sft, retrieval: false}}"
    two = f"{{stage: train, problems: {data}, model: '${{one}}', device_memory: 0.5}}"
    Path("recipe.yaml").write_text(f"name: r\noutput: run\nstages:\n  one: {one}\n  two: {two}\n")
    assert main(["run", "recipe.yaml", "--dry-run"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if "memory: " in line]
    assert len(lines) == 2 and all("at the peak (" in line for line in lines)
    assert " of 0.5 GiB" in lines[1] and "too much: " in lines[1] and "too much" not in lines[0]
    assert main(["train", "--problems", str(data), "--model", model, "--no-retrieval", "--dry-run"]) == 0
    assert "memory: " in capsys.readouterr().out
    assert describe(config(model="no/such"), shape_of("no/such")).startswith("memory: known once no/such is")
