# Everything is made in .venv next to this file; nothing else on the machine is touched.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 1053
READY := $(VENV)/.ready
RESULTS ?= bench-results.json

.PHONY: run test lint bench fuzz life wheel changelog clean

run: $(READY)
	@PORT=$(PORT) $(BIN)/python conf/demo/run.py

test: $(READY)
	@$(BIN)/python -m tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy kdns tests bench

bench: $(READY)
	$(BIN)/python -m bench $(if $(QUICK),--quick) --json $(RESULTS)

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz

life: $(READY)
	$(BIN)/python -m tests.integration.life

wheel: $(READY)
	$(BIN)/python -m build --wheel

changelog: $(READY)
	$(BIN)/towncrier build --draft --version "$$(sed -n 's/^version = //p' setup.cfg)"

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $(READY)

clean:
	rm -rf .venv .venv-newest build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis
