# `make demo` and `make test` set up whatever they need and run to the end.
SHELL := /bin/bash
# Compiled modules are kept, or every process and every test run would compile them anew.
unexport PYTHONDONTWRITEBYTECODE
VENV ?= .venv
PYTHON := $(VENV)/bin/python
READVAULT := $(VENV)/bin/readvault
READS ?=
# Test processes. Tests wait for servers at times, so a few more than small machines have cores.
PROCESSES ?= 4
N ?=
ONLY ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo up test unit test-postgres faults fuzz lint format types bench bench-api bench-throughput bench-claims bench-silo bench-wave bench-fixity accuracy lock clean

help:  ## show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/compiled  ## make the virtual environment from requirements.lock, and compile the loops over reads

# --no-deps: the lock is complete, and older pips stumble over extras of what is pinned.
$(VENV)/ready: requirements.lock pyproject.toml .python-version
	@python="$$(deployments/find-python)" || exit 1; \
	echo "setting up $(VENV) with $$($$python --version)"; \
	$$python -m venv --clear $(VENV)
	@$(PYTHON) -m pip install --quiet --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(PYTHON) -m pip install --quiet --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@# kubernetes-asyncio leaves its own beside all packages, and Biopython takes that for a source tree and warns.
	@rm -f $(VENV)/lib/python*/site-packages/pyproject.toml
	@touch $@

# Once, before processes that start at the same time would each do it. It takes up to a minute, and seconds later on.
$(VENV)/compiled: $(VENV)/ready $(shell grep -rl --include='*.py' 'reads.native import' readvault) readvault/reads/native.py
	@echo "compiling the loops over reads"
	@$(PYTHON) -c "from readvault.reads.local_run import load_ahead; load_ahead()"
	@touch $@

demo: setup  ## the main job: real servers, reads from upload to release (READS="R1 R2" for your own)
	@$(READVAULT) demo $(READS)

up: setup  ## the whole stack on this machine; Ctrl-C stops it
	@$(READVAULT) up

# Each file's tests stay together and in order, the longest files first (tests/conftest.py). The plugin of
# schemathesis, which nothing needs, takes each process a second to load.
PYTEST = $(PYTHON) -m pytest -q -p no:schemathesis -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

# Types are checked beside the tests: the one needs a core for a minute, the others wait for servers at times.
test: setup lint  ## all tests: types, rules, science, servers, the journey (PROCESSES=4)
	@( said=$$($(VENV)/bin/mypy 2>&1) || { echo "$$said"; exit 1; } ) & types=$$!; 	$(PYTEST) tests readvault/domain; tests=$$?; 	wait $$types || { echo "the type check failed: make types"; exit 1; }; exit $$tests

unit: PROCESSES = 2
unit: setup  ## only the fast tests, which wait for nothing
	@$(PYTEST) tests/unit readvault/domain

test-postgres: setup  ## all that meets the database, and the journey, on a PostgreSQL that the tests start
	@$(PYTHON) -m tests.postgres_server $(PYTHON) -m pytest -q tests/unit tests/integration/db tests/integration/services \
	  tests/integration/api tests/integration/worker tests/integration/test_transactions.py tests/journey

faults: setup  ## go on with the campaigns of docs/promises.md (N=trials each, ONLY=one of them)
	@$(PYTHON) -m tests.faults $(if $(N),--trials $(N)) $(if $(ONLY),--only $(ONLY))

fuzz: setup  ## damage valid files at random and see what validation says (N=5000 cases; goes on where it stopped)
	@$(PYTHON) -m tests.fuzz $(if $(N),--cases $(N))

lint: setup  ## style and import rules
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

format: setup  ## write the style
	@$(VENV)/bin/ruff check --fix . ; $(VENV)/bin/ruff format .

types: setup  ## the strict type check
	@$(VENV)/bin/mypy

bench: setup  ## compare `readvault process` with the stock tools (N=pairs, MEMORY=pairs)
	@$(PYTHON) -m benchmarks.process_against_stock_tools $(if $(N),--pairs $(N)) $(if $(MEMORY),--memory-pairs $(MEMORY))

bench-api: setup  ## how lists, approval and released data grow from 10,000 to a million entries, on SQLite and PostgreSQL (N=entries)
	@$(PYTHON) -m tests.postgres_server $(PYTHON) -m benchmarks.api $(if $(N),--entries $(N))

bench-throughput: setup  ## submissions an hour through the whole stack (N=submissions, PAIRS=each; POSTGRES=1: Prefect's database on PostgreSQL; CONCURRENCY=jobs at once)
	@$(PYTHON) -m benchmarks.throughput $(if $(N),--submissions $(N)) $(if $(PAIRS),--pairs $(PAIRS)) \
	  $(if $(POSTGRES),--postgres) $(if $(CONCURRENCY),--concurrency $(CONCURRENCY))

bench-claims: setup  ## worker processes on one PostgreSQL empty a queue of 100,000 tiny jobs (N=jobs, WORKERS="4 8 16", DONE=jobs done before for the plans)
	@$(PYTHON) -m benchmarks.claims $(if $(N),--jobs $(N)) $(if $(WORKERS),--workers $(WORKERS)) $(if $(DONE),--done $(DONE))

bench-silo: setup  ## reads per CPU-second into lines for SILO, beside a plain loop (N=reads)
	@$(PYTHON) -m benchmarks.silo $(if $(N),--reads $(N))

bench-wave: setup  ## small jobs beside a big one: how much longer they wait (N=small jobs, MB=of the big one)
	@$(PYTHON) -m benchmarks.wave $(if $(N),--small $(N)) $(if $(MB),--megabytes $(MB))

bench-fixity: setup  ## fsck, verify-integrity and rebuild with a million stored files, broken off and gone on: found, read once, flat memory (N=files, RECORDS=entries to rebuild)
	@$(PYTHON) -m tests.postgres_server $(PYTHON) -m benchmarks.fixity $(if $(N),--rows $(N)) $(if $(RECORDS),--records $(RECORDS))

accuracy: setup  ## judge consensus and variants by simulated truth, beside iVar and samtools; writes docs/accuracy.md (SEEDS="1 2 3")
	@$(PYTHON) -m benchmarks.accuracy $(if $(SEEDS),--seeds $(SEEDS))

lock:  ## resolve requirements.lock anew
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-header --no-annotate \
	  --all-extras pyproject.toml --output-file requirements.lock > /dev/null

clean:  ## remove what setup, tests and demo made
	rm -rf $(VENV) .readvault .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
