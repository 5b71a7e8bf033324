"""TRL's options one by one: three optimiser steps of our trainers and of TRL's on the same completions.

Weights and everything logged must agree. Plain gradient descent, so that the weights carry the gradients themselves;
TRL's shuffling of rows is off in both, so that they put the same rows together.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
import torch
import trl.chat_template_utils
import trl.trainer.grpo_trainer
import trl.trainer.rloo_trainer
from datasets import Dataset
from peft import LoraConfig
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from rarft.policy.trl.shared import SharedGRPOTrainer, SharedRLOOTrainer
from tests.policy.tiny import CONFIGS, SHAPE, save_policy, tiny_tokenizer

PROMPTS = ["What is 1+1?", "Say: the quick brown fox jumps over the dog.", "a+b", "Why (0/5)?"]
G = 4
GRPO: dict[str, dict[str, Any]] = {
    **{f"loss_{n}": {"loss_type": n} for n in ("grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo")},
    "iterations": {"num_iterations": 2},
    "generation_before_each_micro_batch": {"steps_per_generation": 1},
    "generation_for_two_steps": {"steps_per_generation": 4},
    "iterations_dapo": {"num_iterations": 2, "loss_type": "dapo", "epsilon_high": 0.28},
    "sequence_ratios": {"importance_sampling_level": "sequence", "num_iterations": 2},
    "kl": {"beta": 0.2},
    "kl_corrected": {"beta": 0.2, "use_bias_correction_kl": True, "num_iterations": 2},
    "moving_reference": {"beta": 0.2, "sync_ref_model": True, "ref_model_sync_steps": 1, "ref_model_mixup_alpha": 0.5},
    "two_sided_clip": {"delta": 1.05, "num_iterations": 2},
    "masked_truncated": {"mask_truncated_completions": True},
    "entropy_mask": {"top_entropy_quantile": 0.3},
    "entropy_bonus": {"entropy_coef": 0.05},
    "adaptive_entropy": {"use_adaptive_entropy": True, "entropy_target": 10.0, "entropy_coef": 0.05},
    "unscaled_rewards": {"scale_rewards": "none"},
    "batch_rewards": {"scale_rewards": "batch"},
    "off_policy_mask": {"off_policy_mask_threshold": 0.01, "num_iterations": 2},
    "temperature": {"temperature": 0.6},
    "float32_head": {"cast_lm_head_to_fp32": True},
    "checkpointing": {"gradient_checkpointing": True},
    "reentrant_checkpointing": {
        "gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True},
    },
    "lora": {"lora": True},
    "lora_kl_checkpointing": {"lora": True, "beta": 0.2, "gradient_checkpointing": True},
    "gemma_iterations_checkpointing": {"kind": "gemma3", "num_iterations": 2, "gradient_checkpointing": True},
    "environment_mask": {"environment": True},
}  # fmt: skip
RLOO: dict[str, dict[str, Any]] = {
    "plain": {},
    "iterations": {"num_iterations": 2},
    "generation_for_two_steps": {"steps_per_generation": 4},
    "kl": {"beta": 0.2},
    "normalised": {"normalize_advantages": True},
    "clipped_rewards": {"reward_clip_range": (0.2, 0.6)},
    "masked_truncated": {"mask_truncated_completions": True},
    "checkpointing": {"gradient_checkpointing": True},
    "lora": {"lora": True},
}
SLOW = {
    "loss_bnpo", "loss_cispo", "loss_sapo", "loss_luspo", "loss_vespo", "kl_corrected", "batch_rewards",
    "unscaled_rewards", "float32_head", "iterations_dapo", "temperature", "reentrant_checkpointing", "normalised",
}  # fmt: skip


def completions(n: int, seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = [1, *torch.randint(1, 17, (n - 1,), generator=generator).tolist()]
    rows = [torch.randint(3, 80, (length,), generator=generator).tolist() for length in lengths]
    return [[*row[:15], 1] if i % 3 else row for i, row in enumerate(rows)]


def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """Some groups' rewards are equal: the second prompt's, whatever the completion."""
    return [0.5 if i // G % 4 == 1 else sum(ids) % 7 / 7 for i, ids in enumerate(completion_ids)]


def run(cls: type, folder: Path, tokens: int, options: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Weights after three steps, and what was logged."""
    options = dict(options)
    kind, lora, environment = (options.pop(key, None) for key in ("kind", "lora", "environment"))
    model = folder / (kind or "llama")
    if not model.exists():
        save_policy(model, kind or "llama")
    rloo = issubclass(cls, RLOOTrainer)
    values: dict[str, Any] = {
        "output_dir": str(folder / "out"), "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2,
        "num_generations": G, "max_completion_length": 16, "beta": 0.0, "max_steps": 3, "use_cpu": True, "bf16": False,
        "gradient_checkpointing": False, "report_to": [], "save_strategy": "no", "disable_tqdm": True,
        "logging_steps": 1, "shuffle_dataset": False, "optim": "sgd", "learning_rate": 0.1,
    }  # fmt: skip
    calls = 0

    def rollout(prompt_ids: list[list[int]], *_: Any, **__: Any) -> Any:
        nonlocal calls
        calls += 1
        found = completions(len(prompt_ids), calls)
        return found if rloo else (found, None)

    def in_environment(prompts: list[str], trainer: Any) -> dict[str, Any]:
        ids = trainer.processing_class(prompts)["input_ids"]
        found, _ = rollout(ids)
        masks = [[int(j % 4 != 1) for j in range(len(row))] for row in found]
        return {"prompt_ids": ids, "completion_ids": found, "logprobs": None, "env_mask": masks}

    torch.manual_seed(1)
    trainer = cls(
        model=str(model),
        reward_funcs=reward,
        args=(RLOOConfig if rloo else GRPOConfig)(**values | options),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS * 2}),
        processing_class=tiny_tokenizer(),
        peft_config=LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False) if lora else None,
        **({"rollout_func": in_environment} if environment else {}),
    )
    trainer.micro_batch_tokens = tokens
    trainer._generate_single_turn = rollout
    trainer.train()
    assert not getattr(trainer, "_warned", None) or options.keys() & {"top_entropy_quantile", "use_adaptive_entropy"}
    timed = {"step_time", "train_runtime", "train_samples_per_second", "train_steps_per_second"}
    logged = [{key: value for key, value in row.items() if key not in timed} for row in trainer.state.log_history]
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}, logged


def agree(ours: type, theirs: type, tmp_path: Path, monkeypatch: Any, options: dict[str, Any]) -> None:
    for module in (trl.trainer.grpo_trainer, trl.trainer.rloo_trainer):
        monkeypatch.setattr(module, "shuffle_sequence_dict", lambda batch: batch)
    (a, logged_a), (b, logged_b) = (run(cls, tmp_path, 60, options) for cls in (ours, theirs))
    start = AutoModelForCausalLM.from_pretrained(tmp_path / options.get("kind", "llama")).state_dict()
    moved = [(b[name] - start[name]).abs().max() for name in b if name in start]
    assert options.get("lora") or max(moved) > 1e-3
    assert max((a[name] - b[name]).abs().max() for name in b) <= 1e-5
    assert len(logged_a) == len(logged_b) >= 3
    for x, y in zip(logged_a, logged_b, strict=True):
        assert x.keys() == y.keys()
        for key in y:  # entropy is logged over the rows that ran, which leaves out those without advantage
            rel = 1e-2 if key == "entropy" else 1e-3
            assert x[key] == pytest.approx(y[key], rel=rel, abs=2e-5, nan_ok=True), key


def cases(options: dict[str, Any]) -> list[Any]:
    return [pytest.param(o, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, o in options.items()]


@pytest.mark.parametrize("options", cases(GRPO))
def test_grpo(options: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    agree(SharedGRPOTrainer, GRPOTrainer, tmp_path, monkeypatch, options)


@pytest.mark.parametrize("options", cases(RLOO))
def test_rloo(options: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    agree(SharedRLOOTrainer, RLOOTrainer, tmp_path, monkeypatch, options)


def tool_tokenizer() -> PreTrainedTokenizerFast:
    """Characters, and a chat template with tools that TRL knows."""
    vocabulary = {"<pad>": 0, "<eos>": 1, "<unk>": 2, **{c: i + 3 for i, c in enumerate(string.printable)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(?m:.)"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    template = Path(trl.chat_template_utils.__file__).parent / "chat_templates" / "qwen3.jinja"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left",
        chat_template=template.read_text(encoding="utf-8"),
    )  # fmt: skip


def double(x: int) -> int:
    """Twice a number.

    Args:
        x: the number.
    """
    return 2 * x


def test_tools(tmp_path: Path, monkeypatch: Any) -> None:
    """Some rows call a tool and go on after it; its words are masked."""
    monkeypatch.setattr(trl.trainer.grpo_trainer, "shuffle_sequence_dict", lambda batch: batch)
    tokenizer = tool_tokenizer()
    shape = {**SHAPE, "vocab_size": len(tokenizer), "max_position_embeddings": 2048}
    monkeypatch.setitem(CONFIGS, "long", lambda: type(CONFIGS["llama"]())(**shape))
    save_policy(tmp_path / "long", "long")
    call = '<tool_call>\n{"name": "double", "arguments": {"x": 21}}\n</tool_call>'
    weights, logged, answers = [], [], []
    for cls in (SharedGRPOTrainer, GRPOTrainer):
        config = GRPOConfig(
            output_dir=str(tmp_path / "out"), per_device_train_batch_size=8, num_generations=G, use_cpu=True,
            max_completion_length=400, max_steps=1, report_to=[], save_strategy="no", optim="sgd", learning_rate=0.1,
            gradient_checkpointing=True, logging_steps=1, disable_tqdm=True, bf16=False,
        )  # fmt: skip

        def reward(completions: list[Any], **_: Any) -> list[float]:
            answers.append([[message["content"] for message in row] for row in completions])
            return [len(row) / 3 + (i % 3) / 5 for i, row in enumerate(completions)]

        torch.manual_seed(1)
        trainer = cls(
            model=str(tmp_path / "long"),
            reward_funcs=reward,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": [[{"role": "user", "content": p}] for p in PROMPTS[:2]]}),
            processing_class=tokenizer,
            tools=[double],
        )
        trainer.micro_batch_tokens = 1500
        turns = iter([[tokenizer(call if i % 2 else "It is 4.")["input_ids"] for i in range(8)], None])

        def rollout(prompt_ids: list[list[int]], *_: Any, turns: Any = turns, **__: Any) -> Any:
            return next(turns) or [tokenizer("So 42.")["input_ids"] for _ in prompt_ids], None

        trainer._generate_single_turn = rollout
        trainer.train()
        weights.append({name: p.detach() for name, p in trainer.model.named_parameters()})
        logged.append(trainer.state.log_history[0])
    assert answers[0] == answers[1] and answers[0][0] == ["It is 4."] and answers[0][1][1:] == ["42", "So 42."]
    assert max((weights[0][name] - weights[1][name]).abs().max() for name in weights[1]) <= 1e-5
    for key in ("loss", "grad_norm", "entropy", "tools/call_frequency", "completions/mean_length"):
        assert logged[0][key] == pytest.approx(logged[1][key], rel=1e-2 if key == "entropy" else 1e-3, abs=2e-5)


class ImagesOnly(Qwen2VLProcessor):
    """Qwen2-VL's processor without its videos, which want torchvision."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        self.image_token, self.video_token = IMAGE, "<|video_pad|>"
        self.image_token_id, self.video_token_id = tokenizer.convert_tokens_to_ids([IMAGE, self.video_token])
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


IMAGE = "<|image_pad|>"
IMAGE_TEMPLATE = (
    "{% for message in messages %}{% for part in message.content %}{% if part.type == 'image' %}"
    f"<|vision_start|>{IMAGE}<|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
)


def save_image_policy(folder: Path) -> ImagesOnly:
    """A random Qwen2-VL in `folder`, and its processor."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|vision_start|>", "<|vision_end|>", IMAGE, "<|video_pad|>"]}
    )
    ids = tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|vision_end|>", IMAGE, "<|video_pad|>"])
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    config = Qwen2VLConfig(
        text_config={**SHAPE, "vocab_size": len(tokenizer), "rope_parameters": rope},
        vision_config={
            "depth": 1, "embed_dim": 16, "hidden_size": SHAPE["hidden_size"], "num_heads": 2, "mlp_ratio": 2,
            "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 1,
        },
        tie_word_embeddings=True,
        **dict(zip(names, ids, strict=True)),
    )  # fmt: skip
    torch.manual_seed(0)
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    images = Qwen2VLImageProcessorPil(
        patch_size=4, merge_size=2, temporal_patch_size=1, size={"shortest_edge": 64, "longest_edge": 4096}
    )
    return ImagesOnly(images, tokenizer, chat_template=IMAGE_TEMPLATE)


def test_images(tmp_path: Path, monkeypatch: Any) -> None:
    """Images of several sizes go with their rows when a generation batch is parted: TRL's own path, said once."""
    monkeypatch.setattr(trl.trainer.grpo_trainer, "shuffle_sequence_dict", lambda batch: batch)
    processor = save_image_policy(tmp_path / "vlm")
    images = [Image.new("RGB", (16, 8 * (i + 1)), (60 * i, 90, 10)) for i in range(4)]
    prompts = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    weights, logged = [], []
    for cls in (SharedGRPOTrainer, GRPOTrainer):
        config = GRPOConfig(
            output_dir=str(tmp_path / "out"), per_device_train_batch_size=8, num_generations=G, use_cpu=True,
            max_completion_length=16, max_steps=2, steps_per_generation=2, report_to=[], save_strategy="no",
            optim="sgd", learning_rate=0.1, gradient_checkpointing=False, logging_steps=1, disable_tqdm=True,
            bf16=False, shuffle_dataset=False, beta=0.0, loss_type="grpo",
        )  # fmt: skip
        torch.manual_seed(1)
        trainer = cls(
            model=str(tmp_path / "vlm"),
            reward_funcs=reward,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": prompts, "image": images}),
            processing_class=processor,
        )
        trainer.micro_batch_tokens = 60
        trainer._generate_single_turn = lambda ids, *_, **__: (completions(len(ids), 1), None)
        trainer.train()
        assert cls is GRPOTrainer or any("images" in line for line in trainer._warned)
        weights.append({name: p.detach() for name, p in trainer.model.named_parameters()})
        logged.append(trainer.state.log_history[:2])
    assert max((weights[0][name] - weights[1][name]).abs().max() for name in weights[1]) <= 1e-6
    start = Qwen2VLForConditionalGeneration.from_pretrained(tmp_path / "vlm").state_dict()
    moved = {n: float((w - start[n]).abs().max()) for n, w in weights[1].items() if n in start}
    assert moved["model.visual.patch_embed.proj.weight"] > 1e-7
    for ours, theirs in zip(*logged, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5, abs=1e-7)
