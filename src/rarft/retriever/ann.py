"""Search over many vectors: LanceDB's IVF_PQ proposes, exact scores decide."""

from __future__ import annotations

from typing import Any

import numpy as np

NPROBES = 20
REFINE = 10


def build(table: Any, type: str) -> None:
    """Build the vector index."""
    from lancedb.index import IvfPq

    table.create_index("vector", config=IvfPq(distance_type="cosine"))


def find(table: Any, type: str, query: np.ndarray, k: int) -> list[dict[str, Any]]:
    """The `k` best rows with `id`, `problem` and `score` (mean MaxSim or cosine)."""
    vector = query.astype(np.float16) if type == "multi-vector" else query[0]
    search = table.search(vector, vector_column_name="vector").distance_type("cosine")
    rows = search.nprobes(NPROBES).refine_factor(REFINE).limit(k).select(["id", "problem", "_distance"])
    return [
        {"id": r["id"], "problem": r["problem"], "score": 1.0 - r["_distance"] / len(query)}
        for r in rows.to_arrow().to_pylist()
    ]
