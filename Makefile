# Two commands do everything on a machine that has only Python and make: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# Bytecode is kept: tests start hundreds of processes, each of which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test faults storm check format unit bench bench-gpu clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[all]"
	@touch $@ $(VENV)/.run

run: $(VENV)/.run ## train on the embedded digits, fine-tune at twice the resolution, evaluate, inspect, report, predict
	$(BIN)/vit train digits
	$(BIN)/vit finetune --res 32
	$(BIN)/vit eval runs/latest
	$(BIN)/vit inspect runs/latest
	$(BIN)/vit report runs/latest
	$(BIN)/python scripts/write_digits.py runs/digit_pictures
	$(BIN)/vit predict runs/latest runs/digit_pictures --top 3

test: $(VENV)/.dev ## run the tests that need no GPU, but for the longest
	$(PYTEST) tests -m "not fault and not long" --durations=15

faults: $(VENV)/.dev ## inject every fault of docs/reliability.md
	$(PYTEST) tests -m "case or long" --junitxml=.pytest_cache/faults.xml

RUNS ?= 50

storm: $(VENV)/.run ## kill training runs at random moments and compare their ends; RUNS=50
	OMP_NUM_THREADS=1 $(BIN)/python scripts/storm.py --runs $(RUNS)

check: $(VENV)/.dev ## format, lint, types, architecture, the quick unit tests
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary
	$(PYTEST) tests/test_architecture.py tests/unit -m "not slow and not long"

format: $(VENV)/.dev ## format and mend what ruff can
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --fix --quiet .

bench: $(VENV)/.dev ## compare the shipped loop with timm's on this machine
	$(BIN)/python scripts/bench_main.py

PART ?= b16

bench-gpu: $(VENV)/.dev ## measure a part of docs/speed/gpu.md on one GPU; PART=b16
	$(BIN)/python scripts/bench_gpu.py --part $(PART)

clean: ## remove caches and the virtual environment, never runs
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
