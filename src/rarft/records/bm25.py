"""BM25 over word counts: the one ranking by words, for candidates, for the baseline and for a `bm25` index.

Okapi BM25 (Robertson and Zaragoza, 2009; k1 = 1.2, b = 0.75) with scikit-learn's counts as one sparse matrix, in
memory. Left out: stemming and stop words. LanceDB's full-text search has both; its R@1 was 0.292 on CHAMP and 0.446 on
TheoremQA where this one's is 0.297 and 0.489, and 256 queries over 7,473 traces took it 1.2 processor seconds, this one
0.1 (`benchmarks/retrieval/bm25.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

BLOCK = 64


class BM25:
    """Scores texts for queries. Words are runs of letters and digits, lower case."""

    def __init__(self, texts: Sequence[str], k1: float = 1.2, b: float = 0.75) -> None:
        from scipy.sparse import csr_matrix
        from sklearn.feature_extraction.text import CountVectorizer

        self.vectorizer = CountVectorizer(token_pattern=r"[^\W_]+")
        counts = self.vectorizer.fit_transform(texts).tocoo()
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        found_in = np.bincount(counts.col, minlength=counts.shape[1])
        idf = np.log1p((len(texts) - found_in + 0.5) / (found_in + 0.5))
        norm = k1 * (1 - b + b * lengths / max(lengths.mean(), 1e-9))
        weights = idf[counts.col] * counts.data * (k1 + 1) / (counts.data + norm[counts.row])
        self.weights = csr_matrix((weights, (counts.row, counts.col)), shape=counts.shape)

    def scores(self, queries: Sequence[str]) -> Any:
        """Array (queries, texts); 0 where no word is shared."""
        asked = self.vectorizer.transform(queries)
        asked.data[:] = 1
        return (asked @ self.weights.T).toarray()

    def top(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        """For each query the `k` best texts that share a word with it, as (place, score); ties to the earlier text."""
        found = []
        for at in range(0, len(queries), BLOCK):
            for row in self.scores(queries[at : at + BLOCK]):
                k = min(k, len(row))
                least = np.partition(row, -k)[-k]
                places = np.flatnonzero((row >= least) & (row > 0))
                order = places[np.argsort(-row[places], kind="stable")][:k]
                found.append([(int(i), float(row[i])) for i in order])
        return found
