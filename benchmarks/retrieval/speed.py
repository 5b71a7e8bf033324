"""Speed and agreement of the index at 10k, 30k and 100k traces of 128 token vectors.

    python benchmarks/retrieval/speed.py --traces gsm8k_traces.jsonl --problems gsm8k_problems.jsonl

No ColBERT-sized encoder is run over 100k traces: token vectors of 1,000 real traces are encoded once (MiniLM, an
projection to 128 principal components), and each synthetic trace is four runs of 32 consecutive real vectors plus
noise of a third of their length. Queries are real problems that are not among those traces, cut at 32 vectors. So
encoding is not in the times; everything after it is. Measured per size: building (writing, clustering, assigning),
disk, resident memory while searching, latency of single queries, and agreement with exact MaxSim; beside exact MaxSim
and, with the mean of the token vectors, single-vector search. `--plaid PYTHON` adds PyLate's PLAID on the same vectors,
see `plaid.py`. `--dry` shrinks everything for a quick look.
"""

import argparse
import json
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from rarft.core.artifacts import write_json
from rarft.records.problems import Trace, load_problems, load_traces
from rarft.retriever.encoder import Settings, load_encoder
from rarft.retriever.maxsim import Packed, scores, top_traces
from rarft.retriever.trace_index import Info, TraceIndex

TOKENS, DIM = 128, 128
PLAID_MOST = 2_400  # on two cores it takes more than seven minutes to index 10,000


class Made:
    """Stands in for the encoder: vectors by number."""

    settings = Settings()

    def __init__(self, pool: np.ndarray, queries: list[np.ndarray], single: bool) -> None:
        rng = np.random.default_rng(0)
        self.pool, self.queries, self.single = pool, queries, single
        self.noise = (rng.standard_normal((2**17, DIM), dtype=np.float32) / (3 * np.sqrt(DIM))).astype(np.float32)

    def vectors(self, number: int) -> np.ndarray:
        rng = np.random.default_rng([1, number])
        runs = rng.integers(0, len(self.pool) - 32, 4)
        found = np.concatenate([self.pool[at : at + 32] for at in runs]).astype(np.float32)
        at = int(rng.integers(0, len(self.noise) - TOKENS))
        return unit(found + self.noise[at : at + TOKENS])

    def encode_traces(self, traces: list[Trace], batch_size: int = 0, pool: int = 1) -> list[np.ndarray]:
        found = [self.vectors(int(trace.id)) for trace in traces]
        return [unit(v.mean(0, keepdims=True)) for v in found] if self.single else found

    def encode_problems(self, texts: list[str], batch_size: int = 0) -> list[np.ndarray]:
        found = [self.queries[int(text)] for text in texts]
        return [unit(q.mean(0, keepdims=True)) for q in found] if self.single else found


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", required=True), parser.add_argument("--problems", required=True)
    parser.add_argument("--sizes", default="10000,30000,100000")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--native", type=int, default=0, help="also LanceDB's own IVF_PQ, at this many traces")
    parser.add_argument("--plaid", help=f"a Python that has pylate: also PyLate's PLAID, up to {PLAID_MOST} traces")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--dry", action="store_true")
    args = parser.parse_args()
    n_pool = 100 if args.dry else 1000
    sizes = [300, 900] if args.dry else [int(size) for size in args.sizes.split(",")]
    pool, queries = real_vectors(args, n_pool)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            made = Made(pool, queries, False)
            truth = exact(made, made.queries, size)
            rows.append(measure(Path(folder) / str(size), size, made, truth))
            rows.append(measure(Path(folder) / f"{size}s", size, Made(pool, queries, True), []))
            if args.plaid and size <= PLAID_MOST:
                rows.append(plaid(Path(folder) / f"{size}p", size, made, truth, args.plaid))
        if args.native:
            rows += native(Path(folder) / "native", args.native, Made(pool, queries, False))
    if args.out:
        write_json(args.out, rows)


def native(folder: Path, size: int, made: Made) -> list[dict]:
    """LanceDB's IVF_PQ over the multi-vector column, with and without re-scoring."""
    from lancedb.index import IvfPq

    folder.mkdir()
    info = Info("made", "-", "multi-vector", "both", TOKENS, 1, DIM, 10**9)
    index = TraceIndex.create(folder, info, encoder=made)  # type: ignore[arg-type]
    index.add(Trace(str(i), f"problem {i}", "solution") for i in range(size))
    started = time.monotonic()
    config = IvfPq(distance_type="cosine", num_sub_vectors=16, max_iterations=10, sample_rate=64)
    index.table.create_index("vector", config=config)
    built = time.monotonic() - started
    asked = [str(i) for i in range(len(made.queries))][:20]
    best = exact(made, made.queries[: len(asked)], size)
    rows = []
    for refine in (None, 5, 20):

        def search(question: str, refine: int | None = refine) -> list[str]:
            query = index.table.search(made.queries[int(question)].astype(np.float16), vector_column_name="vector")
            query = query.distance_type("cosine").nprobes(4).limit(10).select(["id", "_distance"])
            found = query.refine_factor(refine) if refine else query
            return list(found.to_arrow()["id"].to_pylist())

        row, found = clock(search, asked)
        row |= {"traces": size, "search": f"multi-vector, IVF_PQ, refine {refine}", "index_s": built}
        rows.append(shown(row | agreement(found, best)))
    return rows


def real_vectors(args: argparse.Namespace, n: int) -> tuple[np.ndarray, list[np.ndarray]]:
    encoder = load_encoder("minilm", trace_tokens=160, query_tokens=64)
    traces = load_traces(args.traces)[:n]
    encoder.project(DIM, traces)
    pool = np.concatenate(encoder.encode_traces(traces))
    asked = [problem.question for problem in load_problems(args.problems)[-args.queries :]]
    return pool, [vectors[:32] for vectors in encoder.encode_problems(asked)]


def measure(folder: Path, size: int, made: Made, truth: list[list[str]]) -> dict:
    folder.mkdir()
    kind = "single-vector" if made.single else "multi-vector"
    # a single-vector index is exact at these sizes; the multi-vector one is made to use its lists
    exact_below = 10**9 if made.single else 1
    info = Info("made", "-", kind, "both", TOKENS, 1, DIM, exact_below)
    index = TraceIndex.create(folder, info, encoder=made)  # type: ignore[arg-type]
    started = time.monotonic()
    index.add(Trace(str(i), f"problem {i}", "solution") for i in range(size))
    written = time.monotonic()
    index.finish()
    built = time.monotonic()
    disk = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**30
    index = TraceIndex(folder, encoder=made)  # type: ignore[arg-type]
    asked = [str(i) for i in range(len(made.queries))]
    index.search(asked[:1], 10)  # loads the lists
    loaded = time.monotonic()
    row: dict = {"traces": size, "search": f"{kind}, {index.search_type}", "write_s": written - started}
    row |= {"index_s": built - written, "disk_gib": disk, "load_s": loaded - built}
    timed, found = clock(lambda q: [hit.trace_id for hit in index.search([q], 10)[0]], asked)
    row |= timed | {"rss_gib": resident()}
    if truth:
        packed = Packed.of([made.vectors(i) for i in range(min(size, 10_000))])
        one, _ = clock(lambda q: scores(made.encode_problems([q]), packed), asked[:12])
        row |= agreement(found, truth)
        row |= {"exact_p50_ms": one["p50_ms"] * size / len(packed), "exact_scaled_from": len(packed)}
    shutil.rmtree(folder)
    return shown(row)


def plaid(folder: Path, size: int, made: Made, truth: list[list[str]], python: str) -> dict:
    """PyLate's PLAID with its defaults, in a process of the environment that has it."""
    folder.mkdir()
    traces = np.lib.format.open_memmap(folder / "traces.npy", "w+", np.float16, (size, TOKENS, DIM))
    for i in range(size):
        traces[i] = made.vectors(i)
    traces.flush()
    np.save(folder / "queries.npy", np.stack(made.queries).astype(np.float16))
    script = str(Path(__file__).with_name("plaid.py"))
    done = subprocess.run([python, script, str(folder)], check=True, stdout=subprocess.PIPE, text=True)
    row = json.loads(done.stdout.splitlines()[-1])
    found = row.pop("found")
    shutil.rmtree(folder)
    return shown({"traces": size, "search": "multi-vector, PyLate's PLAID"} | row | agreement(found, truth))


def exact(made: Made, queries: list[np.ndarray], size: int) -> list[list[str]]:
    """The ten best traces of each query by exact MaxSim over the vectors as they are stored."""
    ids = (range(at, min(size, at + 500)) for at in range(0, size, 500))
    chunks = ([made.vectors(i).astype(np.float16) for i in rows] for rows in ids)
    best, _ = top_traces(queries, chunks, 10)
    return [[str(i) for i in row] for row in best]


def agreement(found: list[list[str]], truth: list[list[str]]) -> dict[str, float]:
    pairs = list(zip(found, truth, strict=True))
    return {
        "r1_agreement": float(np.mean([a[0] == b[0] for a, b in pairs])),
        "overlap_at_10": float(np.mean([len({*a} & {*b}) / 10 for a, b in pairs])),
    }


def shown(row: dict) -> dict:
    """The row rounded, and printed."""
    row = {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
    print(json.dumps(row), flush=True)
    return row


def clock(search, asked: list[str]) -> tuple[dict, list]:  # type: ignore[no-untyped-def,type-arg]
    times, found = [], []
    for question in asked:
        started = time.monotonic()
        found.append(search(question))
        times.append(1000 * (time.monotonic() - started))
    return {"p50_ms": float(np.median(times)), "p99_ms": float(np.percentile(times, 99))}, found


def resident() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
