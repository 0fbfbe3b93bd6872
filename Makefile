# Everything is made in .venv next to this file; nothing else on the machine is touched, except by "make install".
# What pip would compile, the 1,900 modules of the kubernetes client among them, is compiled here without those: nobody imports them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 1053
# What "make run" needs, what tests and lints need on top, and what the site needs.
RUNS := $(VENV)/.runs
READY := $(VENV)/.ready
DOCS := $(VENV)/.docs
PREFIX ?= $(HOME)/.local
RESULTS ?= bench-results.json
PIP := $(BIN)/pip --disable-pip-version-check
COMPILE := -m compileall -q -j 0 -x '/site-packages/(kubernetes|pip)/'

.PHONY: run test lint bench fuzz life wheel dist docs man changelog install uninstall clean

run: $(RUNS)
	@PORT=$(PORT) $(BIN)/python conf/demo/run.py

test: $(READY)
	@$(BIN)/python -m tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy kdns tests bench tools

bench: $(READY)
	$(BIN)/python -m bench $(if $(QUICK),--quick) --json $(RESULTS)

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz

life: $(READY)
	$(BIN)/python -m tests.integration.life

wheel: $(READY)
	$(BIN)/python -m build --wheel

dist: $(READY)
	$(BIN)/python -m build

changelog: $(READY)
	@mkdir -p build
	@{ sed '/release notes start/q' CHANGELOG.md; \
	   $(BIN)/towncrier build --draft --version "$$(sed -n 's/^version = //p' setup.cfg)" 2>/dev/null; \
	   sed '1,/release notes start/d' CHANGELOG.md; } > build/CHANGELOG.md
	@echo build/CHANGELOG.md

man: $(READY)
	$(BIN)/python -m tools.man build/man

docs: $(DOCS) changelog
	$(BIN)/mkdocs build --quiet
	$(BIN)/pydoctor --quiet --quiet --project-name=kdns --docformat=restructuredtext --html-output=build/site/api kdns
	@echo build/site/index.html

# An environment of its own with kdns in it, and the command, its man pages and completions where a shell finds them.
install:
	$(PYTHON) -m venv $(PREFIX)/lib/kdns
	$(PREFIX)/lib/kdns/bin/pip --disable-pip-version-check install --no-compile .
	$(PREFIX)/lib/kdns/bin/python $(COMPILE) $(PREFIX)/lib/kdns/lib
	@cd $(PREFIX)/lib/kdns && for file in bin/kdns $$(find share -type f -path '*kdns*' -o -type f -name 'Corefile.5'); do \
	    mkdir -p $(PREFIX)/$$(dirname $$file) && ln -sf $(PREFIX)/lib/kdns/$$file $(PREFIX)/$$file; done
	@echo "$(PREFIX)/bin/kdns: $$($(PREFIX)/bin/kdns -version | head -1)"

uninstall:
	@cd $(PREFIX)/lib/kdns && for file in bin/kdns $$(find share -type f -path '*kdns*' -o -type f -name 'Corefile.5'); do rm -f $(PREFIX)/$$file; done
	rm -rf $(PREFIX)/lib/kdns

$(RUNS): setup.cfg setup.py pyproject.toml
	@echo "Installing what kdns needs into $(VENV), some 45 packages; it is done once."
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --no-compile --editable .
	$(BIN)/python $(COMPILE) $(VENV)/lib
	@touch $(RUNS)

$(READY): $(RUNS)
	@echo "Installing what tests and lints need."
	$(PIP) install --editable '.[dev]'
	@touch $(READY)

$(DOCS): $(READY)
	$(PIP) install --editable '.[docs]'
	@touch $(DOCS)

clean:
	rm -rf .venv .venv-newest build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis
