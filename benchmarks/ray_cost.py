"""What `--ray` takes beside the model: the start, the process that makes the prompts, and each call.

    rarft testbed --output runs/testbed
    python benchmarks/ray_cost.py driver --testbed runs/testbed --tokenizer runs/qwen-0.5b
    python benchmarks/ray_cost.py workers --testbed runs/testbed --problems 128

`driver` labels by likelihood with an engine that computes nothing, so that what is left is this process's own: its
seconds per 1,000 pairs, as the slope between two numbers of problems, and the start. `workers` evaluates the testbed's
policy without Ray, and with one and two workers of a thread each, and compares the rollouts. Both on a CPU; rates
depend on the machine and on what else it runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from rarft.core.artifacts import read_manifest
from rarft.models.engines.base import EngineOptions
from rarft.models.loading import load_tokenizer
from rarft.records.problems import load_problems
from rarft.records.rows import write_jsonl

CODE = (
    "import sys, time; from rarft.cli import main; code = main(sys.argv[1:]);print(time.process_time()); sys.exit(code)"
)
CALL_TOKENS = 60_000
"""Tokens of a call: what `transformers` asks for a model of half a billion parameters on a CPU."""


class Nothing:
    """An engine that computes nothing: every log-prob is 0."""

    calls_at_once, call_tokens, context_length, scores_ends = 1, CALL_TOKENS, None, True

    def __init__(self, model: str, options: EngineOptions) -> None:
        self.tokenizer = load_tokenizer(model)

    def score(self, prompts: Any, completions: Any, wanted: Any) -> list[list[np.ndarray]]:
        return [[np.zeros(n, dtype=np.float32) for n in of] for of in wanted]

    def close(self) -> None:
        pass


def run(arguments: list[str], cores: int = 2) -> tuple[float, float]:
    """A command in a process of its own, on so many cores: seconds by the clock, and of that process's processor."""
    started = time.monotonic()
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        capture_output=True,
        text=True,
        env=env,
        preexec_fn=lambda: os.sched_setaffinity(0, range(cores)),
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.monotonic() - started, float(done.stdout.split()[-1])


def driver(options: argparse.Namespace) -> None:
    """Labels by an engine that computes nothing."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        for n in (options.problems // 4, options.problems):
            problems, output = Path(name, f"{n}.jsonl"), Path(name, f"labels-{n}")
            write_jsonl(problems, load_problems(str(options.testbed / "train"))[:n])
            arguments = ["label", "--problems", str(problems), "--traces", str(options.testbed / "corpus")]
            arguments += ["--labeler", "likelihood", "--engine", "ray_cost:Nothing", "--model", options.tokenizer]
            arguments += ["--gold-solutions", str(options.testbed / "train"), "--ray", "local"]
            arguments += ["--prompt.template", "plain", "--candidates.per-problem", str(options.per_problem)]
            wall, cpu = run([*arguments, "--output", str(output)])
            manifest = read_manifest(output)
            pairs, tokens = manifest["results"]["n_pairs"], manifest["ledger"]["tokens_in"]
            found.append((pairs, tokens, wall, cpu))
            print(f"{pairs} pairs of {tokens / pairs:.0f} tokens: {wall:.1f} s, {cpu:.1f} s of the driver's processor")
    (a, _, wall_a, cpu_a), (b, tokens, wall_b, cpu_b) = found
    per = 1000 / (b - a)
    print(f"per 1,000 pairs: {per * (wall_b - wall_a):.3f} s, {per * (cpu_b - cpu_a):.3f} s of the driver's processor,")
    print(f"which is {per * (cpu_b - cpu_a) * 1e3 * b / tokens:.2f} microseconds a token; the start: ", end="")
    print(f"{wall_a - a / 1000 * per * (wall_b - wall_a):.1f} s")


def workers(options: argparse.Namespace) -> None:
    """An evaluation without Ray, and with one and two workers."""
    with tempfile.TemporaryDirectory() as name:
        problems = Path(name, "problems.jsonl")
        write_jsonl(problems, load_problems(str(options.testbed / "train"))[: options.problems])
        tables = []
        for how, cores in (("without Ray", 1), ("one worker", 1), ("two workers", 2)):
            output = Path(name, how.replace(" ", "-"))
            arguments = ["evaluate", "--problems", str(problems), "--model", str(options.testbed / "policy-init")]
            arguments += ["--engine", "transformers", "--samples", "16", "--max-new-tokens", "64"]
            arguments += [] if tables == [] else ["--ray", "local"]
            wall, _ = run([*arguments, "--output", str(output)], cores)
            results = read_manifest(output)["results"]
            tables.append(pq.read_table(output / "rollouts.parquet"))
            rate = results["tokens_per_second"]["out"]
            print(f"{how:<12} {wall:6.1f} s, sampling {results['engine_seconds']:6.1f} s; {rate:8.0f} tokens/s")
        print(f"{len(tables[0])} rollouts, the same: {all(table.equals(tables[0]) for table in tables)}")


def main() -> None:
    """Run the part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["driver", "workers"])
    parser.add_argument("--testbed", type=Path, required=True)
    parser.add_argument("--tokenizer", default="", help="a model whose tokenizer makes the prompts")
    parser.add_argument("--problems", type=int, default=512)
    parser.add_argument("--per-problem", type=int, default=32)
    options = parser.parse_args()
    {"driver": driver, "workers": workers}[options.part](options)


if __name__ == "__main__":
    main()
