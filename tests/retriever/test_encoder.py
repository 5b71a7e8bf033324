"""Loading an encoder: safetensors only, no code of the folder's, and one line for what is damaged."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rarft.core.errors import InputError
from rarft.retriever.encoder import NOT_FETCHED, load_encoder, resolve_model, write_settings

KINDS = pytest.mark.parametrize("kind", ["multi-vector", "single-vector"])


@pytest.fixture
def model(toy: dict[str, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy["model"], tmp_path / "model"))


@pytest.mark.parametrize("where", [".", "2_Dense", "1_Router/query_0_Dense"])
def test_pickled_weights_are_refused_unread(where: str, model: Path) -> None:
    folder = model / where
    folder.mkdir(parents=True, exist_ok=True)
    if where == ".":
        torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
        assert load_encoder(str(model))  # beside safetensors they are not looked at
        (model / "model.safetensors").unlink()
    else:
        (folder / "pytorch_model.bin").write_bytes(b"never read")
    with pytest.raises(InputError, match=r"pytorch_model\.bin: a pickle"):
        load_encoder(str(model))


@KINDS
def test_code_in_the_folder_is_not_run(kind: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *args: pytest.fail("asked on the terminal"))
    ran = model / "ran"
    (model / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own:\n    pass\n")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(
        json.dumps(
            config | {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}},
        )
    )
    with pytest.raises(InputError, match="cannot be loaded as an encoder"):
        load_encoder(str(model), type=kind)
    (model / "config.json").write_text(json.dumps(config))
    (model / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "own.Own"}]))
    with pytest.raises(InputError, match="cannot be loaded as an encoder"):
        load_encoder(str(model), type=kind)
    assert not ran.exists() and "own" not in sys.modules


@KINDS
@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json", "retriever.json"])
@pytest.mark.parametrize("how", ["half", "empty", "noise"])
def test_a_damaged_folder_is_told_in_one_line(kind: str, file: str, how: str, model: Path) -> None:
    write_settings(model, load_encoder(str(model), type=kind).settings)
    content = (model / file).read_bytes()
    broken = {"half": content[: len(content) // 2], "empty": b"", "noise": bytes(range(256)) * 4}[how]
    (model / file).write_bytes(broken)
    with pytest.raises(InputError) as told:
        load_encoder(str(model), type=kind)
    assert "\n" not in str(told.value) and str(model) in str(told.value)


def test_a_path_with_nothing_there_is_told(tmp_path: Path) -> None:
    for name, message in [(f"{tmp_path}/none", "no such model folder"), ("no such/name", "not to be had from the hub")]:
        with pytest.raises(InputError, match=message):
            resolve_model(name)
    with pytest.raises(InputError, match=r"no \.safetensors weights"):
        resolve_model(str(tmp_path))


def test_from_the_hub_come_no_pickles(toy: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **rest: asked.update(rest) or toy["model"])
    assert str(resolve_model("some/model")) == toy["model"]
    assert asked == {"local_files_only": False, "ignore_patterns": NOT_FETCHED} and "*.bin" in NOT_FETCHED
