"""What the training options beyond the paper do, on the testbed: dropping the demonstration, drawing among the top k.

100 steps of GRPO from a warmed-up policy: without retrieval, as in the paper, with
`drop_demonstration`, with `draw_top`. Each policy is evaluated on unseen surfaces with the demonstration and
without. The demonstrations stand for a retriever that is right at each rank with probability 0.7: a trace of the
problem's structure, else any trace.

    rarft run tests/effect.yaml --until warmup
    python benchmarks/train_options.py --output runs/train-options

Left out: other algorithms, several seeds; one run differs from the next by a few points.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from rarft.evaluation.evaluate import EvaluateConfig, evaluate
from rarft.models.prompts import PromptConfig
from rarft.policy.train import TrainConfig, train
from rarft.records.analogies import Analogy, write_analogies
from rarft.records.problems import load_problems, load_traces

ARMS: dict[str, dict[str, Any]] = {
    "no retrieval": {"retrieval": False},
    "as in the paper": {},
    "drop_demonstration 0.25": {"drop_demonstration": 0.25},
    "draw_top 4": {"draw_top": 4},
}
PROMPT = PromptConfig(instruction="")


def draw_analogies(problems: Path, corpus: Path, file: Path, right: float = 0.7, ranks: int = 4) -> None:
    """Write traces for each problem, each of its structure with probability `right`."""
    draw = random.Random(0)
    traces = load_traces(str(corpus))
    of_structure: dict[str, list[str]] = {}
    for trace in traces:
        of_structure.setdefault(trace.extra["structure"], []).append(trace.id)
    rows: list[Analogy] = []
    for problem in load_problems(str(problems)):
        same = of_structure[problem.extra["structure"]]
        for rank in range(1, ranks + 1):
            trace = draw.choice(same) if draw.random() < right else draw.choice(traces).id
            rows.append(Analogy(problem.id, rank, trace, 1 / rank))
    write_analogies(file, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quickstart", type=Path, default=Path("runs/effect"), help="run of tests/effect.yaml")
    parser.add_argument("--output", type=Path, default=Path("runs/train-options"))
    args = parser.parse_args()
    out: Path = args.output
    out.mkdir(parents=True, exist_ok=True)
    bed, start = args.quickstart / "testbed", args.quickstart / "warmup"
    for split in ("train", "eval"):
        draw_analogies(bed / split, bed / "corpus", out / f"analogies-{split}.parquet")
    found = {}
    for name, options in ARMS.items():
        slug = name.replace(" ", "-")
        policy = train(
            TrainConfig(
                problems=str(bed / "train"), traces=str(bed / "corpus"), model=str(start),
                analogies=str(out / "analogies-train.parquet"), prompt=PROMPT, steps=100, prompts_per_step=16,
                num_generations=8, learning_rate=1e-4, bf16=True, micro_batch=128, max_new_tokens=28,
                save_every=500, **options,
            ),
            out / slug,
        )  # fmt: skip
        common: dict[str, Any] = {
            "problems": [str(bed / "eval")], "model": str(policy), "prompt": PROMPT, "samples": 8,
            "max_new_tokens": 28, "batch_size": 256,
        }  # fmt: skip
        with_trace = {"traces": str(bed / "corpus"), "analogies": str(out / "analogies-eval.parquet")}
        scores = [
            json.loads((evaluate(EvaluateConfig(**common, **more), out / f"{slug}-{kind}") / "scores.json").read_text())
            for kind, more in (("with", with_trace), ("without", {}))
        ]
        found[name] = [score["overall"]["avg@k"] for score in scores]
        print(name, *(f"{s['value']:.3f} ({s['low']:.3f}-{s['high']:.3f})" for s in found[name]), flush=True)
    (out / "options.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
