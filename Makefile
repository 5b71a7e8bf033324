# make demo: the method's effect on generated problems, in under ten minutes on two cores.
# make test: lint, types, tests. Both make a virtual environment of their own in .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint slow docs clean

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

docs: .venv/dev-ready
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

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

clean:
	rm -rf .venv runs
