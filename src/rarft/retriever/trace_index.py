"""TraceIndex: traces and their vectors in one LanceDB table on disk; search, add, remove.

Small tables are searched exactly; above `exact_below` vectors a vector index picks candidates, which are then scored
exactly (`ann.py`). An index remembers its retriever's digest and takes no other's queries. Traces are encoded chunk by
chunk in bounded memory. Left out: the answer-leak guard and the choice among what is found (`search.py`).
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rarft.core.artifacts import digest_input, read_json, write_json
from rarft.core.errors import InputError
from rarft.core.progress import track
from rarft.records.bm25 import BM25
from rarft.records.problems import Trace
from rarft.retriever import ann
from rarft.retriever.encoder import Encoder, Part, load_encoder, resolve_model, trace_text
from rarft.retriever.maxsim import Packed, scores, top_traces, top_vectors

TABLE, INFO = "traces", "index.json"
BASELINES = ("bm25", "random")
CHUNK = 1024
EncodeChunks = Callable[[Iterable[list[Trace]]], Iterator[tuple[list[Trace], list[np.ndarray]]]]
"""Chunks of traces in, each with its traces' vectors out, in order."""


@dataclass(frozen=True)
class Info:
    """What an index is made of, kept beside the table as `index.json`."""

    retriever: str
    digest: str
    type: Literal["multi-vector", "single-vector", "bm25", "random"]
    part: Part
    trace_tokens: int
    pool: int
    dim: int
    exact_below: int


def read_info(folder: str | Path) -> Info:
    """What the index in `folder` is made of.

    Raises:
        InputError: no index there, or a damaged one.
    """
    path = Path(folder) / INFO
    if not path.is_file():
        raise InputError(f"{folder}: no {INFO}; name a folder that `rarft index` made")
    return read_json(Info, path, "build the index again")


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
        retriever: where the retriever lies now, if it has moved; checked against the index's digest. Where it is not
            given, the one that the index names is used if it is on this machine; an index makes us download nothing.
        encoder: the loaded retriever, if there is one already.
        batch_size: texts per forward pass.
        seed: of a `random` index.

    Raises:
        InputError: no index there, a damaged one, or `retriever` is not the one that the index was built with.
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

        self.folder, self.info = Path(folder), read_info(folder)
        self.batch_size, self.seed = batch_size, seed
        self._encoder = encoder
        self._retriever, self._given = retriever or self.info.retriever, retriever is not None
        self._packed: Any = None
        self._lists: Any = None
        self._bm25: Any = None
        if encoder is None and self.info.type not in BASELINES:
            self._check_retriever()
        self.schema = _schema(self.info)
        with self._undamaged():
            self.database = lancedb.connect(str(self.folder))
            self.table = self.database.open_table(TABLE)
            if not self.table.schema.equals(self.schema):
                raise ValueError(f"its table does not fit its {INFO}")

    @classmethod
    def create(cls, folder: Path, info: Info, *, encoder: Encoder | None = None, batch_size: int = 64) -> "TraceIndex":
        """Make an empty index; one that is there already is opened."""
        import lancedb

        if not (folder / INFO).is_file():
            lancedb.connect(str(folder)).create_table(TABLE, schema=_schema(info), exist_ok=True)
            write_json(folder / INFO, asdict(info))
        return cls(folder, encoder=encoder, batch_size=batch_size)

    @contextmanager
    def _undamaged(self) -> Iterator[None]:
        """Whatever the libraries raise while they read is the folder's fault."""
        try:
            yield
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(f"{self.folder}: this index is damaged ({reason}); build it again") from None

    def __len__(self) -> int:
        with self._undamaged():
            return int(self.table.count_rows())

    @property
    def encoder(self) -> Encoder:
        """The retriever, loaded when it is first needed."""
        if self._encoder is None:
            info = self.info
            kind: Any = info.type
            self._encoder = load_encoder(
                self._retriever, type=kind, part=info.part, trace_tokens=info.trace_tokens, fetch=self._given
            )
        return self._encoder

    def _check_retriever(self) -> None:
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
        resolve_model(self._retriever, fetch=self._given)

    # What is in it

    @property
    def n_vectors(self) -> int:
        """Number of vectors stored."""
        if self.info.type in BASELINES:
            return 0
        return sum(int(np.sum(batch["n_vectors"].to_numpy())) for batch in self._batches(["n_vectors"]))

    def digest(self) -> str:
        """sha256 of all that a search depends on: the settings, and each trace's id, text and vectors."""
        rows: dict[str, bytes] = {}
        columns = ["id", "digest"] if self.info.type in BASELINES else ["id", "digest", "vector"]
        for batch in self._batches(columns):
            found = _to_numpy(batch["vector"], self.info.dim) if "vector" in columns else [np.zeros(0)] * len(batch)
            for name, digest, vectors in zip(batch["id"].to_pylist(), batch["digest"].to_pylist(), found, strict=True):
                rows[name] = hashlib.sha256(digest.encode() + vectors.tobytes()).digest()
        settings = {**asdict(self.info), "retriever": ""}  # where it lies is no part of what it is
        sha = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for name in sorted(rows):
            sha.update(name.encode() + b"\0" + rows[name])
        return sha.hexdigest()

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

    @property
    def _has_lists(self) -> bool:
        return self.info.type == "multi-vector" and self._vector_index()

    def _listed(self) -> set[str]:
        """Ids in the lists of the vector index, where it has lists."""
        if not self._has_lists:
            return set()
        with self._undamaged():
            codes = self.database.open_table(ann.CODES).search().select(["id"]).limit(None).to_arrow()
        return set(codes["id"].to_pylist())

    def sync(self, traces: Iterable[Trace], encode: EncodeChunks | None = None) -> tuple[int, int]:
        """Make the table hold exactly `traces`: encode the new and changed, remove the rest; return both counts.

        A trace that is not in the lists of the vector index counts as new.

        Args:
            encode: as of `add`.
        """
        there, listed = self._digests(), self._listed()
        found = there.keys() & listed if self._has_lists else there.keys()
        wanted: set[str] = set()

        def missing() -> Iterator[Trace]:
            for trace in traces:
                wanted.add(trace.id)
                if trace.id not in found or there[trace.id] != _digest(trace, self.info.part):
                    yield trace

        added = self.add(missing(), encode)
        removed = self.remove((there.keys() | listed) - wanted)
        return added, removed

    def add(self, traces: Iterable[Trace], encode: EncodeChunks | None = None) -> int:
        """Encode and store traces, `CHUNK` at a time; one with an id that is there replaces it. Returns how many.

        Args:
            encode: encodes the chunks, several at a time; by default this index's encoder does, one by one.
        """
        stored, stream = 0, iter(traces)
        there = self._digests().keys() | self._listed()
        chunks = iter(lambda: list(islice(stream, CHUNK)), [])
        for chunk, vectors in track((encode or self._encode)(chunks), f"indexing traces ({CHUNK} a step)"):
            table = self._rows(chunk, vectors)
            old = [trace.id for trace in chunk if trace.id in there]
            if old:
                self.remove(old)
            if self._has_lists:  # before the rows: a row that a kill left without them would pass for done
                self._add_codes([trace.id for trace in chunk], _to_numpy(table["vector"], self.info.dim))
            self.table.add(table)
            stored += len(chunk)
        self._packed = self._lists = self._bm25 = None
        return stored

    def remove(self, ids: Iterable[str]) -> int:
        """Remove traces; ids that are not there are passed over. Returns how many are gone."""
        before, found = len(self), sorted(ids)
        for at in range(0, len(found), 1000):
            quoted = ", ".join(_quote(i) for i in found[at : at + 1000])
            self.table.delete(f"id IN ({quoted})")
            if self._has_lists:
                self.database.open_table(ann.CODES).delete(f"id IN ({quoted})")
        self._packed = self._lists = self._bm25 = None
        return before - len(self)

    def _encode(self, chunks: Iterable[list[Trace]]) -> Iterator[tuple[list[Trace], list[np.ndarray]]]:
        for chunk in chunks:
            baseline = self.info.type in BASELINES
            yield chunk, [] if baseline else self.encoder.encode_traces(chunk, self.batch_size, self.info.pool)

    def _rows(self, traces: Sequence[Trace], vectors: list[np.ndarray]) -> Any:
        import pyarrow as pa

        rows: dict[str, Any] = {
            "id": [trace.id for trace in traces],
            "digest": [_digest(trace, self.info.part) for trace in traces],
            "problem": [trace.problem for trace in traces],
            "text": [trace_text(trace, self.info.part) for trace in traces],
        }
        if self.info.type not in BASELINES:
            rows["n_vectors"] = [len(v) for v in vectors]
            rows["vector"] = _to_arrow(vectors, self.schema.field("vector").type)
        return pa.table(rows, schema=self.schema).combine_chunks()

    def _digests(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for batch in self._batches(["id", "digest"]):
            found |= zip(batch["id"].to_pylist(), batch["digest"].to_pylist(), strict=True)
        return found

    def finish(self) -> None:
        """Compact; bring the index of ids and, above `exact_below` vectors, the vector index up to date."""
        from lancedb.index import BTree

        if not any("id" in found.columns for found in self.table.list_indices()):
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
        import pyarrow as pa

        schema = pa.schema([("id", pa.string()), ("centroids", pa.list_(pa.uint16()))])
        codes = self.database.create_table(ann.CODES, schema=schema, exist_ok=True)
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
        codes = self.database.open_table(ann.CODES)
        codes.add(pa.table({"id": ids, "centroids": lists}, schema=codes.schema))

    def _batches(self, columns: list[str], size: int = CHUNK) -> Iterator[Any]:
        """The table in pieces, never whole in memory."""
        with self._undamaged():
            for batch in self.table.search().select(columns).limit(None).to_batches(size):
                if batch.num_rows:
                    yield batch

    def _by_id(self, column: str) -> list[tuple[str, Any]]:
        """Ids and one column of all traces, in the order of ids, so that the order of writing decides nothing."""
        found: list[tuple[str, Any]] = []
        for batch in self._batches(["id", column]):
            found += zip(batch["id"].to_pylist(), batch[column].to_pylist(), strict=True)
        return sorted(found)

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
        if self._bm25 is None:
            texts, problems = self._by_id("text"), self._by_id("problem")
            self._bm25 = problems, BM25([text for _, text in texts])
        rows, bm25 = self._bm25
        return [[Hit(rows[i][0], score, rows[i][1]) for i, score in found] for found in bm25.top(questions, k)]

    def _random(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        rows = self._by_id("problem")
        found = []
        for question in questions:
            entropy = int.from_bytes(hashlib.sha256(question.encode()).digest()[:8], "little")
            order = np.random.default_rng([self.seed, entropy]).permutation(len(rows))[:k]
            found.append([Hit(rows[i][0], 0.0, rows[i][1]) for i in order.tolist()])
        return found

    def _exact(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        queries = self.encoder.encode_problems(questions, self.batch_size)
        if self._packed is None:
            self._packed = self._pack()
        rows, chunks = self._packed
        found: Iterable[tuple[list[int], list[float]]]
        if self.info.type == "single-vector" and rows:
            found = top_vectors(np.concatenate(queries), chunks[0], k)
        else:
            found = zip(*(table.tolist() for table in top_traces(queries, chunks, k)), strict=True)
        return [[Hit(rows[i][0], s, rows[i][1]) for i, s in zip(best, score, strict=True)] for best, score in found]

    def _pack(self) -> tuple[list[tuple[str, str]], list[Packed]]:
        """Ids and problems, and all vectors in memory: an exact index is small by definition (`exact_below`)."""
        vectors: dict[str, np.ndarray] = {}
        for batch in self._batches(["id", "vector"]):
            vectors |= zip(batch["id"].to_pylist(), _to_numpy(batch["vector"], self.info.dim), strict=True)
        rows = self._by_id("problem")
        chunk = CHUNK if self.info.type == "multi-vector" else max(1, len(rows))
        pieces = (rows[at : at + chunk] for at in range(0, len(rows), chunk))
        return rows, [Packed.of([vectors[i] for i, _ in piece]) for piece in pieces]

    def _ann(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        queries = self.encoder.encode_problems(questions, self.batch_size)
        with self._undamaged():
            if self.info.type == "single-vector":
                rows = [ann.find_single(self.table, query[0], k) for query in queries]
                return [[Hit(r["id"], 1.0 - r["_distance"], r["problem"]) for r in found] for found in rows]
            if self._lists is None:
                codes = self.database.open_table(ann.CODES).search().limit(None).to_batches()
                self._lists = ann.Lists.load(codes, np.load(self.folder / ann.CENTROIDS))
        return [self._rescored(query, k) for query in queries]

    def _rescored(self, query: np.ndarray, k: int) -> list[Hit]:
        rows = self._rows_of(self._lists.candidates(query, max(ann.CANDIDATES, 4 * k)), ["id", "problem", "vector"])
        found = scores([query], _to_numpy(rows["vector"], self.info.dim))[0].tolist()
        hits = map(Hit, rows["id"].to_pylist(), found, rows["problem"].to_pylist())
        return sorted(hits, key=lambda hit: (-hit.score, hit.trace_id))[:k]

    def _rows_of(self, ids: Iterable[str], columns: list[str]) -> Any:
        wanted = f"id IN ({', '.join(map(_quote, ids))})"
        with self._undamaged():
            return self.table.search().where(wanted).select(columns).limit(None).to_arrow()

    def vectors(self, ids: Iterable[str]) -> dict[str, np.ndarray]:
        """Stored vectors of some traces, `(vectors, dim)` each; empty for a baseline without vectors."""
        wanted = sorted(set(ids))
        if self.info.type in BASELINES or not wanted:
            return {}
        found = self._rows_of(wanted, ["id", "vector"])
        arrays = _to_numpy(found["vector"], self.info.dim)
        return dict(zip(found["id"].to_pylist(), arrays, strict=True))


def _schema(info: Info) -> Any:
    import pyarrow as pa

    columns = [("id", pa.string()), ("digest", pa.string()), ("problem", pa.string()), ("text", pa.string())]
    if info.type == "multi-vector":
        columns += [("n_vectors", pa.int32()), ("vector", pa.list_(pa.list_(pa.float16(), info.dim)))]
    elif info.type == "single-vector":
        columns += [("n_vectors", pa.int32()), ("vector", pa.list_(pa.float32(), info.dim))]
    return pa.schema(columns)


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
