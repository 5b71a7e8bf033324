"""Bring GSM8K into rarft's columns: problems with a final answer, traces without calculator marks.

    python recipes/gsm8k_data.py --output data/gsm8k                      # from the Hugging Face hub
    python recipes/gsm8k_data.py --output data/gsm8k --train train.jsonl --test test.jsonl   # from its own files

Writes train_problems.jsonl, train_traces.jsonl and test_problems.jsonl. A GSM8K row is `question, answer`, the answer
a solution with marks such as `<<48/2=24>>` and a last line `#### 72`.
"""

import argparse
import re
from pathlib import Path

from rarft.core.errors import InputError
from rarft.records.problems import Problem, Trace
from rarft.records.rows import read_rows, write_jsonl

CALCULATOR_MARK = re.compile(r"<<[^>]*>>")


def convert(source: str, split: str) -> tuple[list[Problem], list[Trace]]:
    """Read one split as problems and traces; ids are `gsm8k-<split>-<row>`, rows counted from 0.

    Raises:
        InputError: a row whose answer has no `####` line.
    """
    problems, traces = [], []
    for row, values in read_rows(source):
        solution, mark, answer = str(values["answer"]).rpartition("####")
        if not mark:
            raise InputError(f"{source}, row {row}: no `####` before the final answer; is this GSM8K's own file?")
        key = f"gsm8k-{split}-{row - 1}"
        solution, answer = CALCULATOR_MARK.sub("", solution).strip(), answer.strip().replace(",", "")
        problems.append(Problem(key, values["question"], answer, source="gsm8k"))
        traces.append(Trace(key, values["question"], solution, answer, source="gsm8k"))
    return problems, traces


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--train", default="openai/gsm8k:main:train")
    parser.add_argument("--test", default="openai/gsm8k:main:test")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    problems, traces = convert(options.train, "train")
    write_jsonl(options.output / "train_problems.jsonl", problems)
    write_jsonl(options.output / "train_traces.jsonl", traces)
    write_jsonl(options.output / "test_problems.jsonl", convert(options.test, "test")[0])


if __name__ == "__main__":
    main()
