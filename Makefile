# `make` lists the targets. Everything runs in .venv, which is made when it is first needed.
PYTHON ?= python3
# Further options for pip, for example an index of CPU builds of torch:
#   make report PIP_OPTIONS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_OPTIONS ?=
# Further overrides for the sweeps, for example: make report ARGS="data.name=coffee seed=0,1,2"
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install report report-paper sweep stopping ddpm-demo test test-slow chromium test-browser test-cluster release-check faults bench-sweep bench bench-guard check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.dev ## make .venv with everything that development needs

report: $(VENV)/.run ## the course report's table beside ours, on a small image: 18 cells, 6 minutes on 2 slow cores
	$(BIN)/python -m dip_stages -m sweep=report_table preset=quick $(ARGS)

report-paper: $(VENV)/.run ## the same on the course report's own image where it can be had, 512x512, published width, for a GPU (see the README)
	data=data=butterflies; $(BIN)/python -m dip_stages.images.sources || data=; \
	$(BIN)/python -m dip_stages -m sweep=report_table preset=paper outputs=outputs/paper hydra.launcher.workers=1 \
	  $(if $(filter data=%,$(ARGS)),,$$data) $(ARGS)

sweep: $(VENV)/.run ## the full grid of 30 cells (see the README for its cost)
	$(BIN)/python -m dip_stages -m $(ARGS)

stopping: $(VENV)/.dev ## the study of stopping rules into docs/stopping.md: more than 3 hours on 2 slow cores; resumes after an interruption
	$(BIN)/python -m dip_stages -m sweep=stopping_tuning
	$(BIN)/python -m dip_stages -m sweep=stopping
	$(BIN)/python -m tests.bench.study outputs/stopping_tuning outputs/stopping --into docs/stopping.md

ddpm-demo: $(VENV)/.ddpm ## trains a small DDPM, draws samples, denoises with it beside DIP: 11 minutes on 2 slow cores; resumes after an interruption
	$(BIN)/python -m dip_stages.train
	$(BIN)/python -m dip_stages -m sweep=competitors preset=quick $(ARGS)

test: $(VENV)/.dev ## the tests, in a few minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not browser and not cluster and not release" $(ARGS)

test-slow: $(VENV)/.dev ## trainings, the wheel, the commands of README and docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup -m slow $(ARGS)

chromium: # installed if missing
	command -v chromium && command -v chromedriver || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver; }

test-browser: $(VENV)/.dev chromium ## the page of a report in a real Chromium, installed if missing (as root, on Debian)
	$(BIN)/python -m pytest -q -m browser tests/browser $(ARGS)

test-cluster: $(VENV)/.cluster ## sweeps on a real Slurm and a real Ray, installed if missing (as root, on Debian 12)
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m cluster tests/cluster $(ARGS)

release-check: $(VENV)/.dev ## before a release: the wheel, installed with its dependencies into an empty environment, and run
	$(BIN)/python -m pytest -q -m release --timeout 3600 tests/end_to_end/test_installation.py $(ARGS)

faults: $(VENV)/.dev ## the fault campaign: 200 kills and 140 other faults, most of an hour; as root, for its small disk
	$(BIN)/python -m tests.faults.campaign --kills 200 --each 20 --lanes 3 --table docs/faults.md $(ARGS)

bench-sweep: $(VENV)/.dev ## the cost of planning, status and gathering up to 10,000 cells, in two minutes
	$(BIN)/python -m tests.bench.sweep --table docs/scale.md $(ARGS)

bench: $(VENV)/.dev ## speed and quality of fits beside the published loop's; on an idle machine
	$(BIN)/python -m tests.bench.speed --into docs/performance.md $(ARGS)

bench-guard: $(VENV)/.dev ## fails if one cell's lead over the published loop has fallen by a quarter; two minutes
	$(BIN)/python -m tests.bench.speed --guard $(ARGS)

check: $(VENV)/.dev ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean: ## remove .venv and caches; outputs stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is needed, this is {sys.version}: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e ".[dev]"
	@touch $@ $(VENV)/.run

$(VENV)/.ddpm: $(VENV)/.run
	$(PIP) -e ".[ddpm]"
	@touch $@

$(VENV)/.cluster: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e ".[dev,slurm,ray,joblib]"
	@touch $@ $(VENV)/.dev $(VENV)/.run
