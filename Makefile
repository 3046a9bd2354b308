# Each target sets itself up and then does one thing; its last line says the result.
# STUDY=name chooses a study other than the one config/config.yaml names.

PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
SNAKEMAKE = $(BIN)/snakemake --cores $(CORES) $(if $(STUDY),--config study=$(STUDY))

export PATH := $(abspath $(BIN)):$(PATH)
export PYTHONPATH := workflow/scripts

.PHONY: help demo test test-all test-slurm lint format lock bench plan status report archive clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): envs/requirements.lock
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --require-hashes --requirement envs/requirements.lock
	touch $@

demo: $(READY) ## rebuild the digits study, from data to paper, and its report
	@$(BIN)/python workflow/demo.py

test: $(READY) ## run the tests
	$(BIN)/pytest

lint: $(READY) ## check style, rules, notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/nbstripout --verify notebooks/*.ipynb
	$(BIN)/snakemake --lint
	@echo "lint: clean"
