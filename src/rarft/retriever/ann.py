"""Search over very many vectors: propose a few hundred traces cheaply, then score those exactly.

Late interaction, as in PLAID (Santhanam et al., 2022): token vectors are clustered; a trace is remembered as the set of
its tokens' centroids, and each centroid lists its traces. For a query, every query vector visits the lists of its
nearest centroids; a trace is credited, per query vector, with the best centroid that listed it, or with the last one
visited where none did. The traces with the highest sums are fetched from the table and scored by exact MaxSim, so a
score is exact always, and only which traces are looked at is approximate. Lists live in a LanceDB table beside the
traces, so adding and removing traces changes rows, not the clustering.

Single vectors: LanceDB's own IVF_PQ, re-scored with `refine_factor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rarft.core.progress import log, track
from rarft.models.number_types import fast_bfloat16

CODES = "centroids_of_traces"
CENTROIDS = "centroids.npy"
PROBES = 16
CANDIDATES = 512
SAMPLE_PER_CENTROID = 32
ROUNDS = 6
REFINE, SINGLE_PROBES = 10, 32


def number_of_centroids(n_vectors: int) -> int:
    """About the square root of the number of vectors, a power of two in [16, 65536]."""
    return int(2 ** np.clip(round(np.log2(max(1, n_vectors)) / 2), 4, 16))


def cluster(sample: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Spherical k-means of `sample` `(n, dim)`; returns `(count, dim)` float32, rows of length 1."""
    import torch

    rng = np.random.default_rng(seed)
    points = torch.from_numpy(sample.astype(np.float32))
    centroids = points[torch.from_numpy(rng.choice(len(sample), count, replace=len(sample) < count))]
    for _ in track(range(ROUNDS), f"clustering {len(sample)} of the vectors into {count}"):
        nearest = torch.from_numpy(assign(sample, centroids.numpy()))
        sums = torch.zeros_like(centroids).index_add_(0, nearest, points)
        empty = torch.bincount(nearest, minlength=count) == 0
        sums[empty] = points[torch.from_numpy(rng.choice(len(sample), int(empty.sum())))]
        centroids = torch.nn.functional.normalize(sums, dim=1)
    return np.asarray(centroids.numpy())


def assign(vectors: np.ndarray, centroids: np.ndarray, step: int = 16384) -> np.ndarray:
    """Nearest centroid of each vector, int64 `(n,)`."""
    import torch

    dtype = torch.bfloat16 if fast_bfloat16("cpu") else torch.float32
    columns = torch.from_numpy(centroids).to(dtype).T.contiguous()
    found = [
        (torch.from_numpy(vectors[at : at + step]).to(dtype) @ columns).argmax(1) for at in range(0, len(vectors), step)
    ]
    return np.asarray(torch.cat(found).numpy())


def centroid_sets(texts: Sequence[np.ndarray], centroids: np.ndarray) -> list[np.ndarray]:
    """The distinct centroids of each text's vectors, uint16, ascending."""
    codes = assign(np.concatenate(list(texts)), centroids)
    return [np.unique(part).astype(np.uint16) for part in np.split(codes, np.cumsum([len(t) for t in texts])[:-1])]


@dataclass(frozen=True)
class Lists:
    """For each centroid the traces that have it, in memory."""

    ids: list[str]
    centroids: np.ndarray
    starts: np.ndarray
    """`(centroids + 1,)` where each list begins in `traces`."""
    traces: np.ndarray
    """int32 positions in `ids`, list after list."""

    @classmethod
    def load(cls, batches: Iterable[Any], centroids: np.ndarray) -> Lists:
        """From Arrow batches with `id` and `centroids`."""
        ids: list[str] = []
        codes, owners = [], []
        for batch in batches:
            lengths = np.diff(np.asarray(batch["centroids"].offsets))
            owners.append(np.repeat(np.arange(len(ids), len(ids) + len(lengths), dtype=np.int32), lengths))
            codes.append(np.asarray(batch["centroids"].flatten()))
            ids += batch["id"].to_pylist()
        flat = np.concatenate(codes) if codes else np.zeros(0, np.uint16)
        order = np.argsort(flat, kind="stable")
        starts = np.searchsorted(flat[order], np.arange(len(centroids) + 1, dtype=np.int64))
        return cls(ids, centroids, starts, (np.concatenate(owners) if owners else flat.astype(np.int32))[order])

    def candidates(self, query: np.ndarray, count: int, probes: int = PROBES) -> list[str]:
        """Ids of about the best `count` traces for `query` `(vectors, dim)`, unordered."""
        near = query.astype(np.float32) @ self.centroids.T
        probes = min(probes, near.shape[1])
        total = np.zeros(len(self.ids), dtype=np.float32)
        for row in near:
            best = np.argpartition(-row, probes - 1)[:probes]
            best = best[np.argsort(row[best])]  # ascending, so that a better list overwrites a worse one
            credit = np.full(len(self.ids), row[best[0]], dtype=np.float32)
            for centroid in best:
                credit[self.traces[self.starts[centroid] : self.starts[centroid + 1]]] = row[centroid]
            total += credit
        if count >= len(self.ids):
            return self.ids
        return [self.ids[i] for i in np.argpartition(-total, count - 1)[:count]]


def train_centroids(batches: Callable[[], Iterator[list[np.ndarray]]], n_vectors: int, seed: int = 0) -> np.ndarray:
    """Cluster a random sample of the vectors that `batches` streams (lists of `(vectors, dim)`)."""
    count = number_of_centroids(n_vectors)
    share = min(1.0, SAMPLE_PER_CENTROID * count / max(1, n_vectors))
    rng = np.random.default_rng(seed)
    sample = []
    for texts in batches():
        flat = np.concatenate(texts)
        sample.append(flat[rng.random(len(flat)) < share].astype(np.float32))
    found = np.concatenate(sample)
    log(f"clustering token vectors: {count} centroids for {n_vectors} vectors")
    return cluster(found, count, seed)


def build_single(table: Any) -> None:
    """LanceDB's IVF_PQ over a column of single vectors."""
    from lancedb.index import IvfPq

    table.create_index("vector", config=IvfPq(distance_type="cosine"))


def find_single(table: Any, query: np.ndarray, k: int) -> list[dict[str, Any]]:
    """The `k` best rows by IVF_PQ and exact re-scoring: `id`, `problem`, `_distance` (1 - cosine)."""
    search = table.search(query, vector_column_name="vector").distance_type("cosine")
    found = search.nprobes(SINGLE_PROBES).refine_factor(REFINE).limit(k).select(["id", "problem", "_distance"])
    return list(found.to_arrow().to_pylist())
