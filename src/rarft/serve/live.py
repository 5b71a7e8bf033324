"""An index that takes traces while it is searched, and the log that keeps them.

The bundle's own index is never written to: what is added stands in memory beside it, what is removed is passed over,
and a search ranks both together. Every change is one line of `live.jsonl`, on the disk before it is answered; at the
start the log is replayed. A change that a kill cut off is absent as a whole. Left out: folding the log into the index
(`rarft index --update` with the traces of both, and a new bundle, once there are some ten thousand).
"""

from __future__ import annotations

import fcntl
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rarft.core.append_log import AppendLog
from rarft.core.errors import InputError, StageError, one_line
from rarft.records.problems import Trace, load_traces, parse_record
from rarft.retriever.encoder import Encoder, autocast, load_encoder, trace_text
from rarft.retriever.maxsim import Packed, scores
from rarft.retriever.trace_index import BASELINES, Hit, TraceIndex, read_info
from rarft.serve import folder as layout
from rarft.serve.folder import Bundle

REMEMBERED = 256
SPARE = 64


class RememberingEncoder(Encoder):
    """An encoder that remembers its last queries: a batch is encoded once, and what is asked again not at all."""

    def __init__(self, encoder: Encoder) -> None:
        self.model, self.settings = encoder.model, encoder.settings
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()

    def encode_problems(self, texts: Sequence[str], batch_size: int = 64) -> list[np.ndarray]:
        """As `Encoder.encode_problems`."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        found = dict(zip(new, super().encode_problems(new, batch_size), strict=True))
        found |= {text: self._known[text] for text in texts if text not in found}
        for text, vectors in found.items():
            self._known[text] = vectors
            self._known.move_to_end(text)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return [found[text] for text in texts]


class LiveIndex(TraceIndex):
    """A `TraceIndex` with traces added and removed in memory; its folder stays as it is. Not for several threads."""

    def __init__(self, folder: str | Path, **options: Any) -> None:
        super().__init__(folder, **options)
        self._own = {name for name, _, _ in self.texts()}
        self._hidden: set[str] = set()
        self._added: dict[str, tuple[Trace, np.ndarray | None]] = {}
        self._packed_added: tuple[list[tuple[str, str]], Packed] | None = None

    def __len__(self) -> int:
        return len(self._own) - len(self._hidden) + len(self._added)

    def texts(self) -> Iterator[tuple[str, str, str]]:
        """Id, problem and encoded text of each trace on the disk."""
        for batch in self._batches(["id", "problem", "text"]):
            yield from zip(*(batch[name].to_pylist() for name in ("id", "problem", "text")), strict=True)

    @cached_property
    def search_type(self) -> Literal["exact", "ann", "bm25", "random"]:
        """As `TraceIndex.search_type`; looked up once, since the folder stays as it is."""
        return super().search_type

    def encoded(self, traces: Sequence[Trace]) -> list[np.ndarray | None]:
        """The vectors of traces to be put in, rounded as those on the disk are; None each for an index without."""
        if self.info.type in BASELINES:
            return [None] * len(traces)
        vectors = self.encoder.encode_traces(traces, self.batch_size, self.info.pool)
        exact = self.info.type == "single-vector"
        return [v if exact else v.astype(np.float16).astype(np.float32) for v in vectors]

    def put(self, traces: Sequence[Trace], vectors: Sequence[np.ndarray | None]) -> None:
        """Add traces with their vectors; one with an id that is there takes its place."""
        for trace, found in zip(traces, vectors, strict=True):
            self._hidden |= {trace.id} & self._own
            self._added[trace.id] = trace, found
        self._changed()

    def drop(self, ids: Iterable[str]) -> None:
        """Remove traces; ids that are not there are passed over."""
        for name in ids:
            self._added.pop(name, None)
            self._hidden |= {name} & self._own
        self._changed()

    def _changed(self) -> None:
        self._packed_added = self._bm25 = None

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """As `TraceIndex.search`, over what is in it now."""
        if self.info.type in BASELINES or not questions:
            return super().search(questions, k)
        merged = zip(self._on_disk(questions, k), self._in_memory(questions), strict=True)
        return [sorted([*own, *added], key=lambda hit: -hit.score)[:k] for own, added in merged]

    def _on_disk(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """The `k` best of the bundle's own traces that have not been removed, or all there are."""
        search = self._exact if self.search_type == "exact" else self._ann
        fetch = min(len(self._own), k + min(len(self._hidden), SPARE))
        while True:
            found = [[h for h in hits if h.trace_id not in self._hidden] for hits in search(questions, fetch)]
            if fetch == len(self._own) or all(len(hits) >= k for hits in found):
                return found
            fetch = min(len(self._own), 4 * fetch)

    def _in_memory(self, questions: Sequence[str]) -> list[list[Hit]]:
        if not self._added:
            return [[] for _ in questions]
        if self._packed_added is None:
            rows = [(trace.id, trace.problem) for trace, _ in self._added.values()]
            self._packed_added = rows, Packed.of([v for _, v in self._added.values() if v is not None])
        rows, packed = self._packed_added
        table = scores(self.encoder.encode_problems(questions, self.batch_size), packed)
        return [[Hit(i, score, text) for (i, text), score in zip(rows, row, strict=True)] for row in table.tolist()]

    def _by_id(self, column: str) -> list[tuple[str, Any]]:
        """What a baseline ranks: also what was added, without what was removed."""
        own = super()._by_id(column)
        if self.info.type not in BASELINES:
            return own  # to be packed with their vectors; a search leaves out what was removed
        part = self.info.part
        text = {i: t.problem if column == "problem" else trace_text(t, part) for i, (t, _) in self._added.items()}
        return sorted([*(row for row in own if row[0] not in self._hidden), *text.items()])


class Corpus:
    """The worked examples of a bundle while it is served, with one or two indexes over them. Not for several threads.

    Args:
        bundle: an opened bundle.

    Raises:
        InputError: a damaged index or log.
    """

    def __init__(self, bundle: Bundle, batch_size: int = 64) -> None:
        self.traces = {trace.id: trace for trace in load_traces(str(bundle.folder / layout.TRACES))}
        self.index = _open_index(bundle.folder, batch_size)
        untuned = bundle.folder / layout.UNTUNED
        self.untuned = _open_index(untuned, batch_size) if untuned.is_dir() else None
        self.indexes = [index for index in (self.index, self.untuned) if index is not None]
        self._log_path = bundle.folder / layout.LIVE
        self._log: AppendLog | None = None
        if self._log_path.exists():
            self._replay()

    def autocast(self) -> AbstractContextManager[Any]:
        """The context that the encoders compute in, where there is one."""
        return nullcontext() if self.index.info.type in BASELINES else autocast(self.index.encoder.device)

    def add(self, traces: Sequence[Trace]) -> None:
        """Add traces, all or none; when this returns they are on the disk, and found from now on.

        Raises:
            StageError: the log cannot be written; nothing has changed.
        """
        vectors = [index.encoded(traces) for index in self.indexes]
        self._write({"add": [trace.as_row() for trace in traces]})
        self._put(traces, vectors)

    def remove(self, ids: Iterable[str]) -> list[str]:
        """Remove traces, durable when this returns; the ids that were there. Raises StageError as `add`."""
        gone = [name for name in dict.fromkeys(ids) if name in self.traces]
        if gone:
            self._write({"remove": gone})
            self._drop(gone)
        return gone

    def close(self) -> None:
        """Close the log, and let others have it."""
        if self._log is not None:
            log, self._log = self._log, None
            with suppress(OSError):
                log.close()
            os.close(self._lock)

    def _put(self, traces: Sequence[Trace], vectors: Sequence[Sequence[np.ndarray | None]]) -> None:
        self.traces |= {trace.id: trace for trace in traces}
        for index, found in zip(self.indexes, vectors, strict=True):
            index.put(traces, found)

    def _drop(self, ids: Sequence[str]) -> None:
        for name in ids:
            self.traces.pop(name, None)
        for index in self.indexes:
            index.drop(ids)

    def _write(self, row: dict[str, Any]) -> None:
        try:
            log = self._open()
            log.append(row)
            log.sync()
        except OSError as error:
            self.close()  # half a line, if there is one, is cut off when it is opened again
            raise StageError(f"{self._log_path.name}: cannot be written ({one_line(error)})") from None

    def _open(self) -> AppendLog:
        """The log, which only one process may have."""
        if self._log is None:
            lock = os.open(self._log_path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                raise StageError(
                    f"{self._log_path}: another server has it; stop that one, or copy the bundle"
                ) from None
            self._lock, self._log = lock, AppendLog(self._log_path)
        return self._log

    def _replay(self) -> None:
        """Bring what the log says into the indexes: its last word on each trace, encoded in one go."""
        last: dict[str, Trace | None] = {}
        try:
            for row in self._open().rows():
                last |= {trace.id: trace for trace in (parse_record(Trace, r, {}) for r in row.get("add", ()))}
                last |= dict.fromkeys(row.get("remove", ()))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{self._log_path}: damaged ({one_line(error)}); move it aside or mend it") from None
        self._drop([name for name, trace in last.items() if trace is None])
        added = [replace(trace, extra={}) for trace in last.values() if trace is not None]
        if added:
            self._put(added, [index.encoded(added) for index in self.indexes])


def _open_index(path: Path, batch_size: int) -> LiveIndex:
    """The index below `path`, with the retriever beside it."""
    return LiveIndex(path / layout.INDEX, encoder=_encoder(path), batch_size=batch_size)


def _encoder(path: Path) -> Encoder | None:
    info = read_info(path / layout.INDEX)
    if info.type in BASELINES:
        return None
    kind: Any = info.type
    own = str(path / layout.RETRIEVER)
    return RememberingEncoder(load_encoder(own, type=kind, part=info.part, trace_tokens=info.trace_tokens))
