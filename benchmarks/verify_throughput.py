"""Answers scored a second: `rarft.rewards.verify` on all cores, math-verify in a plain loop, TRL's `accuracy_reward`.

    python benchmarks/verify_throughput.py [problems.jsonl ...] [--rows 4000] [--output throughput.json]

The three score the same steps of 512 completions (32 problems, 16 each) in turn, in one run, ours also with 1 % of the
completions replaced by hostile ones (verify_corpus.py); the first step warms up and is not counted. Gold answers are
drawn from the files given (their `answer` column), else from verify_corpus.py; wrong answers are other gold answers.
Afterwards the two others score one step with hostile answers too, among them the one that has hung public trainers,
each in a process of its own that is killed after `--stall` seconds of processor time. Prints one JSON object.

On a busy machine three processes get more of it than one, which flatters ours; the ratios of processor time do not.
"""

import argparse
import contextlib
import json
import logging
import multiprocessing
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from verify_corpus import FILLER, GOLDS, SHARES, Row, hostile, restyle

from rarft.rewards import check_golds, verify
from rarft.rewards.pool import shared_pool

STEP, GROUP = 512, 16
HOSTILE = "rarft, 1 % hostile"
FAMOUS = r"\dfrac{5^{\left(5^{\left(5^{\left(5^5\right)}\right)} - 4\right)} - 5}{16}"
Scorer = Callable[[list[str], list[str]], list[float]]


def ours(golds: list[str], completions: list[str]) -> list[float]:
    """rarft.rewards.verify."""
    return [verdict.reward for verdict in verify(golds, completions)]


def plain(golds: list[str], completions: list[str]) -> list[float]:
    """math-verify as its documentation calls it."""
    from math_verify import parse
    from math_verify import verify as math_verify

    return [
        float(math_verify(parse(f"${gold}$"), parse(completion)))
        for gold, completion in zip(golds, completions, strict=True)
    ]


def trl(golds: list[str], completions: list[str]) -> list[float]:
    """TRL's accuracy_reward."""
    from trl.rewards import accuracy_reward

    messages = [[{"role": "assistant", "content": completion}] for completion in completions]
    return [float(reward or 0.0) for reward in accuracy_reward(messages, [f"${gold}$" for gold in golds])]


SCORERS: dict[str, Scorer] = {"rarft": ours, "math-verify loop": plain, "TRL accuracy_reward": trl}


def steps(rows: int, files: list[str], rng: random.Random) -> list[list[Row]]:
    """Steps of STEP rows: GROUP completions a problem, right with a probability of the problem's own."""
    golds = list(_golds(files, rows // GROUP, rng))
    made: list[Row] = []
    for gold in golds:
        ability = rng.random()
        near = [str(int(gold) + d) for d in (-1, 2, 10)] if gold.isdigit() else [rng.choice(golds) for _ in range(3)]
        for _ in range(GROUP):
            text = " ".join(rng.choices(FILLER, k=rng.randint(5, 40)))
            if rng.random() < 0.04:
                made.append(Row(gold, text, "none"))
                continue
            right = rng.random() < ability
            answer = restyle(gold, rng) if right else rng.choice(near)
            made.append(Row(gold, f"{text} So the answer is $\\boxed{{{answer}}}$.", "right" if right else "wrong"))
    return [made[i : i + STEP] for i in range(0, len(made) - STEP + 1, STEP)]


def _golds(files: list[str], count: int, rng: random.Random) -> Iterator[str]:
    if not files:
        for _ in range(count):
            yield rng.choice(GOLDS[rng.choices(list(SHARES), list(SHARES.values()))[0]])
        return
    sets = []
    for name in files:
        with open(name, encoding="utf-8") as lines:
            found = [str(json.loads(line)["answer"]) for line in lines]
        sets.append([gold for gold, why in zip(found, check_golds(found), strict=True) if why is None])
    for i in range(count):
        yield rng.choice(sets[i % len(sets)])


def cpu_seconds() -> float:
    """Processor time of this process and of its children, the pool's workers included."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    for worker in list(shared_pool().workers):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{worker.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def timed(scorer: Scorer, rows: list[Row]) -> tuple[float, float]:
    """Wall-clock and processor seconds that `scorer` takes for the rows."""
    started, cpu = time.perf_counter(), cpu_seconds()
    scorer([row.gold for row in rows], [row.completion for row in rows])
    return time.perf_counter() - started, cpu_seconds() - cpu


def timed_apart(scorer: Scorer, rows: list[Row], stall: int) -> float | None:
    """Processor seconds of `scorer` in a process of its own; None if it was killed after `stall` of them."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (stall, stall))
        started = time.process_time()
        scorer([row.gold for row in rows], [row.completion for row in rows])
        send.send(time.process_time() - started)

    process = context.Process(target=work)
    process.start()
    send.close()
    process.join()
    try:
        return float(receive.recv())
    except EOFError:  # killed
        return None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="JSONL files with an `answer` column, drawn from in turn")
    parser.add_argument("--rows", type=int, default=4096, help="completions to score")
    parser.add_argument("--stall", type=int, default=60, help="processor seconds for a step; 0 leaves this out")
    parser.add_argument("--output", help="where to write the result as JSON")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    rng = random.Random(0)
    ordinary = steps(options.rows + STEP, options.files, rng)
    attacks = hostile()
    rng.shuffle(attacks)
    attacks.sort(key=lambda row: FAMOUS in row.completion)  # the one that is known to hang trainers comes first
    mixed = []
    for rows in ordinary[1:]:
        places = rng.sample(range(STEP), STEP // 100)
        mixed.append([attacks.pop() if i in places else row for i, row in enumerate(rows)])
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in [*SCORERS, HOSTILE]}
    for number, rows in enumerate(ordinary):
        for name, scorer in SCORERS.items():
            taken[name].append(timed(scorer, rows))
        taken[HOSTILE].append(timed(ours, mixed[number - 1]) if number else (0.0, 0.0))
        print(f"step {number} of {len(ordinary) - 1}", file=sys.stderr)
    wall = {name: [pair[0] for pair in pairs[1:]] for name, pairs in taken.items()}
    cpu = {name: [pair[1] for pair in pairs[1:]] for name, pairs in taken.items()}
    others = [name for name in SCORERS if name != "rarft"]
    apart = {name: timed_apart(SCORERS[name], mixed[0], options.stall) for name in others if options.stall}

    def times(numbers: dict[str, list[float]], over: str, under: str) -> float:
        return round(statistics.median(a / b for a, b in zip(numbers[over], numbers[under], strict=True)), 2)

    result = {
        "cores": len(os.sched_getaffinity(0)),
        "load_at_end": round(os.getloadavg()[0], 1),
        "completions": STEP * len(mixed),
        "answers_per_second": {name: round(STEP / statistics.median(wall[name])) for name in SCORERS},
        "answers_per_processor_second": {name: round(STEP / statistics.median(cpu[name])) for name in SCORERS},
        "faster_than": {name: times(wall, name, "rarft") for name in others},
        "less_processor_time_than": {name: times(cpu, name, "rarft") for name in others},
        "with_1_percent_hostile": {
            "hostile": sum(row.kind == "hostile" for rows in mixed for row in rows),
            "slowdown": round(sum(wall[HOSTILE]) / sum(wall["rarft"]), 2),
            "slowdown_in_processor_time": round(sum(cpu[HOSTILE]) / sum(cpu["rarft"]), 2),
            "longest_step_seconds": round(max(wall[HOSTILE]), 2),
            f"others_on_one_step_limit_{options.stall}_processor_seconds": {
                name: "did not return" if spent is None else f"{spent:.1f} s, {spent / cpu[name][0]:.1f} x"
                for name, spent in apart.items()
            },
        },
    }
    print(json.dumps(result, indent=2))
    if options.output:
        Path(options.output).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
