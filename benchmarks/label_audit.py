"""Are labels measured benefit? Labels the same pairs in several ways and compares them with `rarft audit`.

    # the testbed, whose true structures are known: oracle, likelihood and pass-rate of a warmed-up policy,
    # and a judge for the first problems
    rarft run tests/effect.yaml --until warmup
    python benchmarks/label_audit.py testbed --judge-model M --output runs/audit-testbed
    # real problems: likelihood and pass-rate, and a judge where one is named
    python benchmarks/label_audit.py problems --problems P.jsonl --traces T.jsonl --model M --output runs/audit-gsm8k
    python benchmarks/label_audit.py problems --problems P.jsonl --traces T.jsonl --model M --reward code \
        --instruction "Write the function in a Python code block." --output runs/audit-mbpp

The judge is `--judge-model` at `--judge-url`, or behind a `transformers serve` that is started for it. Every part is a
stage: started again, it goes on where it was. The results are in OUTPUT/audit/audit.md.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rarft.core.artifacts import read_manifest
from rarft.models.prompts import BOXED
from rarft.preparation.prepare import PrepareConfig, prepare
from rarft.records.problems import load_problems, load_traces
from rarft.records.rows import write_jsonl
from rarft.relevance.audit import AuditConfig, audit
from rarft.relevance.label import LabelConfig, label


def on_testbed(options: argparse.Namespace) -> None:
    """Oracle, likelihood and pass-rate on the testbed of a run, with its warmed-up policy."""
    out: Path = options.output
    out.mkdir(parents=True, exist_ok=True)
    bed, policy = options.quickstart / "testbed", options.quickstart / "warmup"
    write_jsonl(out / "problems.jsonl", load_problems(str(bed / "train"))[: options.n_problems])
    common: dict[str, Any] = {
        "problems": str(out / "problems.jsonl"),
        "traces": str(bed / "corpus"),
        "model": str(policy),
        "prompt": {"instruction": ""},
        "candidates": {"per_problem": options.per_problem},
        "seed": options.seed,
    }
    sampling = {"samples": options.samples, "base_samples": 4 * options.samples, "max_new_tokens": 40}
    runs: dict[str, Any] = {
        "oracle": {"labeler": "oracle"},
        "pass-rate": {"labeler": "pass-rate", "pass_rate": sampling},
        "likelihood-answer": {"labeler": "likelihood", "likelihood": {"target": "answer"}},
        "likelihood-solution": {"labeler": "likelihood", "likelihood": {"target": "solution"}},
        "likelihood-both": {"labeler": "likelihood", "likelihood": {"target": "both"}},
    }
    common["gold_solutions"] = str(bed / "train")
    if options.judge_model:
        write_jsonl(out / "judged.jsonl", load_problems(common["problems"])[: options.judge_problems])
        runs["judge"] = {"problems": str(out / "judged.jsonl")}
    compare(out, common, runs, options)


def on_problems(options: argparse.Namespace) -> None:
    """Likelihood and pass-rate on real problems, and a judge where one is named."""
    out: Path = options.output
    out.mkdir(parents=True, exist_ok=True)
    traces = load_traces(options.traces)
    steps = {trace.id: trace.solution.strip().count("\n") + 1 for trace in traces}
    problems = load_problems(options.problems)
    if options.max_steps:
        problems = [p for p in problems if p.id in steps and steps[p.id] <= options.max_steps]
    write_jsonl(out / "problems.jsonl", problems[: options.n_problems])
    kept = PrepareConfig(problems=str(out / "problems.jsonl"), traces=options.traces, verifier=options.reward)
    data = prepare(kept, out / "data")
    write_jsonl(out / "solutions.jsonl", traces)
    common: dict[str, Any] = {
        "problems": str(data),
        "traces": str(data),
        "model": options.model,
        "candidates": {"per_problem": options.per_problem, "uniform": 0.5, "bm25": 0.5},
        "gold_solutions": str(out / "solutions.jsonl"),
        "prompt": {"max_trace_tokens": 300, "instruction": options.instruction},
        "seed": options.seed,
    }
    sampling = {"samples": options.samples, "base_samples": 4 * options.samples, "reward": options.reward}
    sampling["max_new_tokens"] = options.max_new_tokens
    runs: dict[str, Any] = {
        "likelihood-answer": {"labeler": "likelihood", "likelihood": {"target": "answer"}},
        "likelihood-solution": {"labeler": "likelihood", "likelihood": {"target": "solution"}},
        "pass-rate": {"labeler": "pass-rate", "pass_rate": sampling},
    }
    if options.reward == "code":  # its problems have no answer
        del runs["likelihood-answer"]
    if options.judge_model:
        runs["judge"] = {}
    compare(out, common, runs, options)


def compare(out: Path, common: dict[str, Any], runs: dict[str, Any], options: argparse.Namespace) -> None:
    """Label in every way, then audit."""
    folders = []
    for name, changes in runs.items():
        started = time.monotonic()
        if name == "judge":
            judge = {"model": options.judge_model, "concurrency": 4, "timeout": 600, "max_tokens": 96}
            judge["max_unjudged"] = 1.0
            with judge_server(options) as url:
                changes = changes | {"labeler": "judge", "judge": judge | {"base_url": url}}
                folders.append(str(label(LabelConfig.parse(common | changes, name), out / name)))
        else:
            folders.append(str(label(LabelConfig.parse(common | changes, name), out / name)))
        results = read_manifest(folders[-1])["results"]
        print(f"{name}: {time.monotonic() - started:.0f} s, {results}", flush=True)
    audit(AuditConfig(labels=folders), out / "audit", overwrite=True)


@contextmanager
def judge_server(options: argparse.Namespace) -> Iterator[str]:
    """URL of the given server, or of `transformers serve` with the judge's weights, which runs as long as the block."""
    if options.judge_url:
        yield options.judge_url
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    transformers = str(Path(sys.executable).with_name("transformers"))
    command = [transformers, "serve", options.judge_model, "--host", "127.0.0.1", "--port", str(port)]
    log = (options.output / "server.log").open("w")
    server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
                break
            except OSError:
                if server.poll() is not None:
                    raise SystemExit(f"transformers serve stopped; see {log.name}") from None
                time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parsers = parser.add_subparsers(required=True)
    bed = parsers.add_parser("testbed")
    bed.set_defaults(run=on_testbed, n_problems=60, per_problem=24, samples=16)
    bed.add_argument("--judge-problems", type=int, default=12, help="how many of the problems the judge gets")
    bed.add_argument("--quickstart", type=Path, default=Path("runs/effect"), help="run of tests/effect.yaml")
    real = parsers.add_parser("problems")
    real.set_defaults(run=on_problems, n_problems=16, per_problem=4, samples=6)
    for name in ("problems", "traces", "model"):
        real.add_argument(f"--{name}", required=True)
    real.add_argument("--max-steps", type=int, help="only problems whose own solution has at most so many lines")
    real.add_argument("--max-new-tokens", type=int, default=256)
    real.add_argument("--reward", default="math")
    real.add_argument("--instruction", default=BOXED)
    for sub in (bed, real):
        sub.add_argument("--output", type=Path, required=True)
        sub.add_argument("--n-problems", type=int)
        sub.add_argument("--per-problem", type=int)
        sub.add_argument("--samples", type=int, help="per pair; four times as many per problem without a trace")
        sub.add_argument("--judge-model", help="no judge without it")
        sub.add_argument("--judge-url", help="an OpenAI-compatible server; without it, one is started")
        sub.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.judge_url and not options.judge_model:
        parser.error("--judge-url needs --judge-model")
    os.environ["RARFT_CACHE"] = str(options.output / "cache")  # what was bought elsewhere would cost no time here
    options.run(options)


if __name__ == "__main__":
    main()
