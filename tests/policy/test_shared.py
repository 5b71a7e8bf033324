"""Our update against TRL's own: log-probs, loss, gradients and a full optimiser step, on the same batches."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import Qwen3NextConfig
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from rarft.models.packing import accept_packs
from rarft.policy.trl.shared import SharedGRPOTrainer, SharedRLOOTrainer, cut, find_groups
from tests.policy.tiny import CONFIGS, SHAPE, tiny_model, tiny_tokenizer

PROMPTS = ["What is 1+1?", "Say: the quick brown fox jumps over the dog.", "a+b", "Why (0/5)?"]
G = 4
HYBRID = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8,
    "num_hidden_layers": 4, "layer_types": ["linear_attention"] * 3 + ["full_attention"],
}  # fmt: skip


def completions(n: int) -> list[list[int]]:
    """Uneven completions, one of a single token; some end with the end token."""
    generator = torch.Generator().manual_seed(5)
    lengths = [1, *torch.randint(1, 14, (n - 1,), generator=generator).tolist()]
    rows = [torch.randint(3, 80, (length,), generator=generator).tolist() for length in lengths]
    return [[*row, 1] if i % 3 else row for i, row in enumerate(rows)]


def make(cls: type, kind: str, tmp_path: Any, lora: bool = False, **options: Any) -> Any:
    config = RLOOConfig if issubclass(cls, RLOOTrainer) else GRPOConfig
    model = tiny_model(kind)
    values: dict[str, Any] = {
        "output_dir": str(tmp_path),
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "num_generations": G,
        "max_completion_length": 16,
        "beta": 0.0,
        "max_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "shuffle_dataset": False,
        **options,
    }
    torch.manual_seed(1)
    trainer = cls(
        model=model,
        reward_funcs=lambda completions, **_: [len(set(c)) % 5 / 5 for c in completions],
        args=config(**values),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        processing_class=tiny_tokenizer(),
        peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj", "up_proj"], init_lora_weights=False)
        if lora
        else None,
    )
    trainer.current_gradient_accumulation_steps = 2
    return trainer


def batch(trainer: Any, order: list[int] | None = None) -> dict[str, torch.Tensor]:
    """A micro-batch of 8 rows: groups of different size and prompt length, rows in any order."""
    tokenizer = trainer.processing_class
    which = [0, 0, 1, 1, 1, 2, 3, 3]
    order = order or [3, 0, 6, 5, 1, 7, 2, 4]
    prompts = [tokenizer(PROMPTS[which[i]])["input_ids"] for i in order]
    rows = [completions(8)[i] for i in order]
    width, longest = max(map(len, prompts)) + 2, max(map(len, rows)) + 1
    return {
        "prompt_ids": torch.tensor([[0] * (width - len(p)) + p for p in prompts]),
        "prompt_mask": torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
        "completion_ids": torch.tensor([r + [0] * (longest - len(r)) for r in rows]),
        "completion_mask": torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows]),
        "advantages": torch.linspace(-1, 1.5, 8)[torch.tensor(order)],
        "num_items_in_batch": torch.tensor(float(sum(map(len, rows)))),
        "old_logps": torch.zeros(8),
    }


def gradients(trainer: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss and gradients of one micro-batch of two, as `training_step` makes them."""
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, inputs)
    (loss if isinstance(trainer, GRPOTrainer) else loss / 2).backward()
    return loss.detach(), {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}


def relative(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    difference = sum((ours[n] - theirs[n]).square().sum() for n in ours).sqrt()
    size = sum(g.square().sum() for g in theirs.values()).sqrt()
    assert size > 1e-3
    return (difference / size).item()


KINDS = ["llama", "qwen2", "qwen3", "gemma3"]
CASES = [(kind, lora, checkpointing, 50) for kind in KINDS for lora in (False, True) for checkpointing in (False, True)]
CASES += [("llama", False, False, 10_000), ("llama", False, False, 1)]


@pytest.mark.parametrize("kind, lora, checkpointing, tokens", CASES)
@pytest.mark.parametrize("ours, theirs", [(SharedGRPOTrainer, GRPOTrainer), (SharedRLOOTrainer, RLOOTrainer)])
def test_loss_logps_and_gradients_are_trls(
    ours: type, theirs: type, kind: str, lora: bool, checkpointing: bool, tokens: int, tmp_path: Any
) -> None:
    """Uneven prompts and completions, one of a single token; groups cut over several rows, in one, and row by row."""
    a, b = make(ours, kind, tmp_path, lora), make(theirs, kind, tmp_path, lora)
    b.model.load_state_dict(a.model.state_dict())
    a.micro_batch_tokens = tokens
    if checkpointing:
        a.model.gradient_checkpointing_enable()
        if lora:
            a.model.enable_input_require_grads()
    inputs = batch(a)
    assert 1 in inputs["completion_mask"].sum(1)
    if ours is SharedRLOOTrainer:  # its ratio must be near 1, or every term is clipped away
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        with torch.no_grad():
            logps, _, _ = b._get_per_token_logps_and_entropies(b.model, ids, mask, inputs["completion_ids"].size(1))
        inputs["old_logps"] = (logps * inputs["completion_mask"]).sum(1)
    loss_a, grads_a = gradients(a, inputs)
    loss_b, grads_b = gradients(b, inputs)
    assert not a._warned, "took the plain path"
    assert loss_a.item() == pytest.approx(loss_b.item(), rel=1e-5, abs=1e-6)
    assert relative(grads_a, grads_b) <= 1e-5
    logged_a, logged_b = a._metrics["train"], b._metrics["train"]
    assert logged_a.keys() == logged_b.keys()
    assert all(logged_a[key] == pytest.approx(logged_b[key], rel=1e-4, abs=1e-6, nan_ok=True) for key in logged_b)

    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    width = inputs["completion_ids"].size(1)
    with torch.no_grad():
        ours_, entropy_a, _ = a._get_per_token_logps_and_entropies(a.model, ids, mask, width, 3, compute_entropy=True)
        theirs_, entropy_b, _ = b._get_per_token_logps_and_entropies(b.model, ids, mask, width, 3, compute_entropy=True)
    assert torch.allclose(ours_, theirs_, atol=1e-5)
    assert torch.allclose(entropy_a, entropy_b, atol=1e-5)


def test_bf16_autocast_stays_as_near_to_float32_as_trls(tmp_path: Any) -> None:
    exact = make(GRPOTrainer, "llama", tmp_path)
    _, expected = gradients(exact, batch(exact))
    _, theirs = gradients(rough := make(GRPOTrainer, "llama", tmp_path, bf16=True), batch(rough))
    for checkpointing in (False, True):
        trainer = make(SharedGRPOTrainer, "llama", tmp_path, bf16=True)
        trainer.micro_batch_tokens = 60
        if checkpointing:
            trainer.model.gradient_checkpointing_enable()
        _, ours = gradients(trainer, batch(trainer))
        assert not trainer._warned
        assert 0 < relative(ours, expected) <= 1.5 * relative(theirs, expected)


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "bnpo"])
def test_an_optimiser_step_gives_trls_weights(loss_type: str, tmp_path: Any) -> None:
    """Plain gradient descent at rate 1, so that the weights carry the gradient itself."""
    weights = []
    for cls in (SharedGRPOTrainer, GRPOTrainer):
        options: dict[str, Any] = {"optim": "sgd", "learning_rate": 1.0, "loss_type": loss_type}
        if loss_type == "bnpo":  # averages over a micro-batch's tokens, and we put other rows together than TRL
            options |= {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1}
        trainer = make(cls, "llama", tmp_path, **options)
        before = copy.deepcopy(trainer.model.state_dict())
        trainer._generate_single_turn = lambda prompt_ids, *_, **__: (completions(len(prompt_ids)), None)
        trainer.train()
        weights.append(trainer.model.state_dict())
    change = max((weights[1][n] - before[n]).abs().max() for n in before)
    assert change > 1e-3
    assert max((weights[0][n] - weights[1][n]).abs().max() for n in before) <= 1e-6


@pytest.mark.parametrize("zero", [[0, 1, 3, 4], list(range(8))], ids=["some", "all"])
def test_rows_without_advantage_are_left_out_of_the_update_and_nothing_changes(zero: list[int], tmp_path: Any) -> None:
    a, b = make(SharedGRPOTrainer, "llama", tmp_path), make(GRPOTrainer, "llama", tmp_path)
    inputs = batch(a)
    inputs["advantages"][torch.tensor(zero)] = 0.0
    computed: list[int] = []
    plain = a._packed_logps
    a._packed_logps = lambda model, ids, *rest: computed.append(len(ids)) or plain(model, ids, *rest)
    (loss_a, grads_a), (loss_b, grads_b) = gradients(a, inputs), gradients(b, inputs)
    assert computed == [max(1, 8 - len(zero))]
    assert loss_a.item() == pytest.approx(loss_b.item(), rel=1e-5, abs=1e-6)
    assert all(torch.allclose(grads_a[name], grads_b[name], atol=1e-6) for name in grads_b)


def test_reference_model_and_kl_share_too(tmp_path: Any) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    losses = []
    for cls in (SharedGRPOTrainer, GRPOTrainer):
        model = str(tmp_path / "model")
        config = GRPOConfig(
            output_dir=str(tmp_path), per_device_train_batch_size=8, num_generations=G, beta=0.5, use_cpu=True,
            bf16=False, gradient_checkpointing=False, report_to=[], max_completion_length=16,
        )  # fmt: skip
        trainer = cls(
            model=model,
            reward_funcs=lambda completions, **_: [0.0 for _ in completions],
            args=config,
            train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
            processing_class=tiny_tokenizer(),
        )
        trainer.current_gradient_accumulation_steps = 1
        inputs = batch(trainer)
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        with torch.no_grad():
            reference, _, _ = trainer._get_per_token_logps_and_entropies(
                trainer.ref_model, ids, mask, inputs["completion_ids"].size(1)
            )
        inputs["ref_per_token_logps"] = reference + 0.1 * torch.linspace(0, 1, 8).unsqueeze(1)
        losses.append(gradients(trainer, inputs)[0])
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)


def test_groups_are_found_whatever_the_order_and_padding() -> None:
    prompts = torch.tensor([[0, 5, 6], [7, 5, 6], [0, 5, 6], [0, 0, 6], [7, 5, 6]])
    mask = torch.tensor([[0, 1, 1], [1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 1, 1]])
    group = find_groups(prompts, mask)
    assert group[0] == group[2] and group[1] == group[4] and len(set(group)) == 3


@pytest.mark.parametrize("most", [1, 12, 20, 25, 40, 1000])
def test_a_micro_batch_is_cut_at_its_tokens(most: int) -> None:
    group, prompts, completions = [1, 0, 1, 2, 0, 1], [10, 5, 10, 3, 5, 10], [2, 4, 9, 30, 4, 1]
    pieces = cut(group, prompts, completions, most)
    assert sorted(row for piece in pieces for row in piece) == list(range(6)) and all(pieces)
    for piece in pieces:
        groups = [group[row] for row in piece]
        assert groups == sorted(groups)
        tokens = sum(completions[row] for row in piece) + sum({group[row]: prompts[row] for row in piece}.values())
        assert tokens <= most or len(piece) == 1
    if most >= 22:  # a group that a piece holds is whole
        assert {tuple(sorted(row for row in piece if group[row] == 1)) for piece in pieces} <= {(), (0, 2, 5)}
    assert len(pieces) == {1: 6, 12: 6, 20: 4, 25: 3, 40: 2, 1000: 1}[most]


def test_hybrid_models_take_trls_path_with_one_warning_each(tmp_path: Any, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(CONFIGS, "hybrid", lambda: Qwen3NextConfig(**SHAPE | HYBRID))
    trainer = make(SharedGRPOTrainer, "hybrid", tmp_path, max_steps=2, gradient_accumulation_steps=1)
    assert "linear_attention" in (accept_packs(trainer.model) or "")
    trainer.train()
    said = capsys.readouterr().err
    assert said.count("rollouts copy the prompt to each row: it has layers of kind linear_attention") == 1
    assert said.count("once per rollout, not once per group: it has layers of kind linear_attention") == 1


def test_a_sliding_window_needs_no_fallback() -> None:
    assert accept_packs(tiny_model("gemma3")) is None


def test_rollouts_do_not_depend_on_the_batch_and_keep_the_limit(tmp_path: Any) -> None:
    trainer = make(SharedGRPOTrainer, "llama", tmp_path)
    prompts = [trainer.processing_class(p)["input_ids"] for p in PROMPTS for _ in range(G)]
    together, logprobs = trainer._generate_single_turn(prompts, None, {}, G)
    other = make(SharedGRPOTrainer, "llama", tmp_path)
    other.rollout_batch = 3
    apart, _ = other._generate_single_turn(prompts, None, {}, G)
    assert logprobs is None and together == apart
    assert all(0 < len(row) <= 16 for row in together)
    assert len({tuple(row) for row in together[:G]}) > 1
    trainer.state.global_step = 1
    assert trainer._generate_single_turn(prompts, None, {}, G)[0] != together


def test_every_call_of_a_step_draws_afresh_and_a_resumed_run_repeats_it(tmp_path: Any) -> None:
    """TRL's tools and environments generate several turns in a step, and evaluation may come between."""
    prompts = [[5, 6, 7]] * G + [[8, 9]] * G

    def turns(trainer: Any) -> list[Any]:
        first = trainer._generate_single_turn(prompts, None, {}, G)[0]
        trainer.model.eval()
        trainer._generate_single_turn(prompts, None, {}, G)
        trainer.model.train()
        return [first, *(trainer._generate_single_turn(prompts, None, {}, G)[0] for _ in range(2))]

    trainer = make(SharedGRPOTrainer, "llama", tmp_path)
    trainer.model.train()
    found = turns(trainer)
    assert found[0] != found[1] != found[2] != found[0]
    resumed = make(SharedGRPOTrainer, "llama", tmp_path)
    resumed.model.train()
    assert turns(resumed) == found


def test_the_generation_config_is_followed_or_takes_trls_path(tmp_path: Any, capsys: Any) -> None:
    prompts = [[5, 6, 7]] * G
    trainer = make(SharedGRPOTrainer, "llama", tmp_path)
    free = trainer._generate_single_turn(prompts, None, {}, G)[0]
    trainer.generation_config.max_new_tokens = 3
    trainer.generation_config.top_k = 1
    short = trainer._generate_single_turn(prompts, None, {}, G)[0]
    assert max(map(len, short)) <= 3 < max(map(len, free)) and len({tuple(row) for row in short}) == 1
    trainer.generation_config.do_sample = False
    assert trainer._generate_single_turn(prompts, None, {}, G)[0] == short
    assert not trainer._warned

    trainer = make(SharedGRPOTrainer, "llama", tmp_path)
    ever = sorted({token for row in free for token in row} - {1})
    trainer.model.generation_config.suppress_tokens = ever
    found = trainer._generate_single_turn(prompts, None, {}, G)[0]
    assert not {token for row in found for token in row} & set(ever)
    assert "the generation config sets suppress_tokens" in capsys.readouterr().err
