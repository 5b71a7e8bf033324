"""Log-probs and samples with the prompt computed once, against the model run in full and against `model.generate`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from rarft.models import generation, packing
from rarft.models.generation import _CACHE, GroupedCache, Sampling, _draw, generate, grouped_attention
from rarft.models.packing import completion_logps, score
from tests.policy.tiny import tiny_model, tiny_tokenizer

KINDS = ["llama", "qwen2", "qwen3", "gemma3", "mistral"]
PROMPTS = [list(range(5, 40)), [7, 8, 9], list(range(10, 31))]
COMPLETIONS = [[[11, 12, 13], [20] * 9], [[5]], [[6, 7], [8], [9, 10, 11, 12, 13, 14]]]


def reference(model: Any, prompt: list[int], completion: list[int], temperature: float = 1.0) -> torch.Tensor:
    logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1] / temperature
    return logits.log_softmax(-1).gather(-1, torch.tensor(completion).unsqueeze(-1)).squeeze(-1)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointed"])
@pytest.mark.parametrize("kind", KINDS)
def test_log_probs_and_gradients_equal_the_model_run_in_full(kind: str, checkpointing: bool) -> None:
    model = tiny_model(kind).train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    found = completion_logps(model, PROMPTS, COMPLETIONS, temperature=0.7)
    assert packing.accept_packs(model) is None
    sum(row.square().sum() for of in found for row in of).backward()
    ours = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    model.gradient_checkpointing_disable()
    expected = [[reference(model, p, c, 0.7) for c in of] for p, of in zip(PROMPTS, COMPLETIONS, strict=True)]
    sum(row.square().sum() for of in expected for row in of).backward()
    for a, b in zip(found, expected, strict=True):
        for x, y in zip(a, b, strict=True):
            assert torch.allclose(x, y, atol=1e-5)
    difference = sum((ours[n] - p.grad).square().sum() for n, p in model.named_parameters()).sqrt()
    size = sum(p.grad.square().sum() for p in model.parameters()).sqrt()
    assert difference / size <= 1e-5


def row_of(lengths: list[tuple[int, list[int]]]) -> packing.Pack:
    """A packed row of groups of these lengths: (prompt, completions)."""
    return packing.pack([(torch.zeros(p).long(), [torch.zeros(c).long() for c in of]) for p, of in lengths])


def test_a_row_stands_as_described() -> None:
    ids = torch.arange(100)
    row = packing.pack([(ids[:3], [ids[3:6], ids[6:7]]), (ids[7:8], [ids[8:10]])])
    assert row.ids.tolist() == [[0, 1, 2, 3, 4, 7, 8]]  # the last token of a completion predicts nothing
    assert row.positions.tolist() == [[0, 1, 2, 3, 4, 0, 1]]
    assert row.predictors.tolist() == [2, 3, 4, 2, 5, 6] and row.targets.tolist() == [3, 4, 5, 6, 8, 9]


@pytest.mark.parametrize("window", [None, 1, 2, 5, 12, 100])
def test_attention_by_parts_is_attention_under_the_mask(window: int | None) -> None:
    """The CPU's kernel, and FlexAttention under the block mask that GPUs get, against softmax under the dense mask."""
    from torch.nn.attention.flex_attention import create_mask, flex_attention

    torch.manual_seed(0)
    row = row_of([(7, [4, 1, 9]), (1, [3]), (14, [1, 1]), (6, [15, 2])])
    size = row.ids.size(1)
    query, key, value = (torch.randn(1, heads, size, 8, requires_grad=True) for heads in (4, 2, 2))
    weights = torch.randn(1, size, 4, 8)
    mask = create_mask(row.sees(window), 1, 1, size, size, "cpu")
    for q in range(size):
        for k in range(size):  # the mask, said in another way: the same sequence, not later, not too far back
            group = next(g for g in row.groups if g.start <= q < (g.ends or [g.prompt_end])[-1])
            own = next(
                (a for a, b in zip([group.prompt_end, *group.ends], group.ends, strict=False) if a <= q < b), None
            )
            sequence = [*range(group.start, group.prompt_end), *([] if own is None else range(own, q + 1))]
            sequence = [place for place in sequence if place <= q][-(window or size) :]
            assert bool(mask[0, 0, q, k]) == (k in sequence)

    def grads(out: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad((out * weights).sum(), (query, key, value)))

    found, _ = packing.packed_attention(None, query, key, value, None, packed=row, scaling=0.3, sliding_window=window)
    dense = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=0.3, enable_gqa=True
    ).transpose(1, 2)
    torch.testing.assert_close(found, dense)
    for ours, theirs in zip(grads(found), grads(dense), strict=True):
        torch.testing.assert_close(ours, theirs)
    given = (x.detach() for x in (query, key, value))  # FlexAttention has no backward pass on CPUs
    flex = flex_attention(*given, block_mask=row.block_mask(window), scale=0.3, enable_gqa=True)
    torch.testing.assert_close(flex.transpose(1, 2), found)


def test_a_model_is_believed_after_a_probe() -> None:
    """GPT-2 adds positions to the embeddings and packs; BLOOM's ALiBi is told no positions; dropout and eager don't."""
    from transformers import BloomConfig, BloomForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    small = {"vocab_size": 60, "n_layer": 2, "n_head": 2}
    gpt2 = GPT2LMHeadModel(GPT2Config(**small, n_embd=16, n_positions=64, attn_pdrop=0, resid_pdrop=0, embd_pdrop=0))
    assert packing.accept_packs(gpt2) is None
    bloom = BloomForCausalLM(BloomConfig(**small, hidden_size=16))
    before = bloom.config._attn_implementation
    assert packing.accept_packs(bloom) is not None and bloom.config._attn_implementation == before
    shape = {
        "vocab_size": 60,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    assert "dropout" in packing.accept_packs(LlamaForCausalLM(LlamaConfig(**shape, attention_dropout=0.1)))
    eager = LlamaForCausalLM._from_config(LlamaConfig(**shape), attn_implementation="eager")
    assert "eager" in packing.accept_packs(eager)


def test_a_prepared_model_is_saved_as_it_was(tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path / "before")
    assert packing.accept_packs(model) is None
    model.save_pretrained(tmp_path / "after")
    files = sorted(path.name for path in (tmp_path / "before").iterdir())
    assert all((tmp_path / "before" / f).read_bytes() == (tmp_path / "after" / f).read_bytes() for f in files)


def near(found: Any, expected: Any, atol: float = 1e-5) -> bool:
    pairs = [(x, y) for a, b in zip(found, expected, strict=True) for x, y in zip(a, b, strict=True)]
    return all(torch.allclose(x, y, atol=atol) for x, y in pairs)


def test_score_gives_the_same_in_any_batches_and_on_the_plain_path(monkeypatch: Any) -> None:
    model = tiny_model().train()
    expected = [[reference(model, p, c) for c in of] for p, of in zip(PROMPTS, COMPLETIONS, strict=True)]
    for batch_tokens in (1, 60, 10_000):
        found = score(model, PROMPTS, COMPLETIONS, batch_tokens=batch_tokens)
        assert near(found, expected, 1e-5)
    assert model.training and not found[0][0].requires_grad
    monkeypatch.setattr(packing, "accept_packs", lambda model: "for the test")
    plain = score(model, PROMPTS, COMPLETIONS)
    assert near(plain, expected, 1e-5)


def test_score_takes_prompts_without_completions() -> None:
    assert score(tiny_model(), PROMPTS[:2], [[], [[5]]])[0] == []


@pytest.fixture(params=[True, False], ids=["rows shared", "a row each"])
def rows_shared(request: Any, monkeypatch: Any) -> bool:
    """As on a CPU, and as on a GPU."""
    if not request.param:
        monkeypatch.setattr(generation, "SHARE_ROWS_ON", frozenset())
    return bool(request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_samples_are_those_of_generate(kind: str, rows_shared: bool) -> None:
    model = tiny_model(kind).eval()
    found = generate(model, tiny_tokenizer(), PROMPTS, num_samples=2, max_new_tokens=20, temperature=0)
    for prompt, group in zip(PROMPTS, found, strict=True):
        expected = model.generate(
            input_ids=torch.tensor([prompt]), max_new_tokens=20, do_sample=False, eos_token_id=1, pad_token_id=0
        )[0, len(prompt) :].tolist()
        assert all(completion.token_ids == expected[: len(completion.token_ids)] for completion in group)
        assert all(completion.finished == (completion.token_ids[-1] == 1) for completion in group)


def test_a_cache_of_latents_is_decoded_by_generate() -> None:
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    torch.manual_seed(0)
    small = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 32, "moe_intermediate_size": 16}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "v_head_dim": 8}
    experts = {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2}
    latents = {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8}
    model = DeepseekV3ForCausalLM(DeepseekV3Config(**small, **heads, **experts, **latents)).eval()
    prompt = PROMPTS[1]
    [found] = generate(model, tiny_tokenizer(), [prompt], max_new_tokens=8, temperature=0, eos_ids=[59])
    expected = model.generate(
        input_ids=torch.tensor([prompt]), max_new_tokens=8, do_sample=False, eos_token_id=59, pad_token_id=0
    )[0, len(prompt) :]
    assert found[0].token_ids == expected.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_samples_do_not_depend_on_the_batch(kind: str, rows_shared: bool) -> None:
    """Ended rows leave the batch, prompts are reordered, groups are split: the samples stay."""
    model, ends = tiny_model(kind), list(range(1, 20))
    options: dict[str, Any] = {"max_new_tokens": 40, "seed": 3, "eos_ids": ends}
    together = generate(model, tiny_tokenizer(), PROMPTS, num_samples=[7, 2, 5], **options)
    assert [len(of) for of in together] == [7, 2, 5]
    for batch_size in (1, 4):
        assert (
            generate(model, tiny_tokenizer(), PROMPTS, num_samples=[7, 2, 5], batch_size=batch_size, **options)
            == together
        )
    lengths = {len(c.token_ids) for of in together for c in of}
    assert len(lengths) > 1
    assert all(c.finished == (c.token_ids[-1] in ends) for of in together for c in of)
    assert all(token not in ends for of in together for c in of for token in c.token_ids[:-1])
    later = generate(model, tiny_tokenizer(), PROMPTS, num_samples=[4, 1, 3], first_sample=[3, 1, 2], **options)
    assert later == [together[0][3:], together[1][1:], together[2][2:]]
    assert generate(model, tiny_tokenizer(), PROMPTS, num_samples=[7, 2, 5], **{**options, "seed": 4}) != together


@pytest.mark.parametrize("kind", KINDS)
def test_samples_share_a_row_until_they_differ(kind: str, monkeypatch: Any) -> None:
    """As many tokens are computed as the samples have distinct beginnings, and the samples are those drawn alone."""
    model, ends = tiny_model(kind).eval(), list(range(1, 8))
    norm = model.model.norm.weight  # larger: the model is sure of most of its tokens
    norm.data = 30 * norm.data if kind != "gemma3" else 30 * (1 + norm.data) - 1
    options: dict[str, Any] = {"max_new_tokens": 30, "seed": 5, "eos_ids": ends}
    counts = [8, 3, 6]
    computed = []
    forward = model.model.layers[0].mlp.forward
    monkeypatch.setattr(model.model.layers[0].mlp, "forward", lambda x: (computed.append(x.shape[:2]), forward(x))[1])
    together = generate(model, tiny_tokenizer(), PROMPTS, num_samples=counts, **options)
    rows = sum(rows for rows, tokens in computed if tokens == 1)
    beginnings = {
        (n, *completion.token_ids[: i + 1])
        for n, of in enumerate(together)
        for completion in of
        for i in range(len(completion.token_ids) - 1)
    }
    drawn = sum(len(completion.token_ids) - 1 for of in together for completion in of)
    assert len(beginnings) <= rows <= len(beginnings) / 0.75 < drawn
    monkeypatch.setattr(generation, "SHARE_ROWS_ON", frozenset())
    for batch_size in (1, 64):
        assert (
            generate(model, tiny_tokenizer(), PROMPTS, num_samples=counts, batch_size=batch_size, **options) == together
        )


def test_samples_follow_the_models_distribution() -> None:
    """Two-token completions, 6000 samples: each pair's frequency within five standard errors of its probability."""
    model = tiny_model().eval()
    for parameter in model.parameters():
        parameter.data.mul_(1.5)
    prompt, n = PROMPTS[1], 6000
    [found] = generate(model, tiny_tokenizer(), [prompt], num_samples=n, max_new_tokens=2, batch_size=n, eos_ids=[999])
    counts: dict[tuple[int, ...], int] = {}
    for completion in found:
        pair = tuple(completion.token_ids)
        counts[pair] = counts.get(pair, 0) + 1
    frequent = sorted(counts, key=lambda pair: -counts[pair])[:40]
    [logps] = score(model, [prompt], [[list(pair) for pair in frequent]])
    for pair, logp in zip(frequent, logps, strict=True):
        p = logp.sum().exp().item()
        assert abs(counts[pair] / n - p) <= 5 * (p * (1 - p) / n) ** 0.5 + 1e-9


def test_top_p_top_k_min_p_cut_what_transformers_cuts() -> None:
    from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 50, generator=generator) * 2
    uniform = torch.linspace(0, 0.9999, 4000, dtype=torch.float64)
    for sampling, warper in (
        (Sampling(top_p=0.7), TopPLogitsWarper(0.7)),
        (Sampling(top_k=5), TopKLogitsWarper(5)),
        (Sampling(min_p=0.2), MinPLogitsWarper(0.2)),
    ):
        probs = warper(None, logits.clone()).softmax(-1)[0]
        drawn = _draw(logits.expand(4000, -1), uniform, sampling)
        share = torch.bincount(drawn, minlength=50) / 4000
        assert torch.allclose(share, probs, atol=2e-3)


@pytest.mark.parametrize("vocabulary", [5, 128, 131, 1000])
def test_a_draw_inverts_the_cumulated_probabilities(vocabulary: int) -> None:
    """Against NumPy's float64; every token gets its share of the unit interval, and none that is cut off is drawn."""
    torch.manual_seed(0)
    logits = 3 * torch.randn(64, vocabulary)
    logits[:, 1::3] = logits[:, 128:131] = -torch.inf
    weights = np.exp(logits.double().numpy() - logits.amax(-1, keepdim=True).double().numpy())
    cumulated = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    uniform = np.random.default_rng(0).random(64)
    for at in (uniform, np.zeros(64), np.full(64, 1 - 2**-53)):
        drawn = _draw(logits, torch.from_numpy(at), Sampling()).numpy()
        assert (weights[np.arange(64), drawn] > 0).all()
        above = cumulated[np.arange(64), drawn]
        below = np.where(drawn > 0, cumulated[np.arange(64), drawn - 1], 0.0)
        assert (below <= at + 1e-6).all() and (at < above + 1e-6).all()


def test_bf16_autocast_stays_near_float32() -> None:
    model = tiny_model().eval()
    exact = score(model, PROMPTS, COMPLETIONS)
    rough = score(model, PROMPTS, COMPLETIONS, autocast=torch.bfloat16)
    assert near(exact, rough, 0.3)
    assert not torch.equal(exact[0][0], rough[0][0])
    samples = generate(model, tiny_tokenizer(), PROMPTS, num_samples=2, max_new_tokens=8, autocast=torch.bfloat16)
    assert all(1 <= len(c.token_ids) <= 8 for of in samples for c in of)


@pytest.mark.parametrize("rows", [[0, 0, 0, 1, 1, 1], [1, 0, 1, 1], [1, 1]], ids=["full", "ragged", "one left"])
@pytest.mark.parametrize("sinks", [False, True])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("window", [None, 3, 6, 50])
def test_grouped_attention_is_attention_over_prompt_and_own_tokens(
    window: int | None, softcap: float | None, sinks: bool, rows: list[int]
) -> None:
    torch.manual_seed(0)
    n, kv, per_kv, d, p, t = 2, 2, 2, 4, 5, 4
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    query, keys, values = (
        torch.randn(len(rows), kv * per_kv, 1, d),
        torch.randn(len(rows), kv, t, d),
        torch.randn(len(rows), kv, t, d),
    )
    prompt = DynamicCache()
    prompt.update(torch.randn(n, kv, p, d), torch.randn(n, kv, p, d), 0)
    sink = torch.randn(kv * per_kv) if sinks else None
    cache = GroupedCache(prompt, mask)
    cache.place(torch.tensor(rows))
    token = _CACHE.set(cache)
    layer = SimpleNamespace(layer_idx=0)
    found, _ = grouped_attention(layer, query, keys, values, None, None, softcap, window, sink)
    _CACHE.reset(token)
    for row, of_prompt in enumerate(rows):
        for head in range(kv * per_kv):
            of = [torch.cat([x[of_prompt, head // per_kv], y[row, head // per_kv]]) for x, y in zip(
                (prompt.layers[0].keys, prompt.layers[0].values), (keys, values), strict=True
            )]  # fmt: skip
            logits = of[0] @ query[row, head, 0] / d**0.5
            if softcap:
                logits = softcap * torch.tanh(logits / softcap)
            hidden = torch.cat([mask[of_prompt] == 0, torch.zeros(t, dtype=torch.bool)])
            if window:
                hidden |= torch.arange(p + t) < p + t - window
            weights = logits.masked_fill(hidden, -torch.inf).exp()
            total = weights.sum() + (sink[head].exp() if sink is not None else 0.0)
            torch.testing.assert_close(found[row, 0, head], weights @ of[1] / total)
