# Each target sets itself up and then does one thing; its last line says the result.
# STUDY=name chooses a study other than the one config/config.yaml names.

PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)/workflow/scripts

# Snakemake keeps a cache in the home folder, which some machines do not let one write to.
ifneq ($(shell test -w "$$HOME" && echo writable),writable)
export XDG_CACHE_HOME ?= $(CURDIR)/.cache
endif

# Installs Debian packages that are missing, for root; what needs them says so where they are not.
install = dpkg --status $(1) > /dev/null 2>&1 || [ "$$(id -u)" -ne 0 ] || \
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
      --no-install-recommends $(1) > /dev/null; }

# The study, by its name or path, as an argument and as an option.
NAMED = $(if $(STUDY),"$(STUDY)")
OF = $(if $(STUDY),--study "$(STUDY)")

# DEPOSIT=archive, also for `costs`, `status`, `report` and `archive` of a study that is rebuilt from one.
FROM = $(if $(DEPOSIT),--deposit "$(DEPOSIT)")

.PHONY: help demo test test-conda test-slurm mutants browser lint format reference lock bench decisions costs plan \
    status report docs archive leaderboard rebuild wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# `.venv/bin/python -m dds` finds the library by a path within the folder, wherever that is moved.
# An environment that is there is brought up to the lock in place: jobs may be using it, and
# .venv may be a link to a larger disk. `make clean` is how one starts over.
# TORCH_INDEX=address takes PyTorch from its index of builds for CPUs, and no CUDA libraries.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# TORCH=none leaves out what runs networks, which nothing needs that starts from votes.
CUDA := ^(cuda-|nvidia-c|nvidia-n[cv]|triton)
NETWORKS := ^(torch|timm|transformers|diffusers|guided-diffusion)
$(READY): envs/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	    echo "make: needs Python 3.11 to 3.13, and $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
	         "choose another: make PYTHON=python3.12 ..."; exit 1; }
	@for other in $(notdir $(wildcard $(VENV)/lib/python3.*)); do \
	    $(PYTHON) -c "import sys; sys.exit('$$other' != 'python%d.%d' % sys.version_info[:2])" || { \
	    echo "make: $(VENV) is of $$other, and $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
	         "make clean, and then the same again"; exit 1; }; done
	@echo "installing into $(VENV)/, once:" $(if $(TORCH_INDEX),"2.3 GB on disk", \
	    $(if $(filter none,$(TORCH)),"1.3 GB on disk", \
	    "7.1 GB on disk, 4.3 of it for GPUs (README says how to do without)"))
	@$(PYTHON) -m venv "$$(readlink -f $(VENV))"  # venv itself refuses a link
ifdef TORCH_INDEX
	@awk '/^[^ ]/ { unwanted = /$(CUDA)/ } !unwanted' $< > $(VENV)/requirements.lock
	@$(INSTALL) --index-url $(TORCH_INDEX) --no-deps $$(grep -oE '^torch(vision)?==[0-9.]+' $<)
	@$(INSTALL) --require-hashes --no-deps --requirement $(VENV)/requirements.lock
else ifeq ($(TORCH),none)
	@awk '/^[^ ]/ { unwanted = /$(CUDA)/ || /$(NETWORKS)/ } !unwanted' $< > $(VENV)/requirements.lock
	@$(INSTALL) --require-hashes --no-deps --requirement $(VENV)/requirements.lock
else
	@$(INSTALL) --require-hashes --requirement $<
endif
	@echo ../../../../workflow/scripts > $$(echo $(VENV)/lib/python3*/site-packages)/dds.pth
	@touch $@

demo: $(READY) ## rebuild the digits study, from data to paper, and its report
	@$(BIN)/python tools/demo.py --cores $(CORES) $(OF)

test: $(READY) ## run the tests
	@$(BIN)/pytest

SLURM := slurmctld slurmd slurm-client munge slurmdbd mariadb-server

test-slurm: $(READY) ## run the tests that need a SLURM cluster, on one of their own
	@$(call install,$(SLURM))
	@$(BIN)/pytest tests/slurm

test-conda: $(READY) ## run a study in its conda environments, which are installed anew
	@$(BIN)/pytest tests/workflow/test_conda.py -m conda

mutants: $(READY) ## break the library in small ways and say what no test notices (MODULES="bounds votes")
	@nice $(BIN)/python tools/mutants.py $(MODULES) $(if $(MOST),--most $(MOST)) \
	    $(if $(MINUTES),--minutes $(MINUTES)) $(if $(AGAIN),--again)

browser: ## install the browser that the tests open the HTML report in
	@$(call install,chromium)
	@echo "browser: $$(command -v chromium || echo none, so those tests are skipped)"

lint: $(READY) ## check style, rules, notebooks, environments, types, the wheel
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/Snakefile workflow/rules
	$(BIN)/nbstripout --verify notebooks/*.ipynb
	$(BIN)/snakemake --lint
	$(BIN)/python tools/pin.py --check
	$(BIN)/python tools/reference.py --check
	$(BIN)/mypy
	$(BIN)/python tools/distribution.py --check
	@echo "lint: clean"

format: $(READY) ## format code, rules and notebooks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/Snakefile workflow/rules
	$(BIN)/nbstripout notebooks/*.ipynb
	@echo "format: done"

reference: $(READY) ## write schemas, the reference of every key and the commands' help, after a change of one
	$(BIN)/python tools/reference.py

lock: $(READY) ## pin dependencies again, after a change of pyproject.toml
	$(BIN)/python tools/pin.py

bench: $(READY) ## measure networks, certifying, training, starts (ROWS="pair/* network/cifar10_vit" BUDGET=600), and scale
	@$(BIN)/python tools/bench.py $(if $(ROWS),--rows $(foreach row,$(ROWS),'$(row)')) \
	    $(if $(BUDGET),--budget $(BUDGET)) $(if $(OFFICIAL),--official $(OFFICIAL))
	@$(if $(ROWS),,$(BIN)/python tools/bench_scale.py)

decisions: $(READY) ## count decisions that precision and batch shapes change (EXPERIMENTS="denoised" IMAGES=100 SAMPLES=100)
	@$(BIN)/python tools/decisions.py $(OF) \
	    $(if $(EXPERIMENTS),--experiments $(EXPERIMENTS)) \
	    $(if $(IMAGES),--images $(IMAGES)) $(if $(SAMPLES),--samples $(SAMPLES))

costs: $(READY) ## say what a study takes before it is run (STUDY=paper GPU=h100)
	@$(BIN)/python tools/costs.py $(OF) $(if $(GPU),--gpu $(GPU)) $(FROM)

plan: costs

status: $(READY) ## show how far a study is, what runs and what failed
	@$(BIN)/python tools/status.py $(NAMED) $(FROM)

report: $(READY) ## build the HTML report of a finished study
	@$(BIN)/python tools/report.py $(NAMED) $(FROM)

# The tools that build it have a lock and an environment of their own, without PyTorch. A site that
# fails a check leaves the one before it in place.
DOCS := $(VENV)/docs
# The study whose notebooks are shown, by its name.
SHOWN = $(basename $(notdir $(lastword $(or $(STUDY),digits))))

$(DOCS)/ready: envs/docs.lock
	@$(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	    --requirement $<
	@touch $@

docs: $(DOCS)/ready ## build the documentation as a site, in site/, with the notebooks of a finished study (STUDY=digits)
	@rm -rf $(DOCS)/built
	@STUDY=$(SHOWN) $(DOCS)/bin/sphinx-build -c docs --quiet --fail-on-warning --keep-going \
	    --doctree-dir $(DOCS)/built/doctrees . $(DOCS)/built/site
	@$(DOCS)/bin/python tools/links.py $(DOCS)/built/site
	@rm -rf site && cp -r $(DOCS)/built/site site
	@echo "docs: open site/index.html"$(if $(wildcard results/$(SHOWN)/notebooks/*.ipynb),, \
	    "(without notebooks: make demo executes them)")

archive: $(READY) ## pack a finished study for deposit, with checksums, in dist/
	@$(BIN)/python tools/archive.py $(NAMED) $(FROM)

leaderboard: $(READY) ## put the logs and deposits below a folder on one page, in dist/ (FOLDER=logs RADII="0.25 0.5")
	@$(BIN)/python tools/leaderboard.py $(if $(FOLDER),"$(FOLDER)") $(if $(RADII),--radii $(RADII))

wheel: $(READY) ## build the library's wheel and sdist, in dist/
	@$(BIN)/python tools/distribution.py

rebuild: $(READY) ## rebuild a study from a deposit, without a GPU (DEPOSIT=paper.tar.gz STUDY=paper TORCH=none)
	$(if $(DEPOSIT),,$(error make rebuild needs DEPOSIT=paper.tar.gz; snakemake takes one that config/config.yaml names))
	@$(BIN)/snakemake all --cores $(CORES) --config $(if $(STUDY),"study=$(STUDY)") "deposit=$(DEPOSIT)"

clean: ## remove the environment, caches, compiled networks and the site; results stay
	@# A link to a larger disk stays, and its folder is emptied: the next environment goes there, too.
	@if [ ! -L $(VENV) ]; then rm -rf $(VENV); elif [ -d $(VENV) ]; then find $(VENV)/ -mindepth 1 -delete; fi
	rm -rf .snakemake .pytest_cache .ruff_cache .mypy_cache .hypothesis .mutants results/.programs site
	@echo "clean: done"
