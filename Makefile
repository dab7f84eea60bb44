# The two commands of the README are `make quickstart` and `make test`.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: quickstart test smoke lint format types imports docs clean

quickstart: .venv/installed
	$(BIN)/statecast quickstart --overwrite

# Compiled once and kept, as the tests start many processes.
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test: .venv/installed-dev
	$(PYTEST) --ignore tests/benchmarks $(ARGS)

smoke: .venv/installed-dev
	$(PYTEST) tests/benchmarks $(ARGS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/installed-dev
	$(BIN)/mypy

imports: .venv/installed-dev
	$(BIN)/lint-imports

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv site dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "statecast needs Python 3.11 or newer with venv: found none. Install it (on Debian: python3 and python3-venv), or say make PYTHON=/path/to/python3." >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/pip
	@echo "installing statecast into .venv (a few minutes, once)"
	$(INSTALL) --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	$(INSTALL) --editable '.[dev]'
	@touch $@

.venv/installed-docs: .venv/installed
	$(INSTALL) --editable '.[docs]'
	@touch $@
