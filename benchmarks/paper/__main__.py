"""Run every arm of the paper for several seeds through `rarft run`, then write tables, figures and verdicts.

    python -m benchmarks.paper --scale cpu                      # about an hour on 2 cores, 3 seeds
    python -m benchmarks.paper --scale gpu --minutes 8          # again and again until it says that it is done
    python -m benchmarks.paper --scale cpu --tables-only        # tables from what is there

Writes OUTPUT/seed-N (a run folder each), OUTPUT/results.json, results.md and figures as SVG. Killed or out of time, it
goes on where it stopped when started again: stages resume by themselves. Exit code 75 means "out of time, start again".
Flags it does not know go to `rarft run`, such as `--ra-grpo.steps 3`. Left out: anything but orchestration; what is run
stands in cpu.yaml and gpu.yaml, what is claimed in claims.py.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.paper.tables import write_results

HERE = Path(__file__).parent
OUT_OF_TIME = 75


def main() -> int:
    """Parse flags, run the seeds, write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=("cpu", "gpu"), required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=None, help="seeds at a time (default: 2 on a CPU, 1 on a GPU)")
    parser.add_argument("--minutes", type=float, default=None, help="stop after this long, to be started again")
    parser.add_argument("--until", default=None, metavar="STAGE", help="run no stage after this one")
    parser.add_argument("--output", type=Path, default=None, help="default: runs/paper-SCALE")
    parser.add_argument("--tables-only", action="store_true", help="run nothing")
    options, more = parser.parse_known_args()
    output = options.output or Path(f"runs/paper-{options.scale}")
    complete = True
    if not options.tables_only:
        if options.until:
            more += ["--until", options.until]
        jobs = options.jobs or (2 if options.scale == "cpu" else 1)
        deadline = time.monotonic() + 60 * options.minutes if options.minutes else None
        complete = run_seeds(HERE / f"{options.scale}.yaml", options.seeds, output, jobs, deadline, more)
    runs = [output / f"seed-{seed}" for seed in options.seeds]
    there = [run for run in runs if (run / "run.json").is_file()]
    if there:
        print(write_results(there, output, scale=options.scale))
    if not complete:
        print("out of time; start the same command again to go on", file=sys.stderr)
        return OUT_OF_TIME
    return 0


def run_seeds(recipe: Path, seeds: list[int], output: Path, jobs: int, deadline: float | None, more: list[str]) -> bool:
    """Run `rarft run` for every seed, `jobs` at a time; False when the time was up before all were done.

    Raises SystemExit with the command's exit code where a run fails.
    """
    waiting = list(seeds)
    running: dict[int, subprocess.Popen[bytes]] = {}
    threads = max(1, (os.cpu_count() or 1) // jobs)
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                seed = waiting.pop(0)
                folder = output / f"seed-{seed}"
                command = [sys.executable, "-m", "rarft.cli", "run", str(recipe), "--output", str(folder)]
                output.mkdir(parents=True, exist_ok=True)
                with open(output / f"seed-{seed}.log", "ab") as log:
                    running[seed] = subprocess.Popen(
                        [*command, "--seed", str(seed), *more], env=environment, stdout=log, stderr=log,
                        start_new_session=True,
                    )  # fmt: skip
                print(f"seed {seed}: started, log in {output}/seed-{seed}.log", file=sys.stderr)
            for seed, process in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[seed]
                if code:
                    lines = (output / f"seed-{seed}.log").read_text(errors="replace").splitlines()
                    print("\n".join(lines[-5:]), file=sys.stderr)
                    raise SystemExit(code)
                print(f"seed {seed}: done", file=sys.stderr)
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
