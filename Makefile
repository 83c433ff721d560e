# `make check` is the whole static gate: format, lint, import contracts, types, docs.
PYTHON ?= python

.PHONY: check format lint contracts types docs fix

check: format lint contracts types docs

format:
	$(PYTHON) -m ruff format --check .

lint:
	$(PYTHON) -m ruff check .

contracts:
	lint-imports --no-cache

types:
	$(PYTHON) -m mypy

docs:
	$(PYTHON) docs/check.py

fix:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .
