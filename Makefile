# `make` prints the targets. Everything lands in .venv/ and .local/, both ignored by git.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

UV_VERSION := 0.13.8
UV := .local/tools/bin/uv
BIN := .venv/bin
PYTEST := $(BIN)/pytest
WORKERS ?= 2

SYNCED := .venv/synced
KAFKA := .local/kafka/ready
CLIENTS := .local/debian/usr/bin/prometheus
KUBERNETES := .local/kubernetes/built
PROJECTS := pyproject.toml uv.lock $(wildcard libs/*/pyproject.toml services/*/pyproject.toml)

.PHONY: help
help: ## Print this
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: $(SYNCED) $(KAFKA) ## Everything the other targets need: environment, Kafka's jars
	@:

.PHONY: demo
demo: setup ## One P0 from webhook to timeline, on real Kafka; SYSTEM= another of the five
	@$(BIN)/tocsin demo $(if $(SYSTEM),--system $(SYSTEM))

.PHONY: up
up: setup ## Start the whole system here and leave it running
	@$(BIN)/tocsin up

.PHONY: status
status: setup ## What is running, and where it listens
	@$(BIN)/tocsin status

.PHONY: down
down: setup ## Stop it; incidents are kept for the next `make up`
	@$(BIN)/tocsin down

.PHONY: check
check: setup ## Lint, format, types, imports, generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy libs/*/src services/*/src
	@$(BIN)/lint-imports
	@$(BIN)/tocsin generate --check

.PHONY: test
test: setup setup-clients ## The whole suite, real Kafka and Valkey included
	@$(PYTEST) -n $(WORKERS) --dist loadfile -m "not soak and not bench and not kubernetes" $(ARGS)

.PHONY: test-kubernetes
test-kubernetes: setup $(KUBERNETES) ## Kubernetes steps on a real API, built here from Go (5 min, once)
	@$(PYTEST) -m kubernetes tests/conformance/test_kubernetes_runner.py tests/kubernetes $(ARGS)

.PHONY: bench
bench: setup setup-clients ## Benchmarks, beside the raw libraries
	@$(PYTEST) -m bench -s tests/benchmarks $(ARGS)

.PHONY: soak
soak: setup ## The simulator over thousands of seeds
	@$(PYTEST) -n $(WORKERS) -m soak --timeout 3600 tests/scenarios $(ARGS)

.PHONY: fuzz
fuzz: setup ## The parsers of all sources: hypothesis for longer, then atheris, FUZZ_SECONDS=60
	@$(PYTEST) -n $(WORKERS) -m soak --timeout 3600 tests/unit/ingestion $(ARGS)
	@$(UV) run --locked --group fuzz python tests/fuzz/fuzz_sources.py -max_len=8192 \
		-max_total_time=$(or $(FUZZ_SECONDS),60)

.PHONY: chaos
chaos: setup ## Processes killed and outages on real Kafka, the long ones too
	@SIGKILLS=$(or $(SIGKILLS),25) $(PYTEST) --timeout 3600 tests/chaos $(ARGS)

.PHONY: sigkill
sigkill: setup ## Each kind of channel killed 200 times while it sends; writes the table of the docs
	@$(BIN)/python -W ignore -m tocsin_testkit.killing docs/channels.md $(or $(KILLS),200)

.PHONY: setup-clients
setup-clients: $(CLIENTS) ## Alertmanager, amtool and Prometheus from Debian, for tests/clients
	@:

.PHONY: clean
clean: ## Remove what was set up and what `make up` kept
	@if [ -x $(BIN)/tocsin ]; then $(BIN)/tocsin down || true; fi
	@rm -rf .local .venv

$(UV):
	@echo "setting up uv $(UV_VERSION)"
	@command -v python3 >/dev/null || { echo "Python 3.11 or 3.12 is needed: apt-get install python3-venv"; exit 1; }
	@python3 -m venv .local/tools || { echo "apt-get install python3-venv"; exit 1; }
	@.local/tools/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(SYNCED): $(UV) $(PROJECTS)
	@echo "setting up the locked environment in .venv"
	@$(UV) sync --locked --quiet
	@touch $@

$(KAFKA): $(SYNCED) deploy/kafka/pom.xml libs/cli/src/tocsin_cli/stack/kafka.py
	@$(BIN)/python -m tocsin_cli.stack.kafka
	@touch $@

$(KUBERNETES): $(SYNCED) deploy/kubernetes-api/go.mod deploy/kubernetes-api/go.sum
	@$(BIN)/python -m tocsin_testkit.kubernetes.real
	@touch $@

$(CLIENTS): deploy/clients.sh
	@deploy/clients.sh .local/debian
