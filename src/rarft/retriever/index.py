"""Build an index of traces, or bring one up to date.

`rarft index --traces T --retriever R --output DIR`

`R` is a trained retriever's folder, any untuned model, or a baseline: `bm25` or `random`. `--update OLD_INDEX` copies
an index and encodes only what is new. A build goes on where it was killed. What an index is: `trace_index.py`.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated

from rarft.core.artifacts import digest_input
from rarft.core.cluster import Pool, RayConfig, absolute
from rarft.core.config import Count, Input, NotInResult, Size
from rarft.core.errors import InputError
from rarft.core.estimate import Estimate, Known
from rarft.core.stages import Work, stage
from rarft.records.problems import Trace, iter_records
from rarft.retriever import ann
from rarft.retriever.encoder import Encoder, Kind, Part, load_encoder
from rarft.retriever.trace_index import BASELINES, INFO, TABLE, EncodeChunks, Info, TraceIndex, read_info

EXACT_BELOW = 600_000


class IndexConfig(RayConfig):
    """Encode traces and store them for search."""

    traces: Input
    """Traces: JSONL, Parquet, CSV, a `rarft prepare` folder, or a Hugging Face dataset id."""
    retriever: Input
    """A `rarft train-retriever` folder; or, as baselines, any encoder's folder or id, `minilm`, `bm25` or `random`."""
    type: Kind | None = None
    """Of an untuned model only: multi-vector (where not given) or single-vector."""
    part: Part | None = None
    """Which part of a trace is encoded; default what the retriever was trained on, else both."""
    trace_tokens: Count | None = None
    """Traces are cut at this many tokens; default what the retriever was trained on, else 256."""
    pool: Count = 1
    """Keep about one token vector in this many, by clustering alike ones: a smaller index, a little less exact."""
    exact_below: Size = EXACT_BELOW
    """With fewer token vectors in all, search is exact; with more, a vector index proposes candidates."""
    update: Input | None = None
    """An earlier index of the same retriever: copied, and only what changed is encoded."""
    batch_size: Annotated[Count, NotInResult] = 64
    """Texts per forward pass."""


def estimate(config: IndexConfig, known: Known) -> Estimate:
    """Traces to encode."""
    return Estimate({"traces": known.traces(config.traces)})


@stage("index", "encode the traces into an index on disk", place=50, estimate=estimate)
def index(config: IndexConfig, work: Work) -> None:
    """Build or update an index.

    Writes a LanceDB table `traces` (id, digest, problem, text, and for an encoder n_vectors, vector) and `index.json`;
    results: traces, vectors, added, removed, search (`exact`, `ann`, `bm25` or `random`).

    Raises:
        InputError: bad traces, no such model, or `update` names an index of another retriever or setting.
    """
    encoder = None if config.retriever in BASELINES else _load(config)
    settings = encoder.settings if encoder else None
    info = Info(
        retriever=config.retriever,
        digest=digest_input(config.retriever, "retriever"),
        type=settings.type if settings else "bm25" if config.retriever == "bm25" else "random",
        part=settings.part if settings else config.part or "both",
        trace_tokens=settings.trace_tokens if settings else 0,
        pool=config.pool,
        dim=len(encoder.encode_problems(["x"])[0][0]) if encoder else 0,
        exact_below=config.exact_below,
    )
    traces = iter_records(Trace, config.traces)
    first = next(traces)  # a file that cannot be read shows before anything is written
    if config.update is not None and not (work.path / INFO).is_file():
        _copy(Path(config.update), work.path, info)
    (work.scratch / "encoding").touch()  # what is encoded is worth going on from
    found = TraceIndex.create(work.path, info, encoder=encoder, batch_size=config.batch_size)
    with _workers(config) as encode:
        added, removed = found.sync(chain([first], traces), encode)
    found.finish()
    work.digest = found.digest()
    work.results |= {
        "n_traces": len(found),
        "n_vectors": found.n_vectors,
        "added": added,
        "removed": removed,
        "search": found.search_type,
        "type": info.type,
    }


def _load(config: IndexConfig) -> Encoder:
    return load_encoder(config.retriever, type=config.type, part=config.part, trace_tokens=config.trace_tokens)


@contextmanager
def _workers(config: IndexConfig) -> Iterator[EncodeChunks | None]:
    """With --ray, what encodes chunks of traces on the cluster: an encoder in each worker."""
    if config.ray is None or config.retriever in BASELINES:
        yield None
        return
    there = config.model_copy(update={"retriever": absolute(config.retriever)})
    with closing(Pool(config.ray, partial(_load, there))) as pool:
        yield lambda chunks: pool.each("encode_traces", chunks, config.batch_size, config.pool)


def _copy(old: Path, new: Path, info: Info) -> None:
    there = read_info(old)
    a, b = asdict(there) | {"retriever": "", "exact_below": 0}, asdict(info) | {"retriever": "", "exact_below": 0}
    if a != b:
        changed = ", ".join(key for key in a if a[key] != b[key])
        raise InputError(f"{old}: was made otherwise ({changed} differ); build the index without --update")
    for name in (f"{TABLE}.lance", f"{ann.CODES}.lance"):
        if (old / name).is_dir():
            shutil.copytree(old / name, new / name, dirs_exist_ok=True)
    if (old / ann.CENTROIDS).is_file():
        shutil.copy(old / ann.CENTROIDS, new / ann.CENTROIDS)
