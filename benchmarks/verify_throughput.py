"""Answers scored a second: `rarft.rewards.verify` on all cores, math-verify in a plain loop, TRL's `accuracy_reward`.

    python benchmarks/verify_throughput.py [problems.jsonl ...] [--rows 4000] [--output throughput.json]

The three score the same steps of 512 completions (32 problems, 16 each) in turn, in one run, ours also with 1 % of the
completions replaced by hostile ones (verify_corpus.py); the first step warms up and is not counted. Gold answers are
drawn from the files given (their `answer` column), else from verify_corpus.py; wrong answers are other gold answers.
Afterwards the two others score the steps with hostile answers too, each step in a process of its own that is killed
after `--stall` seconds, since they cannot be relied on to return. Prints one JSON object.
"""

import argparse
import json
import logging
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from verify_corpus import FILLER, GOLDS, SHARES, Row, hostile, restyle

from rarft.rewards import check_golds, verify

STEP, GROUP = 512, 16
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


def timed(scorer: Scorer, rows: list[Row]) -> float:
    """Seconds `scorer` takes for the rows."""
    started = time.perf_counter()
    scorer([row.gold for row in rows], [row.completion for row in rows])
    return time.perf_counter() - started


def timed_apart(scorer: Scorer, rows: list[Row], stall: float) -> float | None:
    """As `timed`, in a process that is killed after `stall` seconds; None then."""
    receive, send = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=lambda: send.send(timed(scorer, rows)))
    process.start()
    seconds = receive.recv() if receive.poll(stall) else None
    process.kill()
    process.join()
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="JSONL files with an `answer` column, drawn from in turn")
    parser.add_argument("--rows", type=int, default=4096, help="completions to score")
    parser.add_argument("--stall", type=float, default=60.0, help="seconds after which a step counts as stalled")
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
    seconds: dict[str, list[float]] = {name: [] for name in SCORERS}
    ours_mixed: list[float] = []
    for number, rows in enumerate(ordinary):
        for name, scorer in SCORERS.items():
            taken = timed(scorer, rows)
            if number:
                seconds[name].append(taken)
        if number:
            ours_mixed.append(timed(ours, mixed[number - 1]))
    apart = {
        name: [timed_apart(scorer, rows, options.stall) for rows in mixed]
        for name, scorer in SCORERS.items()
        if name != "rarft"
    }
    result = {
        "cores": len(os.sched_getaffinity(0)),
        "load_at_end": os.getloadavg()[0],
        "completions": STEP * len(mixed),
        "answers_per_second": {name: round(STEP / statistics.median(taken), 1) for name, taken in seconds.items()},
        "times_faster_than": {
            name: round(statistics.median(b / a for a, b in zip(seconds["rarft"], taken, strict=True)), 2)
            for name, taken in seconds.items()
            if name != "rarft"
        },
        "with_1_percent_hostile": {
            "hostile": sum(row.kind == "hostile" for rows in mixed for row in rows),
            "rarft_slowdown_in_all": round(sum(ours_mixed) / sum(seconds["rarft"]), 2),
            "rarft_slowdown_median_step": round(
                statistics.median(b / a for a, b in zip(seconds["rarft"], ours_mixed, strict=True)), 2
            ),
            "rarft_longest_step_seconds": round(max(ours_mixed), 2),
            "slowdown_of_steps_that_returned": {
                name: round(
                    statistics.median(b / a for a, b in zip(seconds[name], times, strict=True) if b is not None), 2
                )
                for name, times in apart.items()
                if any(taken is not None for taken in times)
            },
            "steps": len(mixed),
            f"steps_stalled_over_{options.stall:g}_seconds": {
                name: sum(taken is None for taken in times) for name, times in apart.items()
            },
        },
    }
    print(json.dumps(result, indent=2))
    if options.output:
        Path(options.output).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
