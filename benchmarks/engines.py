"""Which engine is how fast: sampling and scoring with each, and likelihood labels with a small policy.

    rarft testbed --output runs/testbed
    python benchmarks/engines.py labels --testbed runs/testbed
    python benchmarks/engines.py engines --testbed runs/testbed --models runs/smollm2 runs/qwen-0.5b
    python benchmarks/engines.py rows --testbed runs/testbed --model runs/qwen-0.5b
    python benchmarks/engines.py sharing --problems P --traces T --analogies A --models BASE TRAINED

`labels` scores the same pairs by problem, one to a call, as an engine for large models does it, and in the calls that
the engine asks for; processes start anew, take turns, and the labels are compared. `engines` gives the same prompts,
each with a trace, to the transformers engine, to vLLM (in an environment that has it: `make .venv-vllm/ready`) and to a
plain `model.generate` loop, in each number type. Loading has a column of its own. `rows` scores the same pairs in the
transformers engine with rows of several lengths. `sharing` samples with and without a row shared by samples that have
not differed yet, and counts the samples that are the same. Rates depend on the machine and on what else it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rarft.core.artifacts import read_manifest
from rarft.core.processes import ended
from rarft.models import generation
from rarft.models.engines import EngineOptions, open_engine
from rarft.models.engines.base import Sampling
from rarft.models.prompts import PromptConfig, render_prompt
from rarft.records.analogies import read_analogies
from rarft.records.labels import read_labels
from rarft.records.problems import load_problems, load_traces
from rarft.records.rows import write_jsonl

# Labels


def label_once(folder: Path, testbed: Path, policy: str, per_problem: int, output: Path, alone: bool) -> dict[str, Any]:
    """Label in a process of its own: seconds with and without the start, processor seconds, labels."""
    code = (
        "import sys, time; from rarft.models.engines import transformers; from rarft.cli import main;"
        f"transformers.CPU_WORK = {'1' if alone else 'transformers.CPU_WORK'};"
        "code = main(sys.argv[1:]); print(time.process_time()); sys.exit(code)"
    )
    arguments = ["label", "--problems", str(folder / "problems.jsonl"), "--traces", str(testbed / "corpus")]
    arguments += ["--labeler", "likelihood", "--engine", "transformers", "--model", policy, "--prompt.instruction", ""]
    arguments += ["--candidates.per-problem", str(per_problem), "--gold-solutions", str(testbed / "train")]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--output", str(output)], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    rows = list(read_labels(str(output)))
    busy = read_manifest(output)["results"]["engine_seconds"]
    return {"seconds": time.monotonic() - started, "cpu": float(done.stdout.split()[-1]), "rows": rows, "busy": busy}


def labels(options: argparse.Namespace) -> None:
    """A problem to a call, and as many as suit the engine."""
    policy = options.policy or str(options.testbed / "policy-init")
    print(f"seconds per 1,000 pairs; {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_jsonl(folder / "problems.jsonl", load_problems(str(options.testbed / "train"))[: options.problems])
        found: dict[str, list[dict[str, Any]]] = {"a problem to a call": [], "as the engine asks": []}
        for i in range(options.rounds):
            for how, runs in found.items():
                output = folder / f"{how}-{i}".replace(" ", "-")
                alone = how.startswith("a problem")
                runs.append(label_once(folder, options.testbed, policy, options.per_problem, output, alone))
                per = 1000 / len(runs[-1]["rows"])
                wall, busy, cpu = (per * runs[-1][key] for key in ("seconds", "busy", "cpu"))
                print(f"{how:<20}{busy:7.2f} s, {wall:7.2f} s with start, {cpu:7.2f} s of processor", flush=True)
        one, other = (runs[0]["rows"] for runs in found.values())
        differing = sum(a.relevant != b.relevant for a, b in zip(one, other, strict=True))
        furthest = max(abs(a.score - b.score) for a, b in zip(one, other, strict=True))
    print(f"{differing} of {len(one)} labels differ; scores by {furthest:.1e} standard deviations at most")


# Engines


def inputs(tokenizer: Any, testbed: Path, n_prompts: int) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Prompts with a trace each, and the gold solutions to score after them."""
    problems = load_problems(str(testbed / "train"))[:n_prompts]
    traces = load_traces(str(testbed / "corpus"))[:n_prompts]
    solutions = {trace.id: trace.solution for trace in load_traces(str(testbed / "train"))}
    prompts = [
        render_prompt(tokenizer, problem.question, [trace], PromptConfig())
        for problem, trace in zip(problems, traces, strict=True)
    ]
    return prompts, [[list(tokenizer(solutions[p.id], add_special_tokens=False)["input_ids"])] for p in problems]


class PlainLoop:
    """What one writes without an engine: `model.generate` a prompt at a time, and a forward pass for each text."""

    def __init__(self, model: str, dtype: str) -> None:
        import torch

        from rarft.models.loading import load_policy

        self.model, self.tokenizer = load_policy(model, dtype=dtype)
        self.torch = torch

    def sample(self, prompts: Any, counts: Sequence[int], seeds: Any, sampling: Sampling) -> list[list[Any]]:
        found = []
        for prompt, count, seed in zip(prompts, counts, seeds, strict=True):
            self.torch.manual_seed(seed)
            ids = self.torch.tensor([prompt], device=self.model.device)
            out = self.model.generate(
                input_ids=ids, attention_mask=self.torch.ones_like(ids), do_sample=True, num_return_sequences=count,
                max_new_tokens=sampling.max_new_tokens, temperature=sampling.temperature, top_k=0, top_p=1.0,
                repetition_penalty=1.0, pad_token_id=self.tokenizer.pad_token_id,
            )  # fmt: skip
            found.append([_upto_end(row, self.tokenizer.eos_token_id) for row in out[:, len(prompt) :].tolist()])
        return found

    def score(self, prompts: Any, completions: Any) -> None:
        with self.torch.no_grad():
            for prompt, rows in zip(prompts, completions, strict=True):
                for row in rows:
                    ids = self.torch.tensor([[*prompt, *row]], device=self.model.device)
                    logits = self.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
                    logits.log_softmax(-1).gather(-1, ids[0, len(prompt) :].unsqueeze(-1))

    def close(self) -> None:
        del self.model


def _upto_end(row: list[int], end: int) -> list[int]:
    return row[: row.index(end) + 1] if end in row else row


def measure(options: argparse.Namespace, model: str, dtype: str, which: str) -> dict[str, float]:
    """Tokens sampled and pairs scored per second, each after a small call to warm up; and seconds to load."""
    arguments = json.loads(options.vllm)
    began = time.monotonic()
    engine: Any = (
        PlainLoop(model, dtype)
        if which == "generate loop"
        else open_engine(which, model, EngineOptions(dtype=dtype, vllm=arguments if which == "vllm" else {}))
    )
    loading = time.monotonic() - began
    prompts, texts = inputs(engine.tokenizer, options.testbed, options.prompts)
    engine.sample(prompts[:1], [2], [0], Sampling(4))
    began = time.monotonic()
    groups = engine.sample(
        prompts, [options.samples] * len(prompts), list(range(len(prompts))), Sampling(options.tokens)
    )
    sampling = time.monotonic() - began
    tokens = sum(len(getattr(row, "token_ids", row)) for group in groups for row in group)
    engine.score(prompts[:1], texts[:1])
    began = time.monotonic()
    engine.score(prompts, texts)
    scoring = time.monotonic() - began
    engine.close()
    return {"tokens": tokens / sampling, "pairs": len(prompts) / scoring, "load": loading}


def engines(options: argparse.Namespace) -> None:
    """Every engine with every model and number type, each in a process of its own."""
    if options.one:
        print(json.dumps(measure(options, *options.one)))
        return
    print(
        f"{options.prompts} prompts with a trace, {options.samples} samples of {options.tokens} tokens, "
        f"{os.cpu_count()} cores"
    )
    print(
        "| model | number type | engine | tokens sampled per second | pairs scored per second | seconds to load |\n"
        "|---|---|---|---|---|---|"
    )
    for model in options.models:
        for dtype in options.dtypes:
            for name in options.engines:
                command = [sys.executable, __file__, *sys.argv[1:], "--one", model, dtype, name]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f"{name} {ended(done.returncode)}\n{done.stderr[-3000:]}")
                found = json.loads(done.stdout.splitlines()[-1])
                print(
                    f"| {Path(model).name} | {dtype} | {name} | {found['tokens']:.0f} | {found['pairs']:.2f} "
                    f"| {found['load']:.0f} |",
                    flush=True,
                )
    print(f"load average {os.getloadavg()[0]:.1f}")


def rows(options: argparse.Namespace) -> None:
    """Pairs scored per second by how many tokens a packed row holds at most; the lengths take turns."""
    engine: Any = open_engine("transformers", options.model)
    prompts, texts = inputs(engine.tokenizer, options.testbed, options.prompts)
    engine.score(prompts[:1], texts[:1])
    for _ in range(options.rounds):
        for tokens in options.tokens:
            engine.engine.options = EngineOptions(batch_tokens=tokens)
            began = time.monotonic()
            engine.score(prompts, texts)
            print(f"{tokens} tokens: {len(prompts) / (time.monotonic() - began):.2f} pairs per second", flush=True)
    engine.close()
    print(f"load average {os.getloadavg()[0]:.1f}")


def sharing(options: argparse.Namespace) -> None:
    """Seconds to sample with each model, samples sharing rows or not; the ways take turns."""
    traces = {trace.id: trace for trace in load_traces(options.traces)}
    problems = load_problems(options.problems)[: options.prompts]
    analogies = read_analogies(options.analogies, traces, options.traces)
    prompt = PromptConfig(template="plain", instruction="")
    shared = generation.SHARE_ROWS_ON
    for model in options.models:
        engine: Any = open_engine("transformers", model, EngineOptions(batch_size=options.batch_size))
        prompts = [
            render_prompt(engine.tokenizer, problem.question, analogies[problem.id][:1], prompt) for problem in problems
        ]
        counts, seeds = [options.samples] * len(prompts), list(range(len(prompts)))
        engine.sample(prompts[:1], [2], [0], Sampling(4))
        for turn in range(options.rounds):
            rows, seconds = {}, {}
            for way in (shared, frozenset()) if turn % 2 == 0 else (frozenset(), shared):
                generation.SHARE_ROWS_ON = way
                began = time.monotonic()
                groups = engine.sample(prompts, counts, seeds, Sampling(options.tokens))
                seconds[way] = time.monotonic() - began
                rows[way] = [row.token_ids for group in groups for row in group]
            same = sum(a == b for a, b in zip(*rows.values(), strict=True))
            print(
                f"{Path(model).name}: {sum(map(len, rows[shared]))} tokens in {seconds[shared]:.1f} s "
                f"with shared rows, {seconds[frozenset()]:.1f} s without; {same} of {sum(counts)} samples the same",
                flush=True,
            )
        generation.SHARE_ROWS_ON = shared
        engine.close()
    print(f"load average {os.getloadavg()[0]:.1f}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("labels")
    part.set_defaults(run=labels)
    part.add_argument("--testbed", type=Path, required=True)
    part.add_argument("--policy", help="default: the testbed's untrained one")
    part.add_argument("--problems", type=int, default=200)
    part.add_argument("--per-problem", type=int, default=48)
    part.add_argument("--rounds", type=int, default=3)
    part = parts.add_parser("engines")
    part.set_defaults(run=engines)
    part.add_argument("--testbed", type=Path, required=True)
    part.add_argument("--models", nargs="+", required=True)
    part.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    every = ["generate loop", "transformers", *(["vllm"] if find_spec("vllm") else [])]
    part.add_argument("--engines", nargs="+", choices=every, default=every)
    part.add_argument("--prompts", type=int, default=16)
    part.add_argument("--samples", type=int, default=8)
    part.add_argument("--tokens", type=int, default=64)
    part.add_argument("--vllm", default='{"enforce_eager": true, "max_model_len": 2048}', help="its arguments, as JSON")
    part.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    part = parts.add_parser("rows")
    part.set_defaults(run=rows)
    part.add_argument("--testbed", type=Path, required=True)
    part.add_argument("--model", required=True)
    part.add_argument("--prompts", type=int, default=128)
    part.add_argument("--tokens", type=int, nargs="+", default=[16384, 4096, 1024])
    part.add_argument("--rounds", type=int, default=2)
    part = parts.add_parser("sharing")
    part.set_defaults(run=sharing)
    for name in ("problems", "traces", "analogies"):
        part.add_argument(f"--{name}", required=True)
    part.add_argument("--models", nargs="+", required=True)
    part.add_argument("--prompts", type=int, default=32)
    part.add_argument("--samples", type=int, default=8)
    part.add_argument("--tokens", type=int, default=48)
    part.add_argument("--batch-size", type=int, default=256)
    part.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
