"""Run the paper's comparisons for several seeds through `rarft run`, then write tables, figures and verdicts.

    python -m benchmarks.paper --scale cpu                      # every arm, toy policy: an hour on 2 cores, 3 seeds
    python -m benchmarks.paper --scale gpu --minutes 8 --inputs.model MODEL     # again and again until it is done
    python -m benchmarks.paper --scale gpu --gsm8k data/gsm8k   # with GSM8K, by recipes/gsm8k.yaml, after each seed
    python -m benchmarks.paper --scale gpu --gsm8k data/gsm8k --gsm8k.grpo.steps 1    # an option of GSM8K's recipe
    python -m benchmarks.paper --scale cpu --tables-only        # tables from what is there

At GPU scale it is recipes/house-rules.yaml with a pretrained model; `--until swapped-ra-rft` runs the headline pair.

Writes OUTPUT/seed-N (a run folder each), OUTPUT/results.json, results.md and figures as SVG. Killed or out of time, it
goes on where it stopped when started again: stages resume by themselves. Exit code 75 means "out of time, start again".
Flags it does not know go to `rarft run`, such as `--ra-grpo.steps 3`; GSM8K gets `--inputs.NAME` and what begins with
`--gsm8k.`. Left out: anything but orchestration; what is run stands in cpu.yaml and in the recipes, what is claimed in
claims.py.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

from benchmarks.paper.tables import write_results

HERE = Path(__file__).parent
RECIPES = HERE.parents[1] / "recipes"
OUT_OF_TIME = 75


def main() -> int:
    """Parse flags, run the seeds, write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=("cpu", "gpu"), required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=None, help="seeds at a time (default: 2 on a CPU, 1 on a GPU)")
    parser.add_argument("--minutes", type=float, default=None, help="stop after this long, to be started again")
    parser.add_argument("--gsm8k", type=Path, default=None, metavar="DIR", help="folder of recipes/gsm8k_data.py")
    parser.add_argument("--until", default=None, metavar="STAGE", help="run no stage after this one")
    parser.add_argument("--output", type=Path, default=None, help="default: runs/paper-SCALE")
    parser.add_argument("--tables-only", action="store_true", help="run nothing")
    options, more = parser.parse_known_args()
    output = options.output or Path(f"runs/paper-{options.scale}")
    complete = True
    recipes = {"": HERE / "cpu.yaml" if options.scale == "cpu" else RECIPES / "house-rules.yaml"}
    until = ["--until", options.until] if options.until else []
    flags = {"": more + until}
    if options.gsm8k:
        pairs = list(zip(more[::2], more[1::2], strict=True))
        ours = [pair for pair in pairs if not pair[0].startswith("--gsm8k.")]
        flags[""] = [*chain(*ours), *until]
        recipes["gsm8k-"] = RECIPES / "gsm8k.yaml"
        files = {"problems": "train_problems", "traces": "train_traces", "test": "test_problems"}
        inputs = [(f"--inputs.{name}", str(options.gsm8k / f"{file}.jsonl")) for name, file in files.items()]
        inputs += [pair for pair in ours if pair[0].startswith("--inputs.")]
        inputs += [(f"--{name.removeprefix('--gsm8k.')}", value) for name, value in pairs if (name, value) not in ours]
        flags["gsm8k-"] = [*chain(*inputs)]
    if not options.tables_only:
        jobs = options.jobs or (2 if options.scale == "cpu" else 1)
        deadline = time.monotonic() + 60 * options.minutes if options.minutes else None
        work = [
            (f"{kind}seed-{seed}", [str(recipes[kind]), "--seed", str(seed), *flags[kind]])
            for seed in options.seeds
            for kind in recipes
        ]
        complete = run_all(work, output, jobs, deadline)

    def finished(kind: str) -> list[Path]:
        folders = [output / f"{kind}seed-{seed}" for seed in options.seeds]
        return [folder for folder in folders if (folder / "run.json").is_file()]

    if finished(""):
        print(write_results(finished(""), output, scale=options.scale, gsm8k=finished("gsm8k-")))
    if not complete:
        print("out of time; start the same command again to go on", file=sys.stderr)
        return OUT_OF_TIME
    return 0


def run_all(work: list[tuple[str, list[str]]], output: Path, jobs: int, deadline: float | None) -> bool:
    """Run `rarft run ARGUMENTS --output OUTPUT/NAME` for every (name, arguments), `jobs` at a time.

    Returns False when the time was up before all were done. Raises SystemExit with the command's exit code where a
    run fails.
    """
    waiting = list(work)
    running: dict[str, subprocess.Popen[bytes]] = {}
    threads = max(1, (os.cpu_count() or 1) // jobs)
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    output.mkdir(parents=True, exist_ok=True)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name, arguments = waiting.pop(0)
                command = [sys.executable, "-m", "rarft.cli", "run", *arguments, "--output", str(output / name)]
                with open(output / f"{name}.log", "ab") as log:
                    running[name] = subprocess.Popen(
                        command, env=environment, stdout=log, stderr=log, start_new_session=True
                    )
                print(f"{name}: started, log in {output}/{name}.log", file=sys.stderr)
            for name, process in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[name]
                if code:
                    lines = (output / f"{name}.log").read_text(errors="replace").splitlines()
                    print("\n".join(lines[-5:]), file=sys.stderr)
                    raise SystemExit(code)
                print(f"{name}: done", file=sys.stderr)
            if deadline is not None and time.monotonic() > deadline and running:
                return False
            time.sleep(0.5)
    finally:
        for process in running.values():  # stages keep their state, so a kill costs the step it was in
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return True


if __name__ == "__main__":
    sys.exit(main())
