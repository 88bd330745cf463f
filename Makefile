# `make demo` and `make test` need only make and Python 3.11 or newer: they set up .venv themselves.

PYTHON ?= python3
# The oldest supported NumPy and SciPy have wheels up to Python 3.12.
PYTHON_OLDEST ?= python3.11
JOBS ?= 2
# Options for pytest, such as ARGS="-k chebyshev -x".
ARGS ?=
TORCH ?= torch==2.13.0
TORCH_INDEX ?=

BIN := .venv/bin
# Only what a command of a newcomer can act on; pip's own errors still show.
PIP_INSTALL := -m pip install --disable-pip-version-check -qq

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test test-slow test-oldest test-wheel lint format types bench clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: .venv/.installed ## Create .venv with everything that development needs

demo: venv ## Fit, search and explain models on real data
	$(BIN)/thetalearn demo

test: venv ## Run the tests and the docstrings' examples
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-slow: venv ## Run the tests that are marked slow
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m slow $(ARGS)

test-oldest: .venv-oldest/.installed ## Run the tests on the oldest supported dependencies
	.venv-oldest/bin/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-wheel: venv ## Check every estimator of the built wheel in a fresh environment
	rm -rf build/wheel .venv-wheel
	$(BIN)/python -m build --wheel --outdir build/wheel .
	$(call create-venv,.venv-wheel,$(PYTHON))
	.venv-wheel/bin/python $(PIP_INSTALL) build/wheel/*.whl
	# From an empty folder, so that nothing of this one can be imported.
	mkdir build/wheel/empty
	cd build/wheel/empty && ../../../.venv-wheel/bin/thetalearn check --all

lint: venv ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: venv ## Mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: venv ## Check the types
	$(BIN)/mypy

bench: venv ## Run every benchmark
	@for script in benchmarks/bench_*.py; do \
	  echo "== $$script"; $(BIN)/python "$$script" || exit 1; \
	done

clean: ## Remove everything that these commands have made
	rm -rf .venv .venv-oldest .venv-wheel build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml
	$(call create-venv,.venv,$(PYTHON))
	@echo "Installing thetalearn and its development tools into .venv"
	@$(BIN)/python $(PIP_INSTALL) -e ".[dev]"
	@touch $@

.venv-oldest/.installed: pyproject.toml tests/constraints-oldest.txt
	$(call create-venv,.venv-oldest,$(PYTHON_OLDEST))
	@echo "Installing thetalearn and its oldest dependencies into .venv-oldest"
	@.venv-oldest/bin/python $(PIP_INSTALL) -c tests/constraints-oldest.txt -e ".[dev]"
	@touch $@

# $(call create-venv,FOLDER,PYTHON): a virtual environment with a PyTorch that brings no CUDA.
# On Linux the default package index serves a CUDA build with several GB of libraries. A CPU build
# is installed from the first of these that has one: TORCH_INDEX if given, pip's configured sources,
# PyTorch's own index, whose address uv knows.
define create-venv
	@$(2) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "thetalearn needs Python 3.11 or newer, and '$(2)' is not one." \
	    "Name one, for example: make PYTHON=python3.12 (or PYTHON_OLDEST for test-oldest)." >&2; \
	  exit 1; }
	@$(2) -m venv $(1)
	@echo "Installing $(TORCH) for CPU into $(1)"
	@pip="$(1)/bin/python $(PIP_INSTALL)"; \
	if [ -n "$(TORCH_INDEX)" ]; then \
	  $$pip --index-url "$(TORCH_INDEX)" "$(TORCH)"; \
	elif [ "$$(uname -s)" != Linux ]; then \
	  $$pip "$(TORCH)"; \
	elif $$pip "$(TORCH)+cpu" 2>/dev/null; then :; \
	elif $$pip uv && $(1)/bin/uv pip install -q --python $(1)/bin/python \
	    --torch-backend=cpu "$(TORCH)"; then :; \
	else \
	  echo "No CPU build of $(TORCH) was found. The default build follows, with several GB of CUDA" \
	    "libraries. To avoid them, stop now and run make again with TORCH_INDEX set to the address" \
	    "of PyTorch's CPU wheel index (see PyTorch's 'Get started' page)." >&2; \
	  $$pip "$(TORCH)"; \
	fi
endef
