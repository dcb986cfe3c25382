.DEFAULT_GOAL := help
.PHONY: help run test test-integration test-azure check fmt bench bench-merging bench-peers bench-soak bench-soak-store mutants profile clean

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

help:  ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/run: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[evaluate]'
	$(BIN)/python -m compileall -q pipeline jobs
	@touch $@

.venv/dev: .venv/run
	$(PIP) -e '.[dev]'
	@touch $@

run: .venv/run  ## Rerank sample_data/ into out/sample with the offline service, and evaluate it
	$(BIN)/rerank run sample_data/candidates.parquet out/sample --provider emulator
	$(BIN)/rerank evaluate out/sample --qrels sample_data/qrels.parquet

test: .venv/dev  ## Run the tests, two files at a time
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-integration: .venv/dev  ## Run the tests with real servers and a browser (Debian: see .ci/run)
	$(BIN)/python -m pytest tests/integration

test-azure: .venv/dev  ## Run the tests against azurite (npm install azurite --prefix /tmp/azurite)
	$(BIN)/python -m pytest tests/on_demand/test_azure.py

check: .venv/dev  ## Check format, lint, types and layers, without changes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: .venv/dev  ## Format the code and apply automatic fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

BENCHES := throughput startup options display memory tokens pace quota shards score_store resume prepare \
  export report load backfill

bench: .venv/dev  ## Measure the bars of tests/benchmarks/README.md (minutes)
	@status=0; for name in $(BENCHES); do \
	  echo "== $$name"; $(BIN)/python tests/benchmarks/bench_$$name.py || status=1; \
	done; exit $$status

bench-merging: .venv/dev  ## Measure the quality of merging, simulated and through the command line (minutes)
	@status=0; for name in merging_verdicts merging merging_cli; do \
	  echo "== $$name"; $(BIN)/python tests/benchmarks/bench_$$name.py || status=1; \
	done; exit $$status

bench-peers: .venv/dev  ## Compare with other programs, each in an environment of its own (minutes)
	$(BIN)/python tests/benchmarks/bench_peers.py

bench-soak: .venv/dev  ## Run an hour's groups in ten minutes, through faults and kills (15 minutes)
	$(BIN)/python tests/benchmarks/bench_soak.py

bench-soak-store: .venv/dev  ## The same on an object store that fails and is down twice (10 minutes)
	$(BIN)/python tests/benchmarks/bench_soak.py --object-store

ROOM ?= planning
MUTATED := pipeline/$(ROOM)/$(or $(MODULE),*).py
TESTS ?= tests/$(ROOM)$(MODULE:%=/test_%.py)

mutants: .venv/dev  ## Break ROOM=planning [MODULE=packing] in small ways, and list what no test of TESTS notices
	$(PIP) mutmut==3.8.1
	rm -rf out/mutants && mkdir -p out/mutants
	cp -r pipeline jobs tests sample_data README.md pyproject.toml out/mutants
	grep -rl max_examples= out/mutants/tests | xargs sed -i -E 's/max_examples=[0-9]+/max_examples=20/'
	cat tests/support/mutants.toml >> out/mutants/pyproject.toml
	echo 'only_mutate = ["$(MUTATED)"]' >> out/mutants/pyproject.toml
	cd out/mutants && PYTHONHASHSEED=0 nice ../../$(BIN)/python tests/support/mutation_run.py $(TESTS)

profile: .venv/dev  ## Show where a run spends its time
	$(PIP) py-spy
	$(BIN)/python tests/benchmarks/profile_run.py

clean:  ## Remove environment, outputs and caches
	rm -rf .venv out build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
