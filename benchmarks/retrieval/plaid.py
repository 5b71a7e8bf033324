"""PyLate's PLAID on the vectors of `speed.py --plaid PYTHON`, which runs this file by that Python and reads its output.

    python3 -m venv plaid && plaid/bin/pip install pylate        # an environment of its own: it wants other versions
    plaid/bin/python benchmarks/retrieval/plaid.py FOLDER

FOLDER has `traces.npy` (traces, tokens, dim) and `queries.npy` (queries, tokens, dim), float16. Prints one JSON object:
seconds, latencies in milliseconds, sizes in GiB, and the ids found for each query.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from pylate import indexes

CHUNK = 10_000


def main() -> None:
    folder = Path(sys.argv[1])
    traces, queries = np.load(folder / "traces.npy", mmap_mode="r"), np.load(folder / "queries.npy")
    started = time.monotonic()
    index = indexes.PLAID(str(folder / "plaid"), "traces", override=True, show_progress=False, device="cpu")
    for at in range(0, len(traces), CHUNK):
        rows = range(at, min(at + CHUNK, len(traces)))
        index.add_documents([str(i) for i in rows], [np.asarray(traces[i], dtype=np.float32) for i in rows])
    built = time.monotonic() - started
    times, found = [], []
    index(queries[:1].astype(np.float32), k=10)  # loads it
    for query in queries:
        started = time.monotonic()
        found.append([hit["id"] for hit in index(query[None].astype(np.float32), k=10)[0]])
        times.append(1000 * (time.monotonic() - started))
    rss = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmRSS")).split()[1]
    disk = sum(file.stat().st_size for file in (folder / "plaid").rglob("*") if file.is_file())
    figures = {"index_s": built, "disk_gib": disk / 2**30, "rss_gib": int(rss) / 2**20}
    figures |= {"p50_ms": float(np.median(times)), "p99_ms": float(np.percentile(times, 99)), "found": found}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
