"""Loading: folder, GGUF, adapter; and one clear line for what cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rarft.errors import InputError
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
