"""How many problems of a file repeat an earlier one, by which rule, and what plain likeness of words would say.

    python benchmarks/same_problem.py gsm8k_train.jsonl math_train.jsonl aime.jsonl --show 20

For each file: the problems that `records/same_problem.py` finds to repeat an earlier one, by rule; how many share at
least 80 % of their word triples with an earlier one, numbers and names as they stand (what rarft 0.2 removed); and
seconds for the first. `--show N` prints N problems on which the two differ, drawn by a fixed seed, to be judged by eye.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter

from rarft.records.problems import load_problems
from rarft.records.same_problem import DuplicateIndex, tokens

PLAIN_SHARE = 0.8


def plain_repeats(texts: list[str]) -> dict[int, int]:
    """Place of each text that shares `PLAIN_SHARE` of its word triples with one that stays -> place of that one."""
    found: dict[int, int] = {}
    having: dict[tuple[str, ...], list[int]] = {}
    sizes: dict[int, int] = {}
    for i, text in enumerate(texts):
        words = tokens(text)
        triples = {tuple(words[j : j + 3]) for j in range(max(1, len(words) - 2))}
        shared = Counter(j for triple in triples for j in having.get(triple, ()))
        alike = [j for j, count in shared.items() if count >= PLAIN_SHARE * (len(triples) + sizes[j] - count)]
        if alike:
            found[i] = alike[0]
            continue
        sizes[i] = len(triples)
        for triple in triples:
            having.setdefault(triple, []).append(i)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="problems or traces")
    parser.add_argument("--show", type=int, default=0, help="how many differences to print for each file")
    args = parser.parse_args()
    print("| file | problems | same text | same template | same story | plain likeness | both | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    shown = []
    for file in args.files:
        texts = [problem.question for problem in load_problems(file)]
        start = time.perf_counter()
        index = DuplicateIndex()
        matches = {i: found for i, text in enumerate(texts) if (found := index.find_or_add(str(i), text))}
        seconds = time.perf_counter() - start
        plain = plain_repeats(texts)
        rules = Counter(match.rule for match in matches.values())
        counts = [len(texts), rules["text"], rules["template"], rules["story"], len(plain), len(plain.keys() & matches)]
        print(f"| {file} | {' | '.join(map(str, counts))} | {seconds:.1f} |")
        differ = sorted(plain.keys() ^ matches.keys())
        for i in random.Random(0).sample(differ, min(args.show, len(differ))):
            rule, other = (matches[i].rule, int(matches[i].key)) if i in matches else ("plain", plain[i])
            shown.append(f"{file}, {rule}\n  {' '.join(texts[other].split())}\n  {' '.join(texts[i].split())}")
    print("\n".join(["", *shown]))


if __name__ == "__main__":
    main()
