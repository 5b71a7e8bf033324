"""What `--ray` takes beside the model: the start, the process that makes the prompts, and each call.

    rarft testbed --output runs/testbed
    python benchmarks/ray_cost.py driver --testbed runs/testbed --tokenizer runs/qwen-0.5b
    python benchmarks/ray_cost.py workers --testbed runs/testbed --problems 128
    python benchmarks/ray_cost.py data

`driver` labels by likelihood with an engine that computes nothing, so that what is left is this process's own: its
seconds per 1,000 pairs, as the slope between two numbers of problems, and the start. `workers` evaluates the testbed's
policy without Ray, and with one and two workers of a thread each, and compares the rollouts. `data` sends the same
calls through our pool and through Ray Data's `map_batches` on two actors. All on a CPU; rates depend on the machine and
on what else it runs.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from rarft.core.artifacts import read_manifest
from rarft.core.cluster import Pool
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


class Slow:
    """Answers a call of `CALL_TOKENS` tokens after a tenth of a second."""

    def score(self, tokens: np.ndarray) -> np.ndarray:
        time.sleep(0.1)
        return np.zeros(tokens.shape, dtype=np.float32)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"logps": self.score(batch["tokens"])}


def calls(n: int) -> Iterator[np.ndarray]:
    """What a stage makes one after another: `(CALL_TOKENS,)` token ids."""
    draw = np.random.default_rng(0)
    return (draw.integers(0, 50_000, CALL_TOKENS) for _ in range(n))


def through_pool(n: int) -> Iterator[Any]:
    with closing(Pool("local", Slow)) as pool:
        yield from pool.each("score", calls(n))


def through_ray_data(n: int) -> Iterator[Any]:
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    rows = ray.data.from_items([{"tokens": tokens} for tokens in calls(n)], override_num_blocks=n)
    strategy = ray.data.ActorPoolStrategy(size=2, max_tasks_in_flight_per_actor=2)
    yield from rows.map_batches(Slow, batch_size=1, compute=strategy, num_cpus=1).iter_rows()
    ray.shutdown()


def data(options: argparse.Namespace) -> None:
    """Seconds to the first and the last answer and this process's memory, by either way in a process of its own."""
    if options.way:
        started, first = time.monotonic(), 0.0
        for _ in {"pool": through_pool, "ray.data": through_ray_data}[options.way](options.calls):
            first = first or time.monotonic() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{options.way:<9} first {first:5.1f} s, all {time.monotonic() - started:6.1f} s, {peak:6.0f} MiB here",
            flush=True,
        )
        return
    print(f"{options.calls} calls of {CALL_TOKENS} tokens and 0.1 s, two workers")
    for way in ("pool", "ray.data"):
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--way", way], check=True, stderr=subprocess.DEVNULL)


def main() -> None:
    """Run the part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["driver", "workers", "data"])
    parser.add_argument("--testbed", type=Path, help="for driver and workers")
    parser.add_argument("--tokenizer", default="", help="a model whose tokenizer makes the prompts")
    parser.add_argument("--problems", type=int, default=512)
    parser.add_argument("--per-problem", type=int, default=32)
    parser.add_argument("--calls", type=int, default=200, help="for data")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part != "data" and not options.testbed:
        parser.error(f"{options.part} needs --testbed")
    {"driver": driver, "workers": workers, "data": data}[options.part](options)


if __name__ == "__main__":
    main()
