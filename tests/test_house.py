"""The house: no import goes in a circle, no stage imports another, and what is imported late is slow.

Which folder stands on which is a contract of import-linter's in pyproject.toml (`make lint`).
"""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

import rarft
from rarft.core.stages import find_stages

ROOT = Path(rarft.__file__).parent
SLOW = {
    *("torch", "transformers", "trl", "tokenizers", "sentence_transformers", "peft", "vllm", "ray", "reasoning_gym"),
    *("skyrl", "verl", "openrlhf", "gguf"),
    *("lancedb", "pyarrow", "datasets", "datasketch", "sklearn", "scipy", "pytrec_eval", "matplotlib"),
    *("openai", "huggingface_hub", "fastapi", "uvicorn", "sympy", "math_verify", "latex2sympy2_extended"),
}


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """Module of ours -> the modules that it imports, those of other packages too."""
    graph = grimp.build_graph("rarft", include_external_packages=True, exclude_type_checking_imports=True)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def test_no_import_goes_in_a_circle(imports: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_stage_imports_another(imports: dict[str, set[str]]) -> None:
    stages = {stage.__module__ for stage in find_stages().values()}
    assert len(stages) == len(find_stages())
    for stage in stages:
        assert not stages & imports[stage], stage


def test_finding_every_stage_imports_nothing_slow() -> None:
    code = "from rarft.core.stages import find_stages; find_stages(); import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not (SLOW - {"pyarrow"}) & set(done.stdout.split())


def test_what_is_imported_inside_functions_is_slow(imports: dict[str, set[str]]) -> None:
    order = TopologicalSorter(imports).static_order()
    slow: set[str] = set()
    for module in order:
        if module.split(".")[0] in SLOW or slow & imports.get(module, set()):
            slow.add(module)
    quick = []
    for path in sorted(ROOT.rglob("*.py")):
        functions = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)]
        for node in {
            id(n): n for f in functions for n in ast.walk(f) if isinstance(n, ast.ImportFrom | ast.Import)
        }.values():
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rarft"):
                names += [f"{node.module}.{alias.name}" for alias in node.names]
            if not any(name in slow or name.split(".")[0] in SLOW for name in names):
                quick.append(f"{path.relative_to(ROOT)}:{node.lineno}: {', '.join(names)}")
    assert not quick, "\n".join(quick)
