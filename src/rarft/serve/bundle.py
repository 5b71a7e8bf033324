"""`rarft bundle`: policy, retriever, index, prompt settings, scores and licences in one folder, for `rarft serve`.

    rarft bundle --model runs/policy --index runs/index --output runs/bundle

What the folder holds stands in `folder.py`. Everything is copied: weights as safetensors (a LoRA adapter is merged, a
GGUF file dequantised), the encoder that the index was built with, the traces of the index. With `--labels` and
`--problems` a minimum score is chosen (`threshold.py`). Left out: training and scoring anything; quantised weights.
"""

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

import rarft
from rarft.core.artifacts import MANIFEST, STATE, digest_input, find_file, read_manifest, write_json
from rarft.core.config import Config, Count, Input, NotInResult
from rarft.core.errors import InputError
from rarft.core.estimate import Estimate, Known
from rarft.core.progress import log
from rarft.core.stages import Work, stage, versions
from rarft.models.prompts import PromptConfig
from rarft.serve import folder as layout

MODEL_FILES = (".safetensors", ".json", ".txt", ".model", ".jinja")
LICENCE_FILES = ("LICENSE", "LICENCE", "NOTICE", "COPYING")


class BundleConfig(Config):
    """What to put into the bundle."""

    model: Input
    """Policy: Hugging Face id, folder, LoRA adapter, or GGUF file."""
    index: Input
    """A `rarft index` folder."""
    traces: Input | None = None
    """The traces that the index was made of; default where it found them."""
    retriever: Input | None = None
    """Where the index's retriever lies now, if it has moved; default where it was when the index was built."""
    name: str = Field("rarft", pattern=r"^[\w.-]{1,96}$")
    """What the policy is called behind the API; NAME-bare is the same policy without retrieval."""
    reference_model: bool = False
    """Only refer to the policy: its weights stay where they are, and have to be there when it is served."""
    untuned: Input | None = None
    """An untuned encoder (folder, id, or `minilm`) to index the traces with as well, so that the page can compare."""
    prompt: PromptConfig = PromptConfig()
    top_k: int = Field(1, ge=1)
    """Traces in a prompt where a request does not say."""
    max_new_tokens: Count = 1024
    """Longest completion where a request does not say, in tokens."""
    scores: Input | None = None
    """A `rarft evaluate` folder of this policy with this prompt; its scores go into the card."""
    labels: Input | None = None
    """Labels to choose the minimum score on: problems that the retriever was not trained on."""
    problems: Input | None = None
    """The problems that the labels name."""
    min_score: float | None = None
    """Traces below it are not shown to the policy; default: chosen where there are labels, else none."""
    licences: dict[str, str] = {}
    """Licences by part (policy, retriever, traces), such as apache-2.0; default what the models' own cards say."""
    batch_size: Annotated[Count, NotInResult] = 64
    """Texts per forward pass."""

    @model_validator(mode="before")
    @classmethod
    def _traces_of_the_index(cls, values: Any) -> Any:
        """Where no traces are given, those that the index was made of."""
        if isinstance(values, dict) and values.get("traces") is None and isinstance(values.get("index"), str):
            with suppress(InputError, KeyError, TypeError):
                return {**values, "traces": read_manifest(values["index"])["inputs"]["traces"]["path"]}
        return values


def estimate(config: BundleConfig, known: Known) -> Estimate:
    """Traces to copy, and to encode again where there is an untuned encoder."""
    check(config)
    count = known.traces(config.traces)
    return Estimate({"traces": count} | ({"to encode": count} if config.untuned else {}))


def check(config: BundleConfig) -> None:
    """Check what can be checked without reading models.

    Raises:
        InputError: options that need or exclude each other, or scores of another prompt.
    """
    if config.traces is None:
        raise InputError(f"{config.index}: does not say which traces it was made of; give them with --traces")
    if (config.labels is None) != (config.problems is None):
        raise InputError("--labels and --problems choose the minimum score together; give both or neither")
    if config.labels is not None and config.min_score is not None:
        raise InputError("--min-score is given, so there is nothing to choose on --labels; leave one out")
    unknown = set(config.licences) - {"policy", "retriever", "traces"}
    if unknown:
        raise InputError(f"licences.{min(unknown)}: no such part; there are policy, retriever and traces")
    if config.scores is not None:
        _check_scores(config)


def _check_scores(config: BundleConfig) -> None:
    """Scores belong to a prompt: those of another one say nothing about this bundle."""
    measured = read_manifest(str(config.scores))["config"]
    ours = {"prompt": config.prompt.model_dump(mode="json"), "top_k": config.top_k}
    for name, value in ours.items():
        if measured.get(name) != value:
            raise InputError(
                f"{config.scores}: was measured with {name} {json.dumps(measured.get(name))}, not "
                f"{json.dumps(value)}; give the same to bundle, or leave --scores out"
            )


@stage("bundle", "policy, retriever and index in one folder, to be served", place=90, estimate=estimate)
def bundle(config: BundleConfig, work: Work) -> None:
    """Put policy, retriever, index, prompt settings, scores and licences into one folder, for `rarft serve`.

    `--push ORG/NAME` also uploads it to the Hugging Face hub.

    Raises:
        InputError: bad input; traces that are not those of the index; weights that are not safetensors.
    """
    check(config)
    from rarft.retriever.trace_index import BASELINES  # torch: keeps --help quick
    from rarft.serve.live import LiveIndex

    source = LiveIndex(config.index, retriever=config.retriever, batch_size=config.batch_size)
    info = source.info
    traces = _traces(config, source)
    licences = {"policy": _copy_policy(config, work.path / layout.POLICY)}
    if info.type not in BASELINES:
        encoder = config.retriever or info.retriever
        licences["retriever"] = _copy_encoder(encoder, work.path / layout.RETRIEVER)
    licences["traces"] = "unknown"
    copied = _copy_index(Path(config.index), work.path)
    with (work.path / layout.TRACES).open("w", encoding="utf-8") as file:
        for trace in traces:
            file.write(json.dumps(trace.as_row(), ensure_ascii=False) + "\n")
    if config.untuned is not None:
        _index_untuned(config, copied, traces, work.path / layout.UNTUNED)
    if config.scores is not None:
        shutil.copyfile(find_file(config.scores, layout.SCORES), work.path / layout.SCORES)
    minimum, how = config.min_score, {"given": True} if config.min_score is not None else {}
    if config.labels is not None and config.problems is not None:
        from rarft.serve.threshold import choose_minimum  # torch

        chosen = choose_minimum(copied, config.labels, config.problems)
        minimum, how = chosen.value, chosen.about
    about = layout.Description(
        format=layout.FORMAT,
        rarft=rarft.__version__,
        name=config.name,
        reference=_absolute(config.model) if config.reference_model else None,
        reference_digest=digest_input(config.model, "model") if config.reference_model else "",
        prompt=config.prompt,
        top_k=config.top_k,
        max_new_tokens=config.max_new_tokens,
        min_score=minimum,
        min_score_from=how,
        untuned=config.untuned or "",
        licences=licences | config.licences,
        versions=versions(),
        files={name: digest_input(str(work.path / name)) for name in layout.files_of(work.path)},
    )
    write_json(work.path / layout.BUNDLE, about.model_dump(mode="json"))
    (work.path / layout.CARD).write_text(_card(config, about, info.retriever, len(traces), work.path), encoding="utf-8")
    work.results |= {"n_traces": len(traces), "min_score": minimum, "min_score_from": how}
    log(f"bundle: {len(traces)} traces, minimum score {'none' if minimum is None else f'{minimum:.4g}'}")


def _card(config: BundleConfig, about: layout.Description, retriever: str, n_traces: int, path: Path) -> str:
    from rarft.evaluation.scores import read_scores  # numpy
    from rarft.serve.card import model_card  # only now: quick to import, but of no use to --help

    scores = read_scores(path) if config.scores is not None else None
    sources = {"policy": config.model, "retriever": config.retriever or retriever, "traces": str(config.traces)}
    return model_card(about, {part: Path(source).name for part, source in sources.items()}, n_traces, scores)


def _traces(config: BundleConfig, index: Any) -> list[Any]:
    """The traces of the index, by id.

    Raises:
        InputError: one is not among the traces given, or is another there.
    """
    from rarft.records.problems import load_traces  # pyarrow
    from rarft.retriever.encoder import trace_text

    given = {trace.id: trace for trace in load_traces(str(config.traces))}
    found = []
    for name, problem, text in index.texts():
        trace = given.get(name)
        if trace is None or (trace.problem, trace_text(trace, index.info.part)) != (problem, text):
            why = "is not among these traces" if trace is None else "is another trace here"
            raise InputError(f"{config.traces}: trace {name[:60]!r} of {config.index} {why}; give the traces it is of")
        found.append(replace(trace, extra={}))
    return sorted(found, key=lambda trace: trace.id)


# Copies


def _copy_policy(config: BundleConfig, output: Path) -> str:
    """Put the policy into `output`, its weights too unless the bundle only refers to it; return its licence."""
    from rarft.models.loading import load_policy, load_tokenizer  # torch
    from rarft.retriever.encoder import resolve_model
    from rarft.serve.card import licence_of

    given = Path(config.model).expanduser()
    if given.is_file() or (given / "adapter_config.json").is_file():
        policy, tokenizer = load_policy(config.model)
        output.mkdir()
        if config.reference_model:
            policy.config.save_pretrained(output)
            policy.generation_config.save_pretrained(output)
        else:
            policy.save_pretrained(output)
        tokenizer.save_pretrained(output)
        return licence_of(given) or "unknown"
    source = resolve_model(config.model)
    load_tokenizer(str(source))  # what cannot be loaded shows now
    _copy_model(source, output, MODEL_FILES[1:] if config.reference_model else MODEL_FILES)
    return licence_of(source) or "unknown"


def _copy_encoder(name: str, output: Path) -> str:
    from rarft.retriever.encoder import resolve_model  # torch
    from rarft.serve.card import licence_of

    source = resolve_model(name)
    _copy_model(source, output, MODEL_FILES)
    return licence_of(source) or "unknown"


def _copy_model(source: Path, output: Path, endings: Sequence[str]) -> None:
    """Copy a model's files, and nothing that could run code or that a stage left beside them."""
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        ours = name.name in (MANIFEST, STATE) or name.parts[0].startswith(("checkpoint-", "scratch"))
        wanted = name.suffix in endings or name.name.startswith(LICENCE_FILES)
        if path.is_file() and wanted and not ours and not any(part.startswith(".") for part in name.parts):
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, output / name)


def _copy_index(source: Path, bundle_path: Path) -> Any:
    """The index in the bundle, whose retriever is the one beside it."""
    from rarft.retriever import ann  # torch
    from rarft.retriever.trace_index import BASELINES, INFO, TABLE, TraceIndex, read_info

    output, retriever = bundle_path / layout.INDEX, bundle_path / layout.RETRIEVER
    output.mkdir()
    for name in (f"{TABLE}.lance", f"{ann.CODES}.lance"):
        if (source / name).is_dir():
            shutil.copytree(source / name, output / name, copy_function=shutil.copyfile)
    if (source / ann.CENTROIDS).is_file():
        shutil.copyfile(source / ann.CENTROIDS, output / ann.CENTROIDS)
    info = read_info(source)
    if info.type in BASELINES:
        write_json(output / INFO, asdict(info))
        return TraceIndex(output)
    write_json(output / INFO, asdict(replace(info, retriever="../retriever", digest=digest_input(str(retriever)))))
    return TraceIndex(output, retriever=str(retriever))


def _index_untuned(config: BundleConfig, index: Any, traces: Sequence[Any], output: Path) -> None:
    """Index the traces with the untuned encoder as well, in the same way."""
    from rarft.retriever.encoder import load_encoder  # torch
    from rarft.retriever.trace_index import BASELINES, TraceIndex

    if index.info.type in BASELINES:
        raise InputError(f"--untuned: {config.index} is a baseline itself, with nothing to compare; leave it out")
    _copy_encoder(str(config.untuned), output / layout.RETRIEVER)
    encoder = load_encoder(
        str(output / layout.RETRIEVER), type=index.info.type, part=index.info.part, trace_tokens=index.info.trace_tokens
    )
    info = replace(
        index.info,
        digest=digest_input(str(output / layout.RETRIEVER)),
        dim=len(encoder.encode_problems(["x"])[0][0]),
    )
    made = TraceIndex.create(output / layout.INDEX, info, encoder=encoder, batch_size=config.batch_size)
    made.sync(traces)
    made.finish()


def _absolute(model: str) -> str:
    path = Path(model).expanduser()
    return str(path.resolve()) if path.exists() else model
