"""Does `rarft.rewards.verify` say what math-verify, called directly, says? Counts it over every gold answer given.

    python benchmarks/verify_agreement.py problems.jsonl ... [--pairs 4] [--output agreement.json]

Each gold answer is paired with itself, with itself restyled, and with other gold answers, all inside a box. math-verify
is called on the same gold and completion with its own time limit; pairs on which it does not return in time are left
out and counted. Without files the built-in gold answers (verify_corpus.py) are used. Every disagreement is printed.
"""

import argparse
import json
import logging
import random
import time
from collections.abc import Iterator
from pathlib import Path

from verify_corpus import GOLDS, restyle

from rarft.rewards import check_golds, verify

LIMIT = 5
"""Seconds that math-verify gets for parsing and for comparing."""


def direct(gold: str, completion: str) -> bool | None:
    """math-verify's own verdict; None if it was out of time or cannot parse the gold answer."""
    from math_verify import parse
    from math_verify import verify as math_verify
    from math_verify.errors import TimeoutException

    try:
        expected = parse(f"\\boxed{{{gold}}}", parsing_timeout=LIMIT, raise_on_error=True)
        given = parse(completion, parsing_timeout=LIMIT, raise_on_error=True)
        started = time.monotonic()
        verdict = bool(math_verify(expected, given, timeout_seconds=LIMIT))
    except TimeoutException:
        return None
    except Exception:
        return False
    return None if not verdict and time.monotonic() - started > LIMIT - 0.1 else verdict


def pairs_of(golds: list[str], others: int, rng: random.Random) -> list[tuple[str, str]]:
    """(gold answer, answer): itself, restyled, and `others` different gold answers near it in sorted order."""
    found = []
    for i, gold in enumerate(golds):
        near = golds[max(0, i - 20) : i + 20]
        answers = {gold, restyle(gold, rng), *rng.sample(near, min(others, len(near)))}
        found += [(gold, answer) for answer in sorted(answers)]
    return found


def _rows(name: str) -> Iterator[dict[str, str]]:
    with open(name, encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def main() -> None:
    """Compare, print each disagreement and the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="JSONL files with an `answer` column")
    parser.add_argument("--pairs", type=int, default=4, help="other gold answers to pair each with")
    parser.add_argument("--output", help="where to write the counts as JSON")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    rng = random.Random(0)
    sets = {Path(name).stem: list(_rows(name)) for name in options.files}
    golds = {name: sorted({str(row["answer"]) for row in rows}) for name, rows in sets.items()} or GOLDS
    counts = {}
    for name, all_golds in golds.items():
        refused = [gold for gold, why in zip(all_golds, check_golds(all_golds), strict=True) if why is not None]
        usable = [gold for gold in all_golds if gold not in refused]
        pairs = pairs_of(usable, options.pairs, rng)
        completions = [f"Adding up, we find that the answer is $\\boxed{{{answer}}}$." for _, answer in pairs]
        ours = verify([gold for gold, _ in pairs], completions)
        theirs = [direct(gold, text) for (gold, _), text in zip(pairs, completions, strict=True)]
        counted = [(p, o, t) for p, o, t in zip(pairs, ours, theirs, strict=True) if t is not None]
        differ = [(p, o, t) for p, o, t in counted if (o.reward == 1.0) != t]
        for (gold, answer), verdict, theirs_say in differ:
            print(f"{name}: gold {gold!r}, answer {answer!r}: ours {verdict.reason}, math-verify {theirs_say}")
        counts[name] = {
            "gold_answers": len(all_golds),
            "refused_gold_answers": refused,
            "pairs": len(pairs),
            "math_verify_out_of_time": len(pairs) - len(counted),
            "right_by_both": sum(o.reward == 1.0 and bool(t) for _, o, t in counted),
            "we_say_right_they_wrong": sum(o.reward == 1.0 for _, o, _ in differ),
            "we_say_wrong_they_right": sum(o.reward != 1.0 for _, o, _ in differ),
            "agreement": round(1 - len(differ) / max(1, len(counted)), 6),
        }
        print(json.dumps({name: counts[name]}))
    if options.output:
        Path(options.output).write_text(json.dumps(counts, indent=2) + "\n")


if __name__ == "__main__":
    main()
