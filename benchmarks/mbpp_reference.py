"""Checks the code reward on MBPP: do the reference solutions pass, and does any pass with its bodies emptied?

    python benchmarks/mbpp_reference.py mbpp_train_problems.jsonl mbpp_test_problems.jsonl [--reward code]

Files have the columns `id`, `tests`, `solution`. For each problem the solution is scored as it is, with the body of
every function replaced by `pass`, and, without the reward, as one script with its tests: what fails there fails its own
asserts. Prints one JSON object. Some solutions take seconds; --timeout is generous.
"""

import argparse
import ast
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rarft.rewards import check_golds, verify


def emptied(source: str) -> str:
    """`source` with `pass` as the body of every function."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [ast.Pass()]
    return ast.unparse(tree)


def plainly(row: dict[str, str], timeout: float) -> bool:
    """Whether the solution passes its tests in a plain interpreter."""
    script = f"{row['solution']}\n{row['tests']}\n"
    try:
        done = subprocess.run([sys.executable, "-"], input=script.encode(), capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main() -> None:
    """Check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--reward", default="code")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one solution")
    options = parser.parse_args()
    rows = [json.loads(line) for name in options.files for line in Path(name).read_text(encoding="utf-8").splitlines()]
    golds, ids = [""] * len(rows), [row["id"] for row in rows]

    def scored(programs: list[str]) -> list[str]:
        completions = [f"```python\n{program}\n```" for program in programs]
        verdicts = verify(golds, completions, name=options.reward, extras=rows, timeout=options.timeout)
        return [verdict.reason for verdict in verdicts]

    whole, empty = scored([row["solution"] for row in rows]), scored([emptied(row["solution"]) for row in rows])
    with ThreadPoolExecutor(2) as pool:
        plain = list(pool.map(lambda row: plainly(row, options.timeout), rows))
    refused = check_golds(golds, name=options.reward, extras=rows)
    result = {
        "problems": len(rows),
        "tests_refused": {i: why for i, why in zip(ids, refused, strict=True) if why},
        "references_that_pass": whole.count("correct"),
        "references_that_do_not": {i: reason for i, reason in zip(ids, whole, strict=True) if reason != "correct"},
        "references_that_fail_as_a_script": [i for i, passed in zip(ids, plain, strict=True) if not passed],
        "emptied_that_pass": [i for i, reason in zip(ids, empty, strict=True) if reason == "correct"],
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
