# Everything a visitor types. Needs Python 3.11 or later with pip, and make; all else goes into .venv.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RECENT := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c '$(RECENT)' 2>/dev/null && echo $$p && break; done)
# Some peers have releases for recent Pythons only: the newest first.
PEERS_PYTHON ?= $(shell for p in python3.13 python3.12 python3; do \
	$$p -c '$(RECENT)' 2>/dev/null && echo $$p && break; done)

CLUSTER := tests/golden/clusters/five-nodes.json
EXPERIMENTS := $(notdir $(patsubst %/experiment.yaml,%,$(wildcard experiments/*/experiment.yaml)))

.PHONY: demo test test-long soak check format bench bench-peers models capacity validation experiments $(EXPERIMENTS) clean

demo: $(READY)  ## a node of a real cluster loses power: a table, and report.html
	$(BIN)/nodeportsim run $(CLUSTER) --service default/my-nodeport-service --out runs/demo \
		--set 'events=[{at: 30s, fault: power-off, node: node-3}]' --set duration=120s --set connect=3s

test: $(READY)  ## all tests but the long ones
	$(BIN)/python -m pytest -q -n auto -m 'not long and not soak'

test-long: $(READY)  ## the long ones
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m long

soak: $(READY)  ## both schedulers on 20,000 random scenarios, a hundred kills of a sweep: an hour
	$(BIN)/python -m pytest -q -n auto -m soak

check: $(READY)  ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: $(READY)  ## the engine against plain C and idiomatic SimPy, growth, memory, start: ten minutes, needs gcc
	$(BIN)/python benchmarks/bench.py

bench-peers:  ## the plain path on seven simulators, in an environment of their own
	$(PEERS_PYTHON) benchmarks/peers/bench.py

models: $(READY)  ## the shipped profiles, fitted again from the rows in their folders
	$(BIN)/python -m nodeportsim.calibrate.shipped

experiments: $(EXPERIMENTS)  ## the published results, made again

$(EXPERIMENTS): $(READY)
	$(BIN)/nodeportsim experiment $@ --out results/$@

capacity: $(READY)  ## closed forms of capacity against the simulator; the frontier of experiment capacity_sizing
	$(BIN)/nodeportsim capacity --agreement --out results/capacity_agreement
	$(BIN)/nodeportsim size experiments/capacity_sizing/scenario.yaml --slo 'p99<100ms, errors<0.1%' --survive node=1 \
		--nodes 2..8 --pods 4..24 --out results/capacity_frontier

validation: $(READY)  ## predicted against measured: results/validation, docs/validation.md
	$(BIN)/nodeportsim validate --out results/validation --page docs/validation.md

# `python -m venv` alone needs ensurepip, which some distributions leave out; pip installs from outside.
$(READY): pyproject.toml constraints.txt
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or later is needed: make PYTHON=/path/to/python3.11'; exit 1; }
	$(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $(VENV) install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev,parquet]'
	touch $@

clean:
	rm -rf $(VENV) build dist runs .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find sim tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
