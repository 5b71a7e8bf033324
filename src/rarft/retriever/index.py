"""The index: traces, their vectors and a full-text index in one LanceDB table on disk.

`rarft index --traces T --retriever R --output DIR`

`R` is a trained retriever's folder, any untuned model, or a baseline: `bm25` (full-text search) or `random`. The table
can be brought up to date: `--update OLD_INDEX` copies an index and encodes only what is new; `TraceIndex.add` and
`.remove` do it in place. Small tables are searched exactly; above `exact_below` vectors a vector index picks
candidates, which are then scored exactly (`ann.py`). An index remembers its retriever's digest and takes no other's
queries. Encoding goes chunk by chunk in bounded memory, and goes on where it was killed.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from rarft.core.artifacts import digest_input, write_json
from rarft.core.config import Config, Input, NotInResult
from rarft.core.errors import InputError
from rarft.core.estimate import Estimate, Known
from rarft.core.progress import track
from rarft.core.stages import Work, stage
from rarft.records.problems import Trace, iter_records
from rarft.retriever import ann
from rarft.retriever.encoder import Encoder, Kind, Part, load_encoder, trace_text

TABLE, INFO = "traces", "index.json"
BASELINES = ("bm25", "random")
CHUNK = 1024
EXACT_BELOW = 600_000


class IndexConfig(Config):
    """Encode traces and store them for search."""

    traces: Input
    """Traces: JSONL, Parquet, CSV, a `rarft prepare` folder, or a Hugging Face dataset id."""
    retriever: Input
    """A `rarft train-retriever` folder; or, as baselines, any encoder's folder or id, `minilm`, `bm25` or `random`."""
    type: Kind | None = None
    """Of an untuned model only: multi-vector (where not given) or single-vector."""
    part: Part | None = None
    """Which part of a trace is encoded; default what the retriever was trained on, else both."""
    trace_tokens: int | None = None
    """Traces are cut at this many tokens; default what the retriever was trained on, else 256."""
    pool: int = 1
    """Keep about one token vector in this many, by clustering alike ones: a smaller index, a little less exact."""
    exact_below: int = EXACT_BELOW
    """With fewer token vectors in all, search is exact; with more, a vector index proposes candidates."""
    update: Input | None = None
    """An earlier index of the same retriever: copied, and only what changed is encoded."""
    batch_size: Annotated[int, NotInResult] = Field(64, ge=1)
    """Texts per forward pass."""


@dataclass(frozen=True)
class Info:
    """What an index is made of, kept beside the table as `index.json`."""

    retriever: str
    digest: str
    type: str
    """multi-vector, single-vector, bm25 or random."""
    part: Part
    trace_tokens: int
    pool: int
    dim: int
    exact_below: int


def estimate(config: IndexConfig, known: Known) -> Estimate:
    """Traces to encode."""
    return Estimate({"traces": known.traces(config.traces)})


@stage("index", "encode the traces into an index on disk", place=50, estimate=estimate)
def index(config: IndexConfig, work: Work) -> None:
    """Build or update an index.

    Writes a LanceDB table `traces` (id, problem, text, vector) and `index.json`; results: traces, vectors, added,
    removed, search (`exact` or `ann`).

    Raises:
        InputError: bad traces, no such model, or `update` names an index of another retriever or setting.
    """
    encoder = None if config.retriever in BASELINES else _load(config)
    settings = encoder.settings if encoder else None
    info = Info(
        retriever=config.retriever,
        digest=digest_input(config.retriever, "retriever"),
        type=settings.type if settings else config.retriever,
        part=settings.part if settings else config.part or "both",
        trace_tokens=settings.trace_tokens if settings else 0,
        pool=config.pool,
        dim=len(encoder.encode_problems(["x"])[0][0]) if encoder else 0,
        exact_below=config.exact_below,
    )
    if not (work.path / INFO).is_file():
        if config.update is not None:
            _copy(Path(config.update), work.path, info)
        write_json(work.path / INFO, asdict(info))
    found = TraceIndex(work.path, encoder=encoder, batch_size=config.batch_size)
    added, removed = found.sync(iter_records(Trace, config.traces))
    found.finish()
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


def read_info(folder: str | Path) -> Info:
    """What the index in `folder` is made of.

    Raises:
        InputError: no index there.
    """
    path = Path(folder) / INFO
    if not path.is_file():
        raise InputError(f"{folder}: no {INFO}; name a folder that `rarft index` made")
    return Info(**json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Hit:
    """A trace found."""

    trace_id: str
    score: float
    """Mean MaxSim or cosine in [-1, 1]; BM25 score; 0 for random."""
    problem: str
    """The trace's own problem, for the answer-leak guard."""


class TraceIndex:
    """An index on disk. Search one problem or many, add and remove traces.

    Args:
        folder: of the index.
        retriever: where the retriever lies now, if it has moved; checked against the index's digest.
        encoder: the loaded retriever, if there is one already.
        batch_size: texts per forward pass.

    Raises:
        InputError: no index there, or `retriever` is not the one that the index was built with.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        retriever: str | None = None,
        encoder: Encoder | None = None,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        import lancedb
        import pyarrow as pa

        self.folder, self.info = Path(folder), read_info(folder)
        self.batch_size, self.seed = batch_size, seed
        self._encoder = encoder
        self._retriever = retriever or self.info.retriever
        self._packed: Any = None
        self._lists: Any = None
        if encoder is None and self.info.type not in BASELINES:
            self._check_digest()
        vector = {
            "multi-vector": pa.list_(pa.list_(pa.float16(), self.info.dim or 1)),
            "single-vector": pa.list_(pa.float32(), self.info.dim or 1),
        }.get(self.info.type)
        columns = [("id", pa.string()), ("digest", pa.string()), ("problem", pa.string()), ("text", pa.string())]
        if vector is not None:
            columns += [("n_vectors", pa.int32()), ("vector", vector)]
        self.schema = pa.schema(columns)
        self.database = lancedb.connect(str(self.folder))
        self.table = self.database.create_table(TABLE, schema=self.schema, exist_ok=True)
        self._codes = pa.schema([("id", pa.string()), ("centroids", pa.list_(pa.uint16()))])

    def __len__(self) -> int:
        return int(self.table.count_rows())

    @property
    def encoder(self) -> Encoder:
        """The retriever, loaded when it is first needed."""
        if self._encoder is None:
            info = self.info
            kind: Any = info.type
            self._encoder = load_encoder(self._retriever, type=kind, part=info.part, trace_tokens=info.trace_tokens)
        return self._encoder

    def _check_digest(self) -> None:
        try:
            digest = digest_input(self._retriever, "retriever")
        except InputError:
            raise InputError(
                f"{self.folder}: its retriever {self._retriever} is gone; say where it is now with --retriever"
            ) from None
        if digest != self.info.digest:
            raise InputError(
                f"{self.folder}: was built with another retriever than {self._retriever} (digest "
                f"{self.info.digest[:12]}, not {digest[:12]}); build the index again with this one"
            )

    # What is in it

    @property
    def n_vectors(self) -> int:
        """Number of vectors stored."""
        if self.info.type in BASELINES:
            return 0
        counts = self.table.search().select(["n_vectors"]).limit(None).to_arrow()["n_vectors"]
        return int(np.sum(counts.to_numpy())) if len(counts) else 0

    @property
    def search_type(self) -> Literal["exact", "ann", "bm25", "random"]:
        """How this index is searched, decided by its size."""
        if self.info.type in BASELINES:
            return self.info.type  # type: ignore[return-value]
        return "ann" if self._vector_index() else "exact"

    def _vector_index(self) -> bool:
        if self.info.type == "multi-vector":
            return (self.folder / ann.CENTROIDS).is_file()
        return any("vector" in found.columns for found in self.table.list_indices())

    def sync(self, traces: Iterable[Trace]) -> tuple[int, int]:
        """Make the table hold exactly `traces`: encode the new and changed, remove the rest; return both counts."""
        there = self._digests()
        wanted: set[str] = set()

        def missing() -> Iterator[Trace]:
            for trace in traces:
                wanted.add(trace.id)
                if there.get(trace.id) != _digest(trace, self.info.part):
                    yield trace

        added = self.add(missing())
        removed = self.remove(set(there) - wanted)
        return added, removed

    def add(self, traces: Iterable[Trace]) -> int:
        """Encode and store traces, `CHUNK` at a time; one with an id that is there replaces it. Returns how many."""
        stored, stream = 0, iter(traces)
        there = set(self._digests())
        chunks = iter(lambda: list(islice(stream, CHUNK)), [])
        for chunk in track(chunks, f"indexing traces ({CHUNK} a step)"):
            table = self._rows(chunk)
            old = [trace.id for trace in chunk if trace.id in there]
            if old:
                self.remove(old)
            self.table.add(table)
            if self.info.type == "multi-vector" and self._vector_index():
                self._add_codes([trace.id for trace in chunk], _to_numpy(table["vector"], self.info.dim))
            stored += len(chunk)
        self._packed = self._lists = None
        return stored

    def remove(self, ids: Iterable[str]) -> int:
        """Remove traces; ids that are not there are passed over. Returns how many are gone."""
        before, found = len(self), sorted(ids)
        for at in range(0, len(found), 1000):
            quoted = ", ".join(_quote(i) for i in found[at : at + 1000])
            self.table.delete(f"id IN ({quoted})")
            if self.info.type == "multi-vector" and self._vector_index():
                self.database.open_table(ann.CODES).delete(f"id IN ({quoted})")
        self._packed = self._lists = None
        return before - len(self)

    def _rows(self, traces: Sequence[Trace]) -> Any:
        import pyarrow as pa

        rows: dict[str, Any] = {
            "id": [trace.id for trace in traces],
            "digest": [_digest(trace, self.info.part) for trace in traces],
            "problem": [trace.problem for trace in traces],
            "text": [trace_text(trace, self.info.part) for trace in traces],
        }
        if self.info.type not in BASELINES:
            vectors = self.encoder.encode_traces(traces, self.batch_size, self.info.pool)
            rows["n_vectors"] = [len(v) for v in vectors]
            rows["vector"] = _to_arrow(vectors, self.schema.field("vector").type)
        return pa.table(rows, schema=self.schema).combine_chunks()

    def _digests(self) -> dict[str, str]:
        found = self.table.search().select(["id", "digest"]).limit(None).to_arrow()
        return dict(zip(found["id"].to_pylist(), found["digest"].to_pylist(), strict=True))

    def finish(self) -> None:
        """Compact; bring the full-text index and, above `exact_below` vectors, the vector index up to date."""
        from lancedb.index import FTS, BTree

        indexed = {column for found in self.table.list_indices() for column in found.columns}
        if "text" not in indexed:
            self.table.create_index("text", config=FTS())
        if "id" not in indexed:
            self.table.create_index("id", config=BTree())
        total = self.n_vectors
        if self.info.type not in BASELINES and total >= self.info.exact_below and not self._vector_index():
            self._build_vector_index(total)
        with warnings.catch_warnings():  # nobody else reads a table that is being built
            warnings.simplefilter("ignore")
            self.table.optimize(cleanup_older_than=timedelta(0))

    def _build_vector_index(self, n_vectors: int) -> None:
        if self.info.type == "single-vector":
            ann.build_single(self.table)
            return

        def texts() -> Iterator[list[np.ndarray]]:
            for batch in self._batches(["vector"]):
                yield _to_numpy(batch["vector"], self.info.dim)

        centroids = ann.train_centroids(texts, n_vectors)
        codes = self.database.create_table(ann.CODES, schema=self._codes, exist_ok=True)
        codes.delete("true")  # what an interrupted run left
        for batch in track(self._batches(["id", "vector"]), f"assigning vectors to centroids ({CHUNK} traces a step)"):
            self._add_codes(batch["id"].to_pylist(), _to_numpy(batch["vector"], self.info.dim), centroids)
        np.save(self.folder / ann.CENTROIDS, centroids)  # last: without it there is no index

    def _add_codes(self, ids: list[str], vectors: list[np.ndarray], centroids: np.ndarray | None = None) -> None:
        import pyarrow as pa

        if centroids is None:
            centroids = np.load(self.folder / ann.CENTROIDS)
        sets = ann.centroid_sets(vectors, centroids)
        offsets = np.concatenate([[0], np.cumsum([len(found) for found in sets])]).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(sets)))
        self.database.open_table(ann.CODES).add(pa.table({"id": ids, "centroids": lists}, schema=self._codes))

    def _batches(self, columns: list[str], size: int = CHUNK) -> Iterator[Any]:
        """The table in pieces, never whole in memory."""
        for batch in self.table.search().select(columns).limit(None).to_batches(size):
            if batch.num_rows:
                yield batch

    # Search

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """The `k` best traces of each problem, best first, with no guard and no minimum (`search.py` adds them).

        Raises:
            InputError: `k` is above the number of traces.
        """
        if not questions:
            return []
        if k > len(self):
            raise InputError(
                f"{self.folder}: top-k is {k}, but the index holds {len(self)} traces; ask for fewer or add traces"
            )
        how: dict[str, Callable[[Sequence[str], int], list[list[Hit]]]] = {
            "random": self._random,
            "bm25": self.search_text,
            "exact": self._exact,
            "ann": self._ann,
        }
        return how[self.search_type](questions, k)

    def search_text(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """BM25 over the encoded part of the traces. Fewer than `k` where fewer share a word with the problem."""
        from lancedb.query import MatchQuery

        found = []
        for question in questions:
            query = self.table.search(MatchQuery(question, "text"), query_type="fts").limit(k)
            rows = query.select(["id", "problem", "_score"]).to_arrow().to_pylist()
            rows.sort(key=lambda row: (-row["_score"], row["id"]))
            found.append([Hit(row["id"], row["_score"], row["problem"]) for row in rows])
        return found

    def _random(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        rows = self.table.search().select(["id", "problem"]).limit(None).to_arrow()
        ids, problems = rows["id"], rows["problem"]
        found = []
        for question in questions:
            entropy = int.from_bytes(hashlib.sha256(question.encode()).digest()[:8], "little")
            order = np.random.default_rng([self.seed, entropy]).permutation(len(ids))[:k]
            found.append([Hit(ids[int(i)].as_py(), 0.0, problems[int(i)].as_py()) for i in order])
        return found

    def _exact(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        from rarft.retriever.maxsim import top_traces

        queries = self.encoder.encode_problems(questions, self.batch_size)
        if self._packed is None:
            self._packed = self._pack()
        ids, problems, chunks = self._packed
        best, score = top_traces(queries, chunks, k)
        return [
            [Hit(ids[i], float(s), problems[i]) for i, s in zip(row, value, strict=True)]
            for row, value in zip(best.tolist(), score.tolist(), strict=True)
        ]

    def _pack(self) -> tuple[list[str], list[str], list[Any]]:
        """All vectors in memory: an exact index is small by definition (`exact_below`)."""
        from rarft.retriever.maxsim import Packed

        ids: list[str] = []
        problems: list[str] = []
        chunks = []
        for batch in self._batches(["id", "problem", "vector"]):
            ids += batch["id"].to_pylist()
            problems += batch["problem"].to_pylist()
            chunks.append(Packed.of(_to_numpy(batch["vector"], self.info.dim)))
        return ids, problems, chunks

    def _ann(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        queries = self.encoder.encode_problems(questions, self.batch_size)
        if self.info.type == "single-vector":
            rows = [ann.find_single(self.table, query[0], k) for query in queries]
            return [[Hit(r["id"], 1.0 - r["_distance"], r["problem"]) for r in found] for found in rows]
        if self._lists is None:
            codes = self.database.open_table(ann.CODES).search().limit(None).to_batches()
            self._lists = ann.Lists.load(codes, np.load(self.folder / ann.CENTROIDS))
        return [self._rescored(query, k) for query in queries]

    def _rescored(self, query: np.ndarray, k: int) -> list[Hit]:
        from rarft.retriever.maxsim import scores

        ids = self._lists.candidates(query, max(ann.CANDIDATES, 4 * k))
        rows = self._rows_of(ids, ["id", "problem", "vector"])
        found = scores([query], _to_numpy(rows["vector"], self.info.dim))[0]
        order = np.argsort(-found, kind="stable")[:k].tolist()
        return [Hit(rows["id"][i].as_py(), float(found[i]), rows["problem"][i].as_py()) for i in order]

    def _rows_of(self, ids: Iterable[str], columns: list[str]) -> Any:
        wanted = f"id IN ({', '.join(map(_quote, ids))})"
        return self.table.search().where(wanted).select(columns).limit(None).to_arrow()

    def vectors(self, ids: Iterable[str]) -> dict[str, np.ndarray]:
        """Stored vectors of some traces, `(vectors, dim)` each; empty for a baseline without vectors."""
        wanted = sorted(set(ids))
        if self.info.type in BASELINES or not wanted:
            return {}
        found = self._rows_of(wanted, ["id", "vector"])
        arrays = _to_numpy(found["vector"], self.info.dim)
        return dict(zip(found["id"].to_pylist(), arrays, strict=True))


def _digest(trace: Trace, part: Part) -> str:
    return hashlib.sha256(f"{trace.problem}\0{trace_text(trace, part)}".encode()).hexdigest()[:16]


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _to_arrow(vectors: Sequence[np.ndarray], type: Any) -> Any:
    import pyarrow as pa

    flat = np.concatenate(list(vectors))
    if not pa.types.is_list(type):
        return pa.FixedSizeListArray.from_arrays(pa.array(flat.astype(np.float32).reshape(-1)), flat.shape[1])
    inner = pa.FixedSizeListArray.from_arrays(pa.array(flat.astype(np.float16).reshape(-1)), flat.shape[1])
    offsets = np.concatenate([[0], np.cumsum([len(v) for v in vectors])]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), inner)


def _to_numpy(column: Any, dim: int) -> list[np.ndarray]:
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_fixed_size_list(column.type):
        return [row[None] for row in np.asarray(column.flatten()).reshape(-1, dim)]
    flat = np.asarray(column.flatten().flatten()).reshape(-1, dim)
    starts = np.asarray(column.offsets)
    return np.split(flat, (starts[1:-1] - starts[0]))
