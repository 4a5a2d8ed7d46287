# napari-dama: `make test` is green on a fresh machine, `make demo` shows the main job, `make app` opens the window.
#
# Everything goes into .venv beside this file. Choose another Python with `make PYTHON=/usr/bin/python3.12 test`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SYSTEM := $(VENV)/.system
EXTRAS ?= dev,pyqt6
PYTEST_ARGS ?=

headline = printf '\n\033[1m== %s\033[0m\n' $(1)

.PHONY: help install test lint format typecheck imports manifest pytest interop demo app docs site clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## a virtual environment in .venv with the package, editable, and all tools

# Qt and a window without a screen. Never fatal: without them the window's tests skip and say so.
$(SYSTEM): scripts/system_packages.sh
	@$(call headline,"System packages for Qt and a virtual screen")
	@mkdir -p $(VENV)
	@bash scripts/system_packages.sh "$(PYTHON)"
	@touch $(SYSTEM)

$(STAMP): pyproject.toml | $(SYSTEM)
	@$(call headline,"Install into $(VENV)")
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found. Install one, or: make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable ".[$(EXTRAS)]"
	@touch $(STAMP)

test: lint typecheck imports manifest site pytest interop ## all checks and tests, as CI runs them
	@$(call headline,"All checks and tests passed")

lint: $(STAMP) ## ruff: rules and format
	@$(call headline,"ruff check")
	@$(BIN)/python -m ruff check .
	@$(call headline,"ruff format --check")
	@$(BIN)/python -m ruff format --check .

format: $(STAMP) ## put the code into shape
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

typecheck: $(STAMP) ## mypy --strict
	@$(call headline,"mypy")
	@$(BIN)/python -m mypy

imports: $(STAMP) ## the layers of the house
	@$(call headline,"lint-imports")
	@$(BIN)/lint-imports

manifest: $(STAMP) ## napari's view of the plugin, python names included
	@$(call headline,"npe2 validate")
	@$(BIN)/python -m npe2 validate --imports napari-dama

pytest: $(STAMP) ## the tests only; PYTEST_ARGS="-k panel" for some
	@$(call headline,"pytest")
	@$(BIN)/python scripts/run_tests.py $(PYTEST_ARGS)

interop: $(STAMP) ## exports read by anndata, spatialdata and others, in .venv-interop; skipped, loudly, without network
	@$(call headline,"interop")
	@bash scripts/interop.sh $(BIN)/python

demo: $(STAMP) ## the main job on a simulated slide, pictures in demo-output/
	@$(call headline,"Demo")
	@$(BIN)/python scripts/demo.py

app: $(STAMP) ## napari with the DAMA dock and a simulated slide
	@$(call headline,"napari with the DAMA dock")
	@$(BIN)/python scripts/app.py

docs: $(STAMP) ## take the screenshots of the tutorials again
	@$(call headline,"Screenshots")
	@bash scripts/with_display.sh $(BIN)/python scripts/screenshots.py

site: $(STAMP) ## build the documentation as a web site in site/; a broken link or picture fails
	@$(call headline,"mkdocs build --strict")
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

clean: ## remove what was built or drawn; the environment stays
	rm -rf build dist site demo-output .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## clean, and remove the environment
	rm -rf $(VENV) .venv-interop
