# Stayhand: `make help` lists what there is. Everything runs in .venv, which the first target that needs it makes.

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
LOCK := requirements/dev.lock
SERVER_LOCK := requirements/server.lock
BENCH_LOCK := requirements/bench.lock

# What can be set on the command line, as in `make test JOBS=4 ARGS="-k receipt"`.
PYTHON ?= python3.11 python3.12 python3.13 python3.14 python3 python
JOBS ?= 2
KAFKA_JOBS ?= 1
BENCH ?= roundtrip throughput state
BROKER ?= apache
BOOTSTRAP ?= 127.0.0.1:9092
ARGS ?=

PIP := -m pip --quiet --disable-pip-version-check --no-input
# Whether an interpreter will do: only running it tells, for a name on the PATH can be a shim with nothing behind it.
FIT := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
FIND_PYTHON = python=; for name in $(PYTHON); do \
		if "$$name" -c '$(FIT)' 2>/dev/null; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "no Python 3.11 or newer with its modules venv and ensurepip (tried: $(PYTHON))." >&2; \
		echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi

.PHONY: help
help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2 }' Makefile

.PHONY: venv
venv: $(STAMP) ## Make .venv from requirements/dev.lock, every package checked by its hash.
	@echo "$(VENV) is ready"

# pip compiles bytecode here, once; without it each start would compile what it imports, for seconds.
# The .pth file makes the checkout importable from any folder; its paths are relative, so that the checkout may move.
$(STAMP): $(LOCK)
	@if ! $(RUN) -c '$(FIT)' 2>/dev/null || ! $(RUN) -m pip --version >/dev/null 2>&1; then \
		$(FIND_PYTHON); \
		echo "making $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv $(VENV) || exit; \
	fi
	@echo "installing $(LOCK) into $(VENV); the first time takes a minute or two"
	@$(RUN) $(PIP) install --require-hashes --compile -r $(LOCK)
	@site=$$($(RUN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
		printf '%s\n' ../../../.. ../../../../sdk > "$$site/stayhand-checkout.pth"
	@touch $@

.PHONY: demo
demo: $(STAMP) ## Show the gate at work: an embedded broker, a scorer, a small fleet, and a token that is stolen.
	@$(RUN) -m streams demo $(ARGS)

.PHONY: test
test: $(STAMP) ## Run the tests on the embedded broker, without those that only Apache Kafka can show.
	@echo "tests on the embedded broker, in $(JOBS) processes; what needs Apache Kafka itself: make test-kafka"
	$(RUN) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

.PHONY: test-kafka
test-kafka: $(STAMP) ## Run every test that needs a broker on Apache Kafka (needs Java 17 and Maven).
	@echo "every test that needs a broker, on Apache Kafka, in $(KAFKA_JOBS) process(es)"
	$(RUN) -m pytest -m "kafka or apache" --broker apache -n $(KAFKA_JOBS) --dist loadfile $(ARGS)

.PHONY: bench
bench: $(STAMP) ## Measure: BENCH="roundtrip throughput state" BROKER=apache|embedded|HOST:PORT.
	@set -e; for name in $(BENCH); do $(RUN) -m bench $$name --broker $(BROKER) --json $(ARGS); done

.PHONY: lint
lint: $(STAMP) ## Check style and types: ruff, mypy (strict), pyright (strict, on the SDK).
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m pyright --pythonpath $(RUN)

.PHONY: broker
broker: $(STAMP) ## Run an Apache Kafka broker in the foreground; ARGS="--data-dir DIR" keeps its data.
	@$(RUN) -m streams.brokers apache $(ARGS)

.PHONY: topics
topics: $(STAMP) ## Create the topics on BOOTSTRAP and mend their settings.
	@$(RUN) -m streams topics --apply --bootstrap $(BOOTSTRAP) $(ARGS)

.PHONY: export
export: $(STAMP) ## Write the contract anew: JSON Schemas, AsyncAPI document, test vectors (schemas/).
	@$(RUN) -m schemas export $(ARGS)

# uv comes from the PATH, or into a scratch environment. What is locked already stays as it is unless ARGS says --upgrade.
UV_COMPILE = "$$uv" pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: lock
lock: ## Resolve requirements/*.lock anew; ARGS=--upgrade takes newer versions.
	@set -e; uv=$$(command -v uv || true); \
	if [ -z "$$uv" ]; then \
		$(FIND_PYTHON); \
		scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
		"$$python" -m venv "$$scratch"; \
		"$$scratch/bin/python" $(PIP) install uv; \
		uv=$$scratch/bin/uv; \
	fi; \
	$(UV_COMPILE) pyproject.toml --extra server --group dev -o $(LOCK) $(ARGS); \
	$(UV_COMPILE) pyproject.toml --extra server -c $(LOCK) -o $(SERVER_LOCK) $(ARGS); \
	$(UV_COMPILE) --group bench -c $(LOCK) -o $(BENCH_LOCK) $(ARGS); \
	echo "$(LOCK), $(SERVER_LOCK) and $(BENCH_LOCK) are current"

.PHONY: clean
clean: ## Remove .venv, caches and build results.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
