# Every target sets up .venv by itself: Python 3.11 and Debian's packages are all it needs.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO ?=
FUZZ ?= dns --seconds 60
BENCH ?=
TORTURE ?=

.PHONY: setup demo test fuzz check bench-probe bench-footprint bench-ingest torture wheel lock proto release-proto clean

setup: $(VENV)/.ready

$(VENV)/.ready: lock/dev.txt pyproject.toml scripts/setup
	PYTHON=$(PYTHON) scripts/setup
	@touch $@

demo: setup
	@$(BIN)/soundings demo $(DEMO)

test: setup
	$(BIN)/python scripts/generate_proto.py --check
	$(BIN)/pytest

# make fuzz FUZZ="dns --seconds 600": targets are in tests/fuzz/targets.py.
fuzz: setup
	$(BIN)/python -m tests.fuzz.run $(FUZZ)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/generate_proto.py --check
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf lint
	$(BIN)/buf breaking --against proto/released.binpb

# Ten minutes; BENCH="--quick" tries everything once. How to read it: docs/benchmarks.md.
bench-probe: setup
	@$(BIN)/python -m tests.bench.probe $(BENCH)

# What a probe costs its host: memory, processor, start, size of the install. Two minutes.
bench-footprint: setup
	@$(BIN)/python -m tests.bench.footprint $(BENCH)

# Three minutes.
bench-ingest: setup
	@$(BIN)/python -m tests.bench.ingest $(BENCH)

# Two minutes; TORTURE="--seed N --seconds S" or "--quick". What it proves: docs/benchmarks.md.
torture: setup
	@$(BIN)/python -m tests.bench.torture $(TORTURE)

wheel: setup
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist .
	@ls dist/*.whl

# Only when dependencies change; needs uv (pip install uv).
lock:
	scripts/lock

proto: setup
	$(BIN)/python scripts/generate_proto.py

# Only when a contract is released: from then on `make check` refuses what breaks who speaks it.
release-proto: setup
	$(BIN)/buf build --exclude-source-info -o proto/released.binpb

clean:
	rm -rf $(VENV) out data
