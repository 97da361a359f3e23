# make run     set up, run the pipeline on simulated logs, rank for one user through gRPC
# make test    set up, run the tests
# make test-flink   the data components on a Flink cluster of this machine's own (needs Java 11 or 17, and Maven)
# make check   lint and types
# make lock    resolve requirements.in into requirements.lock

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= $(shell for p in python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-flink check lock setup
setup: $(VENV)/installed

# uv comes from the lock itself; pip only fetches it.
$(VENV)/installed: requirements.lock setup.py
	@test -n "$(PYTHON)" || { echo "skiprank needs Python 3.11: install it, or run make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV) \
		|| { echo "Python's venv module is missing: install it (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "Installing the locked packages into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -E '^uv==' requirements.lock)"
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

run: setup
	@$(BIN)/skiprank run --config configs/demo.yaml
	@$(BIN)/skiprank rank --config configs/demo.yaml --model runs/demo/serving/skiprank

test: setup
	@$(BIN)/pytest

test-flink: setup
	@$(BIN)/pytest tests/flink -m flink

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

lock: setup
	@$(BIN)/uv pip compile requirements.in --override requirements.override --python-version 3.11 --no-header --quiet -o requirements.lock
