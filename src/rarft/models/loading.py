"""Load a causal language model and its tokenizer: a Hugging Face id, a local folder, or a GGUF file.

Weights are read from safetensors (or GGUF) only, never from pickles, and no code from a model's folder is run. A
folder that holds a LoRA adapter is loaded with its base model and merged. What is left out: quantised inference (a
GGUF's weights are dequantised on loading), vision models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from packaging.version import Version
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from rarft.core.errors import InputError


def default_device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_policy(
    model: str, *, dtype: str | torch.dtype = "auto", device: str | torch.device | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model, in evaluation mode, and its tokenizer.

    Args:
        model: Hugging Face id, folder with safetensors weights, or path of a `.gguf` file.
        dtype: "auto" for the dtype the weights are stored in, or "float32", "bfloat16", a torch dtype.
        device: where to put it; by default the first GPU, else the CPU.

    Raises:
        InputError: no such model, a folder without weights, or weights that don't fill the model.
    """
    where, kwargs = _locate(model)
    if isinstance(dtype, str) and dtype != "auto":
        dtype = getattr(torch, dtype)
    if (Path(where) / "adapter_config.json").is_file():
        policy = _load_adapter(Path(where), dtype)
    else:
        policy = _load_full(model, where, dtype, kwargs)
    tokenizer = load_tokenizer(model)
    rows = policy.get_input_embeddings().weight.size(0)
    most = max(set(tokenizer.get_vocab().values()) - set(tokenizer.added_tokens_decoder), default=0)
    if most >= rows:
        raise InputError(
            f"{model}: its tokenizer has a token {most}, but the model only {rows} rows; they don't belong"
        )
    return policy.to(device or default_device()).eval(), tokenizer


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of `model`; a missing pad token becomes the end-of-sequence token.

    Raises:
        InputError: there is none.
    """
    where, kwargs = _locate(model)
    if (Path(where) / "adapter_config.json").is_file() and not (Path(where) / "tokenizer_config.json").is_file():
        where, kwargs = _locate(_base_of(Path(where)))
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(where, trust_remote_code=False, **kwargs)
        if kwargs and Version(transformers.__version__) < Version("5.18"):
            _name_ends(tokenizer, Path(where, kwargs["gguf_file"]))
    except MemoryError:
        raise
    except Exception as error:  # a broken file makes the libraries raise anything
        raise InputError(f"{model}: no tokenizer found ({_first_line(error)})") from None
    if tokenizer.eos_token_id is None:
        raise InputError(f"{model}: its tokenizer has no end-of-sequence token; a policy needs one to stop")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _name_ends(tokenizer: PreTrainedTokenizerBase, file: Path) -> None:
    """Give the tokenizer the first and last token that its GGUF file names: older transformers mix them up."""
    from gguf import GGUFReader

    fields = GGUFReader(file).fields
    for end in ("bos", "eos"):
        field = fields.get(f"tokenizer.ggml.{end}_token_id")
        if field is not None:
            setattr(tokenizer, f"{end}_token", tokenizer.convert_ids_to_tokens(int(field.parts[field.data[0]][0])))


def context_length(config: Any) -> int | None:
    """Most tokens the model takes, prompt and completion together; None where its configuration doesn't say."""
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(length) if length else None


def eos_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that end a completion: the tokenizer's, and those that the model's generation config adds."""
    ids = {tokenizer.eos_token_id}
    generation = getattr(model, "generation_config", None)
    more = getattr(generation, "eos_token_id", None)
    ids.update(more if isinstance(more, list) else [more])
    return sorted(int(i) for i in ids if i is not None)


def _locate(model: str) -> tuple[str, dict[str, Any]]:
    """The `from_pretrained` name and keyword arguments for `model`, after checking what can be checked on disk."""
    path = Path(model).expanduser()
    if path.is_file():
        if path.suffix != ".gguf":
            raise InputError(f"{model}: not a model; give a Hugging Face id, a folder, or a .gguf file")
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise InputError(f"{model}: this folder holds no config.json; not a model folder")
        return str(path), {}
    if model.endswith(".gguf") or model.startswith(("/", ".", "~")) or model.count("/") > 1:
        raise InputError(f"{model}: no such model file or folder; check the path")
    return model, {}


def _load_full(model: str, where: str, dtype: str | torch.dtype, kwargs: dict[str, Any]) -> PreTrainedModel:
    folder = Path(where)
    if folder.is_dir() and not kwargs and not any(folder.glob("*.safetensors")):
        found = "only pickled weights; save them as safetensors" if any(folder.glob("*.bin")) else "no weights"
        raise InputError(f"{model}: this model folder holds {found} (model.safetensors is needed)")
    options = kwargs or {"use_safetensors": True}
    try:
        policy, info = AutoModelForCausalLM.from_pretrained(
            where, dtype=dtype, output_loading_info=True, trust_remote_code=False, **options
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a broken file makes the libraries raise anything
        raise InputError(f"{model}: cannot be loaded as a causal language model ({_first_line(error)})") from None
    missing = sorted(info["missing_keys"])
    if missing:
        raise InputError(f"{model}: the weights lack {len(missing)} tensors of the model, first {missing[0]}")
    if kwargs:  # dequantised on loading: from here on it is an ordinary model that can be trained and saved
        policy.hf_quantizer = None
        policy.is_quantized = False
        if hasattr(policy.config, "quantization_config"):
            del policy.config.quantization_config
    return policy


def _load_adapter(folder: Path, dtype: str | torch.dtype) -> PreTrainedModel:
    """The adapter's base, loaded as any model, with the adapter merged in."""
    from peft import PeftModel

    if not (folder / "adapter_model.safetensors").is_file():
        raise InputError(f"{folder}: the adapter has no adapter_model.safetensors; save it as safetensors, not pickled")
    base = _base_of(folder)
    where, kwargs = _locate(base)
    if Path(where).resolve() == folder.resolve():
        raise InputError(f"{folder}: the adapter names itself as its base model; name the base in adapter_config.json")
    policy = _load_full(base, where, dtype, kwargs)
    try:
        return PeftModel.from_pretrained(policy, str(folder)).merge_and_unload()
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise InputError(f"{folder}: the LoRA adapter cannot be loaded ({_first_line(error)})") from None


def _base_of(folder: Path) -> str:
    """The model that an adapter belongs to: the one it names; where it names none, the one in whose folder it lies.

    verl's merger leaves such a `lora_adapter` in the folder of the base model.
    """
    try:
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        raise InputError(f"{folder}: its adapter_config.json cannot be read; save the adapter anew") from None
    if base:
        return str(base)
    if (folder.parent / "config.json").is_file():
        return str(folder.parent)
    raise InputError(f"{folder}: its adapter_config.json does not name the base model; mend it")


def _first_line(error: Exception) -> str:
    return (str(error).strip().split("\n")[0] or type(error).__name__)[:300]
