# `make demo` and `make test` set up everything themselves on a fresh machine with Python 3.11, git and make.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
# One thread per process: tests and agents run side by side on two cores.
export OMP_NUM_THREADS ?= 1
# Every command starts half a second faster with its bytecode kept; some build machines ask Python not to keep it.
unexport PYTHONDONTWRITEBYTECODE

# The folders of `make check`: without the update systems' conformance, which drives installers as processes.
FAST = tests/unit tests/golden $(filter-out tests/contract/delivery tests/contract/builder,$(wildcard tests/contract/*))
# Tests wait for processes as often as they compute.
WORKERS ?= $(shell echo $$(($$(env -u OMP_NUM_THREADS nproc) * 3 / 2)))

PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

.PHONY: help setup demo demo-mixed check test test-devices test-all lint format schemas pictures bench clean
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

$(STAMP): pyproject.toml fleet/pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (the first run takes a few minutes)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e ./fleet -e '.[dev]'
	@touch $@

setup: $(STAMP) ## Make the virtual environment

demo: $(STAMP) ## Twelve devices, six stories, from a commit to a verified fleet
	@$(BIN)/python -m examples.demo

demo-mixed: $(STAMP) ## Four update systems in one rollout, with their real clients; needs root on Debian
	@tests/install-clients
	@$(BIN)/python -m examples.demo.mixed

check: lint ## Lint, and the tests that take a minute: what to run before a commit
	@EDGEWRIGHT_TEST_PROFILE=fast $(PYTEST) -m 'not slow and not client and not network and not e2e' $(FAST)

test: $(STAMP) ## Run every test, as CI does
	@tests/install-clients
	@$(PYTEST)

test-devices: $(STAMP) ## Run what drives real clients of devices and servers: agents, SSH, SWUpdate, Mender
	@tests/install-clients
	@$(PYTEST) tests/contract/delivery tests/integration/agent tests/integration/agent_http tests/integration/delivery

test-all: $(STAMP) ## Run every test with ten times the examples and a crash at every point; takes hours
	@tests/install-clients
	@EDGEWRIGHT_TEST_PROFILE=thorough $(PYTEST) -o timeout=3600

lint: $(STAMP) ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## Format the code
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

schemas: $(STAMP) ## Regenerate JSON Schemas and field tables from the pydantic models
	@$(BIN)/python -m edgewright_schemas.jsonschema schemas/json
	@$(BIN)/python -m edgewright_schemas.reference docs/reference/specs.md

pictures: $(STAMP) ## Record the terminal that README shows
	@$(BIN)/python -m examples.demo.picture docs/images/retail.svg

bench: $(STAMP) ## Measure, and write docs/reference/benchmarks.md
	@$(BIN)/python -m benchmarks

clean: ## Remove what make made
	rm -rf $(VENV) .venv-bench .mypy_cache .ruff_cache .import_linter_cache .hypothesis
