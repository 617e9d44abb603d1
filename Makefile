# One command for each thing that people do here. `make check` is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.paceline-setup

FROM ?= 1
SEEDS ?= 2000
SEED ?=

.PHONY: setup demo test check format lint types layers tests tools sim sim-engine mutants mutants-quick docs wheel clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group dev --editable .
	@touch $(STAMP)

demo: setup              ## three nodes, real work, the leader killed in the middle
	$(BIN)/paceline demo

test: setup              ## the quick suite (about four minutes on two cores)
	$(BIN)/python -m pytest -q -n 2 -m "not slow and not e2e and not mutants"

check: format lint types layers tests sim mutants-quick docs   ## everything that CI checks

format: setup
	$(BIN)/ruff format --check .

lint: setup
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

tests: setup             ## all tests; those of whole nodes one after another, with the machine to themselves
	$(BIN)/python -m pytest -q -n 2 -m "not mutants and not e2e"
	$(BIN)/python -m pytest -q -m "e2e and not mutants"

tools:                   ## the pinned programs that tests/e2e/test_tools_real.py and test_page.py use
	tests/rigs/standin/install.sh
	tests/rigs/browser/install.sh

sim: setup               ## seeded simulation: FROM=1 SEEDS=2000, or SEED=17 to replay one with its story
	$(BIN)/python -m tests.sim.runner $(if $(SEED),--seed $(SEED),--from $(FROM) --seeds $(SEEDS))

sim-engine: setup        ## the task engine in a seeded world: FROM=1 SEEDS=2000
	$(BIN)/python -m tests.engine.runner --from $(FROM) --seeds $(SEEDS)

mutants: setup           ## plant bugs, show that the simulation finds each in CI's seeds
	$(BIN)/python -m tests.sim.mutants

mutants-quick: setup     ## the same by the recorded seeds; of those that moved, only the first 60 seeds
	$(BIN)/python -m tests.sim.mutants --seeds 60

docs: setup              ## the documentation as a site, in site/; every broken link is an error
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

wheel: setup
	rm -rf dist
	$(BIN)/python -m build --wheel --outdir dist

clean:
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
