"""Loading: folder, GGUF, adapter; and one clear line for what cannot be loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from rarft.core.errors import InputError
from rarft.models.loading import context_length, eos_token_ids, load_policy
from tests.policy.tiny import save_policy, tiny_model


def test_a_folder_gives_its_weights_and_tokenizer(tmp_path: Path) -> None:
    model, tokenizer = load_policy(save_policy(tmp_path / "m"), device="cpu")
    assert torch.equal(model.get_input_embeddings().weight, tiny_model().get_input_embeddings().weight)
    assert not model.training and context_length(model.config) == 256
    assert tokenizer.decode(tokenizer("a+b")["input_ids"]) == "a+b"
    assert eos_token_ids(model, tokenizer) == [1]


def test_what_cannot_be_loaded_is_told_in_one_line(tmp_path: Path) -> None:
    folder = Path(save_policy(tmp_path / "m"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="holds no weights"):
        load_policy(str(folder))
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match="only pickled weights"):
        load_policy(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"no config\.json"):
        load_policy(str(folder))
    with pytest.raises(InputError, match="no such model file or folder"):
        load_policy(str(tmp_path / "nothing"))
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(InputError, match="not a model"):
        load_policy(str(tmp_path / "x.txt"))


def test_weights_that_do_not_fill_the_model_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(save_policy(tmp_path / "m"))
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack 1 tensors of the model, first model\.layers\.1\.mlp\.up_proj"):
        load_policy(str(folder))


def test_a_lora_adapter_is_merged(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = save_policy(tmp_path / "base")
    model, tokenizer = load_policy(base, device="cpu")
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    ids = torch.tensor([[5, 6, 7]])
    expected = adapted(input_ids=ids).logits
    adapted.save_pretrained(tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    loaded, _ = load_policy(str(tmp_path / "adapter"), device="cpu")
    assert torch.allclose(loaded(input_ids=ids).logits, expected, atol=1e-5)


def test_a_gguf_file_becomes_an_ordinary_model(tmp_path: Path) -> None:
    model, tokenizer = load_policy(write_gguf(tmp_path / "tiny.gguf"), dtype="float32", device="cpu")
    assert model.dtype == torch.float32 and not hasattr(model.config, "quantization_config")
    assert getattr(model, "hf_quantizer", None) is None and tokenizer.eos_token_id == 1
    model.train()
    model(input_ids=torch.tensor([[3, 4, 5]]), labels=torch.tensor([[3, 4, 5]])).loss.backward()
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    again, _ = load_policy(str(tmp_path / "saved"), device="cpu")
    ids = torch.tensor([[3, 4, 5, 6]])
    assert torch.equal(again(input_ids=ids).logits, model.eval()(input_ids=ids).logits)


def write_gguf(path: Path) -> str:
    """A one-layer Llama with 4-bit and float tensors, and a byte-level tokenizer."""
    import gguf
    import numpy as np

    width, feed, heads, tokens = 64, 96, 4, ["<unk>", "<eos>", "<bos>", *"abcdefghijkl", "ab", "cd"]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(feed)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["a b", "c d"])
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_unk_token_id(0)
    shapes = {
        "token_embd": (len(tokens), width), "output_norm": (width,), "output": (len(tokens), width),
        "blk.0.attn_norm": (width,), "blk.0.ffn_norm": (width,), "blk.0.ffn_gate": (feed, width),
        "blk.0.ffn_up": (feed, width), "blk.0.ffn_down": (width, feed),
        **{f"blk.0.attn_{name}": (width, width) for name in ("q", "k", "v", "output")},
    }  # fmt: skip
    generator = np.random.default_rng(0)
    for name, shape in shapes.items():
        values = generator.standard_normal(shape).astype(np.float32)
        if "ffn_up" in name:
            kind = gguf.GGMLQuantizationType.Q4_0
            writer.add_tensor(f"{name}.weight", gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


def test_code_and_pickles_from_a_folder_are_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(save_policy(tmp_path / "m"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_policy(str(folder))
    assert not (tmp_path / "ran").exists()


def test_an_adapter_without_base_and_tokenizer_lies_in_its_base(tmp_path: Path) -> None:
    """As verl's merger leaves it: `merged/` is the base, `merged/lora_adapter` names none."""
    from peft import LoraConfig, get_peft_model

    model, _ = load_policy(save_policy(tmp_path / "merged"), device="cpu")
    adapter = tmp_path / "merged" / "lora_adapter"
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapted.save_pretrained(adapter)
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": None}))
    ids = torch.tensor([[5, 6, 7]])
    expected = adapted(input_ids=ids).logits
    loaded, tokenizer = load_policy(str(adapter), device="cpu")
    assert torch.allclose(loaded(input_ids=ids).logits, expected, atol=1e-5) and tokenizer.eos_token_id == 1
    alone = tmp_path / "alone"
    shutil.copytree(adapter, alone)
    with pytest.raises(InputError, match="does not name the base model"):
        load_policy(str(alone), device="cpu")


def test_a_pickled_adapter_or_base_is_refused(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = Path(save_policy(tmp_path / "base"))
    model, _ = load_policy(str(base), device="cpu")
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path / "adapter")
    pickled = tmp_path / "adapter" / "adapter_model.bin"
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    pickled.write_bytes(weights.read_bytes())
    weights.rename(tmp_path / "aside")
    with pytest.raises(InputError, match=r"no adapter_model\.safetensors"):
        load_policy(str(tmp_path / "adapter"))
    (tmp_path / "aside").rename(weights)
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(InputError, match="only pickled weights"):
        load_policy(str(tmp_path / "adapter"))


def test_damaged_weights_and_a_strangers_tokenizer_are_one_line(tmp_path: Path) -> None:
    folder = Path(save_policy(tmp_path / "m"))
    whole = (folder / "model.safetensors").read_bytes()
    for damaged in (b"", whole[:100], whole[: len(whole) // 2], b"\xff" * 64):
        (folder / "model.safetensors").write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be loaded") as told:
            load_policy(str(folder))
        assert "\n" not in str(told.value)
    (folder / "model.safetensors").write_bytes(whole)
    (folder / "x.gguf").write_bytes(b"GGUF" + b"\0" * 20)
    with pytest.raises(InputError):
        load_policy(str(folder / "x.gguf"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["stranger"] = 70_000
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(InputError, match="they don't belong"):
        load_policy(str(folder))
