"""Bring MBPP into rarft's columns: problems with their tests, traces with the program in a fenced block.

    python recipes/mbpp_data.py --output data/mbpp                         # from the Hugging Face hub
    python recipes/mbpp_data.py --output data/mbpp --rows mbpp.jsonl       # from its own file

Writes train_problems.jsonl, train_traces.jsonl and test_problems.jsonl, split by `task_id` as its authors did: 11 to
510 are the test split, 601 to 974 the training split. The corpus has 511 to 600 as well. A question is the row's `text`
and its first test, which tells the function's name.
"""

import argparse
from pathlib import Path
from typing import Any

from rarft.core.errors import InputError
from rarft.records.problems import Problem, Trace
from rarft.records.rows import read_rows, write_jsonl

TEST, TRAIN, CORPUS = range(11, 511), range(601, 975), range(511, 975)
HUB = [f"google-research-datasets/mbpp:full:{split}" for split in ("train", "test", "validation")]


def convert(sources: list[str]) -> dict[int, tuple[Problem, Trace]]:
    """Problem and trace of each task.

    Raises:
        InputError: a row without one of MBPP's columns.
    """
    found = {}
    for source in sources:
        for row, values in read_rows(source):
            missing = next((name for name in ("task_id", "text", "code", "test_list") if name not in values), None)
            if missing:
                raise InputError(f"{source}, row {row}: no column `{missing}`; is this MBPP's full version?")
            found[int(values["task_id"])] = _pair(values)
    return found


def _pair(values: dict[str, Any]) -> tuple[Problem, Trace]:
    key, tests = f"mbpp-{values['task_id']}", list(values["test_list"])
    question = f"{values['text'].strip()}\nIt must satisfy: {tests[0]}"
    code = values["code"].replace("\r\n", "\n").strip("\n")
    setup = str(values.get("test_setup_code") or "").replace("\r\n", "\n").strip()
    extra = {"tests": "\n".join(([setup] if setup else []) + tests), "solution": code}
    problem = Problem(key, question, None, kind="python", source="mbpp", extra=extra)
    return problem, Trace(key, question, f"```python\n{code}\n```", kind="python", source="mbpp")


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", default=HUB)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    found = convert(options.rows)
    write_jsonl(options.output / "train_problems.jsonl", [found[i][0] for i in TRAIN if i in found])
    write_jsonl(options.output / "train_traces.jsonl", [found[i][1] for i in CORPUS if i in found])
    write_jsonl(options.output / "test_problems.jsonl", [found[i][0] for i in TEST if i in found])


if __name__ == "__main__":
    main()
