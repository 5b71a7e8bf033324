"""Exact MaxSim over many traces, in bounded memory: the reference that every shortcut is measured against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rarft.models.number_types import fast_bfloat16


@dataclass(frozen=True)
class Packed:
    """Texts' vectors end to end, ready to be multiplied."""

    vectors: Any
    """`(all vectors, dim)` tensor: float32; of several vectors a text bfloat16 where the CPU multiplies it natively.

    A product in bfloat16 is rounded to 1/256. A mean over a text's vectors bears that; a score that is one product
    would tie with its neighbours.
    """
    starts: np.ndarray
    """`(texts,)` where each text begins."""
    lengths: np.ndarray
    """`(texts,)` how many vectors each has."""

    @classmethod
    def of(cls, texts: Sequence[np.ndarray]) -> Packed:
        """Pack arrays `(vectors, dim)`."""
        import torch

        lengths = np.array([len(text) for text in texts])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        flat = torch.from_numpy(np.concatenate(list(texts)))
        fast = len(flat) > len(lengths) and fast_bfloat16("cpu")
        return cls(flat.to(torch.bfloat16 if fast else torch.float32), starts, lengths)

    def __len__(self) -> int:
        return len(self.lengths)


def scores(
    queries: Sequence[np.ndarray] | Packed, traces: Sequence[np.ndarray] | Packed, budget: int = 2**25
) -> np.ndarray:
    """Mean MaxSim of every query with every trace.

    Args:
        queries, traces: packed, or arrays `(vectors, dim)`; rows of length 1.
        budget: similarities held at a time; work is cut into pieces that fit.

    Returns:
        `(queries, traces)` float32 in [-1, 1].

    >>> query, near, far = np.eye(2), np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0], [0.0, -1.0]])
    >>> scores([query], [near, far]).tolist()
    [[0.5, 0.0]]
    """
    import torch

    queries = queries if isinstance(queries, Packed) else Packed.of(queries)
    traces = traces if isinstance(traces, Packed) else Packed.of(traces)
    out = np.empty((len(queries), len(traces)), dtype=np.float32)
    step = max(1, budget // max(1, len(traces.vectors)))
    rows = min(len(queries.vectors), max(step, int(queries.lengths.max(initial=0))))
    room = traces.vectors.new_empty(rows, len(traces.vectors))  # for all blocks: the kernel is slow to hand out more
    at = 0
    while at < len(queries):
        end = int(np.searchsorted(queries.starts, queries.starts[at] + step, side="right"))
        end = min(len(queries), max(end - 1, at + 1))
        first = queries.starts[at]
        block = queries.vectors[first : queries.starts[end - 1] + queries.lengths[end - 1]]
        pairs = room[: len(block)]  # (query vectors, trace vectors)
        torch.mm(block.to(pairs.dtype), traces.vectors.T, out=pairs)
        best = np.maximum.reduceat(pairs.float().numpy(), traces.starts, axis=1)
        sums = np.add.reduceat(best, queries.starts[at:end] - first, axis=0)
        out[at:end] = sums / queries.lengths[at:end, None]
        at = end
    return out


def top_traces(
    queries: Sequence[np.ndarray], chunks: Iterable[Sequence[np.ndarray] | Packed], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` best traces of each query over a stream of chunks of the corpus.

    Returns:
        `(queries, k)` positions in the stream, best first, and their scores; ties go to the earlier trace.
    """
    packed = Packed.of(queries)
    best = np.zeros((len(queries), 0), dtype=np.int64)
    value = np.zeros((len(queries), 0), dtype=np.float32)
    seen = 0
    for chunk in chunks:
        found = scores(packed, chunk)
        places = np.broadcast_to(np.arange(seen, seen + len(chunk)), found.shape)
        best, value = np.concatenate([best, places], 1), np.concatenate([value, found], 1)
        order = np.argsort(-value, axis=1, kind="stable")[:, :k]
        best, value = np.take_along_axis(best, order, 1), np.take_along_axis(value, order, 1)
        seen += len(chunk)
    return best, value


def top_vectors(queries: np.ndarray, traces: Packed, k: int) -> list[tuple[list[int], list[float]]]:
    """As `top_traces` for one vector per text: one product of all queries with all traces, no sort of them all.

    Args:
        queries: `(queries, dim)`.
    """
    import torch

    table = torch.from_numpy(queries).to(traces.vectors.dtype) @ traces.vectors.T
    found = []
    for row, least in zip(table, table.topk(min(k, len(traces))).values[:, -1], strict=True):
        places = (row >= least).nonzero().flatten()  # with all that are as good as the last one
        best = row[places].sort(descending=True, stable=True)
        found.append((places[best.indices[:k]].tolist(), best.values[:k].tolist()))
    return found
