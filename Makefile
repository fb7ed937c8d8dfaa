# The two commands of a newcomer are `make demo` and `make test`. Everything that is built once is kept in
# SMALLFLEET_CACHE, outside the checkout, keyed by version; a second run needs no network.

SMALLFLEET_CACHE ?= $(HOME)/.cache/smallfleet
export SMALLFLEET_CACHE
export CARGO_TARGET_DIR ?= $(SMALLFLEET_CACHE)/target
BIN := $(CARGO_TARGET_DIR)/release
CLUSTER := $(BIN)/smallfleet-cluster
PYTHON ?= python3

# Evaluated where they are used: the folder exists only after `make models`.
MODELS = $(shell $(PYTHON) tests/models/build.py --where)
ORT = $(shell $(CLUSTER) onnxruntime)
WITH_LAB = SMALLFLEET_MODELS=$(MODELS) ORT_DYLIB_PATH=$(ORT)

.DEFAULT_GOAL := help
.PHONY: help build models cluster-build cluster-up cluster-down demo test unit e2e lint deny crds

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build every binary of the workspace
	@echo "Building the workspace (about 8 minutes on two cores the first time) ..."
	cargo build --release --locked --workspace

models: ## Build the demo's models and data sets
	$(PYTHON) tests/models/build.py

cluster-build: build ## Build the pinned Kubernetes, containerd, helm ... (about 12 minutes, once)
	$(CLUSTER) build

cluster-up: cluster-build ## Start the local cluster: a control plane and three nodes
	$(CLUSTER) up

cluster-down: ## Stop the local cluster and remove every trace of it
	$(CLUSTER) down

demo: cluster-build models ## Show the main job: serve, promote, roll back, refuse (KEEP=1 leaves the cluster up)
	@$(CLUSTER) up
	@$(WITH_LAB) $(BIN)/smallfleet-demo; result=$$?; \
	if [ -n "$(KEEP)" ]; then \
	  echo; echo "The cluster is left up. Look around with"; \
	  echo "  eval \"\$$($(CLUSTER) env)\""; \
	  echo "  kubectl get smallmodels -A; kubectl smallfleet explain intent -n shop"; \
	  echo "and take it down with  make cluster-down"; \
	else $(CLUSTER) down; fi; exit $$result

test: lint unit ## Lint, and unit, golden and property tests

lint:
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings

unit: build ## Unit, golden and property tests
	ORT_DYLIB_PATH=$(ORT) cargo test --locked --workspace

e2e: cluster-build models ## The end-to-end suite on the local cluster
	@$(CLUSTER) up
	@$(WITH_LAB) cargo test --release --locked --workspace --features smallfleet-e2e/cluster --test cluster -- --test-threads=1 --nocapture; \
	result=$$?; $(CLUSTER) down; exit $$result

deny: ## Licences, bans and sources of the dependencies
	cargo deny check licenses bans sources

crds: ## Write the CRD's YAML from the types
	cargo run --release -p smallfleet-crds --example crdgen
