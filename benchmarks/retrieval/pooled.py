"""Would one vector per trace do to propose candidates? How often the best trace by MaxSim is among the first so many.

    python benchmarks/retrieval/pooled.py --traces gsm8k_train_traces.jsonl --problems gsm8k_test_problems.jsonl

An index over single vectors, which LanceDB has, could propose traces that exact MaxSim then decides on, and replace the
centroid lists of `rarft/retriever/ann.py`. Proposers: the mean of the token vectors; the mean less the corpus's own
mean; a fixed-dimensional encoding (FDE) as in MUVERA (Dhulipala et al., 2024). Each is searched exactly here, which no
index over it can beat. Traces are the real ones at their real lengths, and those of `speed.py`, made of runs of real
vectors. Printed per corpus and proposer: dimensions, recall of the best trace among 100, 256, 512 and 1,024 proposed,
and with `--lance` the time of a query in LanceDB, the exact scoring of what was proposed included.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import BTree, IvfPq
from speed import DIM, TOKENS, Made, unit

from rarft.records.problems import load_problems, load_traces
from rarft.retriever.encoder import load_encoder
from rarft.retriever.maxsim import scores

DEPTHS = (100, 256, 512, 1024)
CHUNK = 500


class Fde:
    """MUVERA's encoding: space is cut by random hyperplanes, a text is its vectors' sums (queries) or means (traces)
    in every cell, each brought to a few random dimensions; an empty cell of a trace takes its nearest vector. The dot
    product of a query's and a trace's encoding then comes near the sum of MaxSim."""

    def __init__(self, repetitions: int = 20, planes: int = 4, width: int = 8) -> None:
        rng = np.random.default_rng(0)
        self.planes = rng.standard_normal((repetitions, DIM, planes)).astype(np.float32)
        self.signs = (rng.choice([-1, 1], (repetitions, DIM, width)) / np.sqrt(width)).astype(np.float32)
        self.bits = 1 << np.arange(planes)
        cells = np.arange(2**planes)
        self.distance = np.array([[bin(a ^ b).count("1") for b in cells] for a in cells])

    def query(self, vectors: np.ndarray) -> np.ndarray:
        """Encoding of a query's vectors `(vectors, dim)`: sums."""
        return self._encode([vectors])[0][0]

    def traces(self, texts: list[np.ndarray]) -> np.ndarray:
        """Encodings `(texts, dims)` of traces: means, and the nearest vector in an empty cell."""
        sums, nearest = self._encode(texts)
        return np.where(sums == 0, nearest, sums)

    def _encode(self, texts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """For each text and cell: the sum (one text) or mean (several) of its vectors, and its nearest vector."""
        flat, lengths = np.concatenate(texts), np.array([len(text) for text in texts])
        starts, owner = np.cumsum(lengths) - lengths, np.repeat(np.arange(len(texts)), lengths)
        found = []
        for planes, signs in zip(self.planes, self.signs, strict=True):
            cell = ((flat @ planes) > 0) @ self.bits
            small = flat @ signs
            sums = np.zeros((len(texts) * len(self.distance), small.shape[1]), dtype=np.float32)
            place = owner * len(self.distance) + cell
            order = np.argsort(place, kind="stable")
            filled, first = np.unique(place[order], return_index=True)
            sums[filled] = np.add.reduceat(small[order], first)
            if len(texts) > 1:
                sums[filled] /= np.diff([*first, len(place)])[:, None]
            near = np.minimum.reduceat(self.distance[:, cell] * len(flat) + np.arange(len(flat)), starts, axis=1)
            found.append((sums.reshape(len(texts), -1), small[near.T % len(flat)].reshape(len(texts), -1)))
        sums_of, nearest_of = zip(*found, strict=True)
        return np.concatenate(sums_of, axis=1), np.concatenate(nearest_of, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", required=True), parser.add_argument("--problems", required=True)
    parser.add_argument("--sizes", default="100000", help="of the corpora made of runs of real vectors")
    parser.add_argument("--real", type=int, default=7500, help="real traces, at their own lengths")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--no-fde", action="store_true", help="leave MUVERA's encoding out: it takes the longest")
    parser.add_argument("--lance", action="store_true", help="also the time of a query in LanceDB")
    args = parser.parse_args()
    encoder = load_encoder("minilm", trace_tokens=160, query_tokens=64)
    traces = load_traces(args.traces)
    encoder.project(DIM, traces[:1000])
    asked = [problem.question for problem in load_problems(args.problems)[-args.queries :]]
    queries = [found[:32] for found in encoder.encode_problems(asked)]
    pool = np.concatenate(encoder.encode_traces(traces[:1000]))
    if args.real:
        real = [found[:TOKENS].astype(np.float16) for found in encoder.encode_traces(traces[: args.real])]
        compare(f"{len(real)} real", args, queries, lambda: cut(real))
    for size in map(int, args.sizes.split(",")):
        made = Made(pool, queries, False)
        starts = range(0, size, CHUNK)
        compare(
            f"{size} made",
            args,
            queries,
            lambda s=starts, n=size, m=made: (
                [m.vectors(i).astype(np.float16) for i in range(at, min(n, at + CHUNK))] for at in s
            ),
        )


def cut(texts: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    return (texts[at : at + CHUNK] for at in range(0, len(texts), CHUNK))


def compare(
    corpus: str, args: argparse.Namespace, queries: list[np.ndarray], chunks: Callable[[], Iterator[list[np.ndarray]]]
) -> None:
    """Exact scores and the proposers' encodings in one pass over the corpus; prints a line for each proposer."""
    fde = None if args.no_fde else Fde()
    exact, means, codes = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        table = None
        for chunk in chunks():
            exact.append(scores(queries, chunk))
            whole = [text.astype(np.float32) for text in chunk]
            means.append(np.stack([text.mean(0) for text in whole]))
            if fde:
                codes.append(fde.traces(whole).astype(np.float16))
            if args.lance:
                rows = rows_of(chunk, sum(map(len, means[:-1])), means[-1])
                database = lancedb.connect(folder)
                table = database.create_table("traces", rows) if table is None else table
                table.add(rows) if len(means) > 1 else None
        best = np.concatenate(exact, axis=1).argmax(1)
        mean, asked = np.concatenate(means), np.stack([query.mean(0) for query in queries])
        centre = mean.mean(0)
        show(corpus, "mean", DIM, best, unit(asked) @ unit(mean).T)
        show(corpus, "mean, centred", DIM, best, unit(asked - centre) @ unit(mean - centre).T)
        if fde:
            code = np.concatenate(codes)
            asked_codes = np.stack([fde.query(query) for query in queries])
            show(corpus, "FDE", code.shape[1], best, product(asked_codes, code))
        if table is not None:
            lance(corpus, table, queries, best)


def product(queries: np.ndarray, traces: np.ndarray, step: int = 5000) -> np.ndarray:
    """Dot products, in float32 though `traces` is float16, a piece at a time."""
    pieces = (traces[at : at + step].astype(np.float32) for at in range(0, len(traces), step))
    return np.concatenate([queries @ piece.T for piece in pieces], axis=1)


def show(corpus: str, proposer: str, dims: int, best: np.ndarray, found: np.ndarray) -> None:
    rank = (found > found[np.arange(len(best)), best][:, None]).sum(1)
    recall = {f"recall@{depth}": round(float(np.mean(rank < depth)), 3) for depth in DEPTHS}
    print(json.dumps({"corpus": corpus, "proposer": proposer, "dims": dims, **recall}), flush=True)


def rows_of(chunk: list[np.ndarray], first: int, means: np.ndarray) -> pa.Table:
    flat = np.concatenate(chunk)
    inner = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), DIM)
    offsets = pa.array(np.concatenate([[0], np.cumsum([len(text) for text in chunk])]).astype(np.int32))
    mean = pa.FixedSizeListArray.from_arrays(pa.array(unit(means).astype(np.float32).reshape(-1)), DIM)
    ids = pa.array(range(first, first + len(chunk)), pa.int64())
    return pa.table({"id": ids, "mean": mean, "vectors": pa.ListArray.from_arrays(offsets, inner)})


def lance(corpus: str, table: lancedb.table.Table, queries: list[np.ndarray], best: np.ndarray) -> None:
    """A query end to end: IVF_PQ over the means proposes, the token vectors are fetched, MaxSim decides."""
    started = time.monotonic()
    table.create_index("mean", config=IvfPq(distance_type="cosine"))
    table.create_index("id", config=BTree())
    built = time.monotonic() - started
    for depth in DEPTHS:
        times, right = [], []
        for query, wanted in zip(queries, best.tolist(), strict=True):
            started = time.monotonic()
            search = table.search(unit(query.mean(0, keepdims=True))[0], vector_column_name="mean")
            near = (
                search.distance_type("cosine")
                .nprobes(32)
                .refine_factor(2)
                .limit(depth)
                .select(["id", "vectors", "_distance"])
            )
            rows = near.to_arrow().combine_chunks()
            column = rows["vectors"].combine_chunks()
            flat = np.asarray(column.flatten().flatten()).reshape(-1, DIM)
            starts = np.asarray(column.offsets)
            found = scores([query], np.split(flat, starts[1:-1] - starts[0]))[0]
            right.append(rows["id"][int(found.argmax())].as_py() == wanted)
            times.append(1000 * (time.monotonic() - started))
        row = {"corpus": corpus, "proposer": "mean, LanceDB's IVF_PQ", "candidates": depth, "index_s": round(built, 1)}
        row |= {"r1_agreement": round(float(np.mean(right)), 3), "p50_ms": round(float(np.median(times)), 1)}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
