"""What gradient caching saves and costs: seconds and peak resident memory of training steps, plain and cached.

    python benchmarks/retrieval/gradient_caching.py --traces gsm8k_traces.jsonl

Each setting runs in a process of its own (peak memory cannot be taken back), settings interleaved, twice.
"""

import argparse
import json
import subprocess
import sys
import time

import numpy as np

from rarft.records.problems import Problem, load_traces


def one(traces_file: str, batch: int, mini: int) -> dict[str, float]:
    """Three steps of `batch` problems and `batch` traces; the first is not timed."""
    import resource

    import torch

    from rarft.retriever.encoder import autocast, load_encoder
    from rarft.retriever.labels import Labels, Relations
    from rarft.retriever.loss import AnalogyLoss
    from rarft.retriever.train import Collator

    traces = load_traces(traces_file)[: 3 * batch]
    problems = [Problem(t.id, t.problem, "1") for t in traces]
    own = np.arange(len(traces))
    labels = Labels(own, own, own >= 0, np.ones(len(own)), False)
    encoder = load_encoder("minilm")
    loss = AnalogyLoss(encoder.model, Relations(labels, problems, traces), mini_batch_size=mini)
    collate = Collator(encoder, problems, traces)
    optimizer = torch.optim.AdamW(encoder.model.parameters(), lr=1e-5)
    encoder.model.train()
    times = []
    for step in range(3):
        rows = [{"problem": i, "traces": [i]} for i in range(step * batch, (step + 1) * batch)]
        features = collate(rows)
        started = time.process_time()
        queries = {k[6:]: v for k, v in features.items() if k.startswith("query_")}
        documents = {k[9:]: v for k, v in features.items() if k.startswith("document_")}
        with autocast(encoder.device):
            value = loss([queries, documents], features["label"])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        times.append(time.process_time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"batch": batch, "mini_batch": mini, "cpu_s_per_step": round(min(times[1:]), 2), "peak_gib": round(peak, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", required=True)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--one", type=int, default=-1, help="run this mini-batch size here and print it")
    args = parser.parse_args()
    if args.one >= 0:
        print(json.dumps(one(args.traces, args.batch, args.one)))
        return
    for mini in (0, 16) * 2:
        command = [sys.executable, __file__, "--traces", args.traces, "--batch", str(args.batch), "--one", str(mini)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
