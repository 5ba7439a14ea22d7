# One command per habit. Each makes .venv when it is missing or older than what it was made from.
#
#   make demo    train both toys and the digits, print the table, draw the figures (8 minutes on two cores)
#   make test    what CI runs: lint, types, import layers, tests, doctests, the code blocks of README and docs
#   make fmt     let ruff put the code in order
#   make lint | types | docs | bench | clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
WORKERS ?= 2

.PHONY: demo test lint types layers pytest docs bench fmt clean
.DEFAULT_GOAL := test

# One thread: networks this small gain nothing from a second, and two threads wait for each other on a busy machine.
demo: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/quasistatic reproduce swiss-roll heartbeat digits --preset demo --out runs/demo

test: lint types layers pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports

# Two workers already fill two cores, so each keeps to one thread.
pytest: $(STAMP)
	OMP_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/python -m pytest -q -n $(WORKERS) --doctest-modules tests src

docs: $(DOCS_STAMP)
	$(BIN)/mkdocs build --strict

bench: $(STAMP)
	$(BIN)/python -m benchmarks

fmt: $(STAMP)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean:
	rm -rf build dist site .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch first and by itself: met inside the looser range of pyproject.toml it may come as a build with gigabytes of
# CUDA libraries, where the pinned one is at hand without them.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "quasistatic needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1); set PYTHON=..." >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	@touch $@
