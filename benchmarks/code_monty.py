"""Does pydantic-monty, an interpreter without access to the machine, agree with CPython on MBPP, and how fast is it?

    pip install pydantic-monty
    python benchmarks/code_monty.py mbpp_train_problems.jsonl mbpp_test_problems.jsonl [--mutants 2]

Each reference solution with its tests, and mutants of it (one operator, comparison or constant changed), runs as one
script in both. What CPython does decides: monty agrees if it passes where CPython passes and raises an exception of the
same type where CPython does. What monty refuses (syntax or modules that it lacks) is counted apart, by its message.
Prints one JSON object.
"""

import argparse
import ast
import collections
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pydantic_monty

SWAPS: dict[type, type] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Lt: ast.LtE, ast.Gt: ast.GtE}
SWAPS |= {ast.LtE: ast.Lt, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And}
LIMITS = {"max_feed_duration_secs": 5.0, "max_memory": 512 << 20}


def mutant(source: str, rng: random.Random) -> str | None:
    """`source` with one small change, None if there is nothing to change."""
    tree = ast.parse(source)
    places = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            places.append((node, "value", node.value + 1))
        for field in ("op", "ops"):
            value = getattr(node, field, None)
            first = value[0] if isinstance(value, list) else value
            if type(first) in SWAPS:
                new = SWAPS[type(first)]()
                places.append((node, field, [new, *value[1:]] if isinstance(value, list) else new))
    if not places:
        return None
    node, field, value = rng.choice(places)
    setattr(node, field, value)
    return ast.unparse(tree)


def by_cpython(script: str) -> str:
    """passed, or the type of the exception."""
    try:
        done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, timeout=5, text=True)
    except subprocess.TimeoutExpired:
        return "timeout"
    return "passed" if done.returncode == 0 else done.stderr.strip().splitlines()[-1].split(":")[0].split(".")[-1]


def by_monty(pool: pydantic_monty.Monty, script: str) -> tuple[str, str]:
    """The same, and the message."""
    try:
        with pool.checkout(limits=LIMITS) as session:
            session.feed_run(script)
    except pydantic_monty.MontySyntaxError as error:
        return "refused", str(error)
    except pydantic_monty.MontyError as error:
        inner = error.exception() if hasattr(error, "exception") else error
        return "timeout" if isinstance(inner, TimeoutError) else type(inner).__name__, str(inner)
    return "passed", ""


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--mutants", type=int, default=2)
    options = parser.parse_args()
    rng = random.Random(0)
    rows = [json.loads(line) for name in options.files for line in Path(name).read_text(encoding="utf-8").splitlines()]
    scripts = []
    for row in rows:
        programs = [row["solution"], *(mutant(row["solution"], rng) for _ in range(options.mutants))]
        scripts += [(f"{row['id']}#{i}", f"{p}\n{row['tests']}\n") for i, p in enumerate(programs) if p]
    counts: collections.Counter[str] = collections.Counter()
    refusals: collections.Counter[str] = collections.Counter()
    differences, spent = {}, 0.0
    with pydantic_monty.Monty() as pool:
        for name, script in scripts:
            kind = "reference" if name.endswith("#0") else "mutant"
            expected = by_cpython(script)
            started = time.perf_counter()
            found, why = by_monty(pool, script)
            spent += time.perf_counter() - started
            lacking = found in ("refused", "NotImplementedError", "ModuleNotFoundError", "ImportError")
            if lacking and found != expected:
                counts[f"{kind}: refused"] += 1
                refusals[why.splitlines()[-1][:80]] += 1
            elif found == expected:
                counts[f"{kind}: agrees"] += 1
            else:
                counts[f"{kind}: differs"] += 1
                wrongly = " PASSES WRONGLY" if found == "passed" else ""
                differences[name] = f"CPython {expected}, monty {found} {why[:100]}{wrongly}"
    result = {
        "monty": pydantic_monty.__version__ if hasattr(pydantic_monty, "__version__") else "",
        "scripts": len(scripts),
        "counts": dict(counts),
        "refused_because": dict(refusals.most_common(12)),
        "differences": differences,
        "scripts_a_second": round(len(scripts) / spent),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
