# The two commands of a newcomer are `make demo` and `make test`. Everything that is built once is kept in
# SMALLFLEET_CACHE, outside the checkout, keyed by version.

SMALLFLEET_CACHE ?= $(HOME)/.cache/smallfleet
export SMALLFLEET_CACHE
export CARGO_TARGET_DIR ?= $(SMALLFLEET_CACHE)/target
BIN := $(CARGO_TARGET_DIR)/release

.DEFAULT_GOAL := help
.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
