"""Short programs scored a second: the code reward on all cores, beside plain loops that start an interpreter for each.

    python benchmarks/code_throughput.py [mbpp_problems.jsonl ...] [--programs 2048] [--block 256] [--output FILE]

Programs come 16 to a problem, every other one wrong, each different, as they do in RL: from the reference solutions of
the files given (columns `tests`, `solution`), else from four functions here. Blocks are scored in turn by
  - `rarft`: `verify(..., name="code")`, in the sandbox;
  - `subprocess`: program and tests as one script in `python -I -S -c`, one after another, no sandbox;
  - `subprocess, threads`: the same from as many threads as there are cores;
  - `bubblewrap`: the same in a fresh sandbox each, one after another.
The first block warms up and is not counted. Prints one JSON object: programs a second, by the median over the blocks,
and how many times faster `rarft` is.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rarft.rewards import verify
from rarft.rewards.sandbox import sandbox_command

GROUP = 16
PROBLEMS = [
    ("def f(n):\n    return sum(i * i for i in range(n))", "assert f(3) == 5\nassert f(10) == 285\nassert f(0) == 0"),
    (
        "def f(s):\n    return ''.join(sorted(s))",
        "assert f('tea') == 'aet'\nassert f('') == ''\nassert f('ba') == 'ab'",
    ),
    (
        "def f(x, y):\n    return [v for v in x if v in y]",
        "assert f([1, 2, 3], [2, 3]) == [2, 3]\nassert f([1], []) == []",
    ),
    ("def f(n):\n    return n > 1 and all(n % d for d in range(2, n))", "assert f(7)\nassert not f(9)\nassert f(2)"),
]
Row = tuple[str, str]


def rows(files: list[str]) -> Iterator[Row]:
    """Programs and their tests, without end."""
    problems = PROBLEMS
    if files:
        lines = [json.loads(line) for name in files for line in Path(name).read_text(encoding="utf-8").splitlines()]
        problems = [(line["solution"], line["tests"]) for line in lines]
    for number, (solution, tests) in enumerate(itertools.cycle(problems)):
        for sample in range(GROUP):
            wrong = "" if sample % 2 else f"\n{tests.split('(')[0].split()[-1]} = lambda *_: None"
            yield f"{solution}{wrong}\n# {number}.{sample}", tests


def rarft(block: list[Row]) -> list[bool]:
    """The code reward."""
    completions = [f"```python\n{program}\n```" for program, _ in block]
    extras = [{"tests": tests} for _, tests in block]
    return [v.reward == 1 for v in verify([""] * len(block), completions, name="code", extras=extras)]


def script(row: Row, sandboxed: bool = False) -> bool:
    """One interpreter for one program."""
    command = [os.path.realpath(sys.executable), "-I", "-S", "-c", "\n".join(row)]
    command = sandbox_command(command) if sandboxed else command
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def threads(block: list[Row]) -> list[bool]:
    """One interpreter for one program, several at a time."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(script, block))


SCORERS: dict[str, Callable[[list[Row]], list[bool]]] = {
    "rarft": rarft,
    "subprocess": lambda block: [script(row) for row in block],
    "subprocess, threads": threads,
    "bubblewrap": lambda block: [script(row, sandboxed=True) for row in block],
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--programs", type=int, default=2048)
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--output", help="where to write the result as JSON")
    options = parser.parse_args()
    source = rows(options.files)
    taken: dict[str, list[float]] = {name: [] for name in SCORERS}
    for number in range(options.programs // options.block + 1):
        block = list(itertools.islice(source, options.block))
        verdicts = {}
        for name, scorer in SCORERS.items():
            some = block if name == "rarft" else block[: options.block // 4]  # the others are slow
            started = time.perf_counter()
            verdicts[name] = scorer(some)
            if number:
                taken[name].append(len(some) / (time.perf_counter() - started))
        for name, found in verdicts.items():
            assert found == verdicts["rarft"][: len(found)], f"{name} judges otherwise"
        print(f"block {number} of {options.programs // options.block}", file=sys.stderr)
    rate = {name: statistics.median(rates) for name, rates in taken.items()}
    result = {
        "cores": len(os.sched_getaffinity(0)),
        "load_at_end": round(os.getloadavg()[0], 1),
        "programs_a_second": {name: round(value) for name, value in rate.items()},
        "rarft_is_faster_than": {name: round(rate["rarft"] / v, 1) for name, v in rate.items() if name != "rarft"},
    }
    print(json.dumps(result, indent=2))
    if options.output:
        Path(options.output).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
