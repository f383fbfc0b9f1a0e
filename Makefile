# Every command sets up what it needs; nothing outside .venv, .twinserve and model_repo is written.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# `make test` on a machine that runs `make up` must not disturb it: tests take free ports and folders of their own.
PYTEST := $(BIN)/python -m pytest

.PHONY: help install up test test-fast loadtest-quick compose-test compose-chaos fuzz chaos chaos-swap bench bench-quick bench-gpu bench-swap check format generate clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

# What `make up` needs, and on top of it what the tests need; constraints.txt is the one resolve behind all of them.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e
RUN_STAMP := $(VENV)/installed-run
DEV_STAMP := $(VENV)/installed-dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "twinserve needs Python 3.11, 3.12 or 3.13, as TensorFlow does: make PYTHON=python3.12"; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv package is missing: apt install python3-venv"; exit 1; }

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing 1/3: the gateway and the command line"
	@$(PIP_INSTALL) '.[gateway]'
	@echo "installing 2/3: torch and TorchServe"
	@$(PIP_INSTALL) '.[torch]'
	@echo "installing 3/3: TensorFlow and the load tests (3 GB in all)"
	@$(PIP_INSTALL) '.[gateway,torch,tf,load]'
	@touch $@

$(DEV_STAMP): $(RUN_STAMP)
	@echo "installing what tests and checks need"
	@$(PIP_INSTALL) '.[gateway,torch,tf,load,docker,dev]'
	@touch $@

install: $(RUN_STAMP)  ## what `make up` needs, into .venv

up: $(RUN_STAMP)  ## both engines and the gateway, until Ctrl-C
	@exec $(BIN)/twinserve up

# First what needs neither engines nor training, so that a broken unit test is told within a minute or two; then those,
# one test at a time, since they share the cores with their clients. Either part fails the target.
test: test-fast  ## every test; starts real engines, takes minutes
	$(PYTEST) -m 'engines or frameworks or long' --durations 15

# Three processes even for two cores, since many tests wait for something. In them and in what they start, numpy has
# one thread: more would only wait for each other.
test-fast: $(DEV_STAMP)  ## the tests without engines, training and long ones, under 90 s
	OPENBLAS_NUM_THREADS=1 $(PYTEST) -m 'not engines and not frameworks and not long' -n 3 --dist worksteal

compose-test: $(DEV_STAMP)  ## the end-to-end tests against the platform from containers; says so when it cannot run
	$(BIN)/python -m tests.composed.run

compose-chaos: $(DEV_STAMP)  ## the composed platform with two gateways, broken again and again under load (TWINSERVE_CHAOS_MINUTES, _SEED)
	$(BIN)/python -m tests.composed.chaos

loadtest-quick: $(DEV_STAMP)  ## every load scenario for some seconds, against a platform of its own; 3 minutes
	$(PYTEST) -s tests/e2e/test_loadtest.py

fuzz: $(DEV_STAMP)  ## 20,000 hostile requests against real engines (TWINSERVE_FUZZ_SEED, TWINSERVE_FUZZ_REQUESTS)
	TWINSERVE_FUZZ_REQUESTS=$${TWINSERVE_FUZZ_REQUESTS:-20000} $(PYTEST) -s tests/e2e/test_fuzz.py

chaos: $(DEV_STAMP)  ## 20 kills at random moments, under load
	TWINSERVE_CHAOS_ENGINE_KILLS=16 TWINSERVE_CHAOS_SUPERVISOR_KILLS=4 $(PYTEST) -s tests/e2e/test_chaos.py

chaos-swap: $(DEV_STAMP)  ## 30 swaps cut short by kill -9, under load (TWINSERVE_CHAOS_SEED)
	TWINSERVE_CHAOS_SWAPS=$${TWINSERVE_CHAOS_SWAPS:-30} $(PYTEST) -s tests/e2e/test_swap_chaos.py

bench: $(DEV_STAMP)  ## gateway against engines alone, a rival in one process and the bare model, and how costs grow; 22 minutes (ARGS="--only NAME")
	$(BIN)/python -m loadtest.bench $(ARGS)

bench-quick: $(DEV_STAMP)  ## the same comparisons in three short pairs each, under three minutes (ARGS="--json FILE")
	$(BIN)/python -m loadtest.bench --quick $(ARGS)

bench-gpu: $(DEV_STAMP)  ## parity, speed and memory on a GPU; says so and fails where there is none
	$(BIN)/python -m loadtest.bench --gpu $(ARGS)

bench-swap: $(DEV_STAMP)  ## 50 promotes under load, against a running `make up` (TWINSERVE_BENCH_RATE, TWINSERVE_BENCH_PROMOTES)
	$(BIN)/python -m loadtest.swaps --rate $${TWINSERVE_BENCH_RATE:-300} --promotes $${TWINSERVE_BENCH_PROMOTES:-50} --keep 0

check: $(DEV_STAMP)  ## format, lint, types, import rules, generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m contracts.protos.generate --check
	$(PYTEST) -q tests/unit/test_import_rules.py

format: $(DEV_STAMP)  ## bring the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

generate: $(DEV_STAMP)  ## compile the protos
	$(BIN)/python -m contracts.protos.generate

clean:  ## forget the installation, the published versions and all state
	rm -rf $(VENV) .twinserve model_repo/mnist model_repo/.torchserve .mypy_cache .ruff_cache .pytest_cache .hypothesis
