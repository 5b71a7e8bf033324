"""BM25 by `rarft.records.bm25` beside LanceDB's full-text search: processor seconds, and how often they agree.

    python benchmarks/retrieval/bm25.py --traces gsm8k_traces.jsonl --problems gsm8k_problems.jsonl

R@1 of ours on CHAMP is a row of `quality.py champ`; `--champ v0.json` here prints it for both.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import FTS
from lancedb.query import MatchQuery

from rarft.records.bm25 import BM25
from rarft.records.problems import load_problems, load_traces
from rarft.records.same_problem import near_identical


def ours(texts: list[str], queries: list[str], depth: int) -> tuple[list[list[int]], float, float]:
    started = time.process_time()
    bm25 = BM25(texts)
    built = time.process_time()
    found = [[place for place, _ in row] for row in bm25.top(queries, depth)]
    return found, built - started, time.process_time() - built


def lance(texts: list[str], queries: list[str], depth: int) -> tuple[list[list[int]], float, float]:
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        rows = {"at": list(range(len(texts))), "text": texts}
        table = lancedb.connect(folder).create_table("texts", pa.table(rows))
        table.create_index("text", config=FTS())
        built = time.process_time()
        found = []
        for question in queries:
            hits = table.search(MatchQuery(question, "text"), query_type="fts").limit(depth).select(["at", "_score"])
            order = sorted(hits.to_arrow().to_pylist(), key=lambda hit: (-hit["_score"], hit["at"]))
            found.append([hit["at"] for hit in order])
        return found, built - started, time.process_time() - built


def champ(path: Path) -> dict[str, float]:
    """R@1 of both: does the first trace of another problem share a concept?"""
    rows = list(json.loads(path.read_text())["problems"].values())
    questions = [row["_text"] for row in rows]
    texts = [" ".join([row["_text"], *(step["_text"] for step in row["solution"]["steps"])]) for row in rows]
    concepts = [{c for c in row["ch_list"] if c.startswith("C_")} for row in rows]
    blocked = [[near_identical(a, b) for b in questions] for a in questions]
    scores = {}
    for name, rank in {"ours": ours, "lancedb": lance}.items():
        hits = []
        for i, order in enumerate(rank(texts, questions, len(texts))[0]):
            if any(concepts[i] & concepts[j] and not blocked[i][j] for j in range(len(rows))):
                first = next((j for j in order if not blocked[i][j]), i)
                hits.append(first != i and bool(concepts[i] & concepts[first]))
        scores[name] = round(float(np.mean(hits)), 3)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", required=True), parser.add_argument("--problems", required=True)
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--champ", type=Path, help="v0.json of the package champ-dataset")
    args = parser.parse_args()
    texts = [f"{trace.problem} {trace.solution}" for trace in load_traces(args.traces)]
    queries = [problem.question for problem in load_problems(args.problems)[-args.queries :]]
    BM25(texts[:10])  # imports
    found = {name: rank(texts, queries, 100) for name, rank in {"ours": ours, "lancedb": lance}.items()}
    for name, (_, built, asked) in found.items():
        print(
            json.dumps({"bm25": name, "traces": len(texts), "build_s": round(built, 2), "queries_s": round(asked, 2)})
        )
    pairs = list(zip(found["ours"][0], found["lancedb"][0], strict=True))
    same = np.mean([a[:1] == b[:1] for a, b in pairs])
    overlap = np.mean([len({*a[:10]} & {*b[:10]}) / 10 for a, b in pairs])
    print(json.dumps({"same_first": round(float(same), 2), "overlap_at_10": round(float(overlap), 2)}))
    if args.champ:
        print(json.dumps({"champ_r@1": champ(args.champ)}))


if __name__ == "__main__":
    main()
