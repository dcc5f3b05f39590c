# Everything a developer or user of a checkout needs. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup quickstart test images e2e lint crds bench results docs clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## create .venv with everything (the other targets do it by themselves)

$(VENV)/.ready: pyproject.toml constraints.txt tools/make-venv
	tools/make-venv $(PYTHON) $(VENV)
	@touch $@

quickstart: $(VENV)/.ready ## evolve a real small model from three experts, ours and the paper's way, without cluster (20 minutes to an hour on 2 cores)
	$(BIN)/python examples/quickstart/prepare_base.py
	$(BIN)/cycleqd run examples/quickstart/run.yaml
	$(BIN)/cycleqd run examples/quickstart/paper.yaml
	$(BIN)/cycleqd report examples/quickstart/run.yaml --beside examples/quickstart/paper.yaml

test: $(VENV)/.ready lint ## lint, types, layers, generated files, then all tests that need no cluster
	$(BIN)/python examples/quickstart/prepare_base.py
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m "not e2e"

images: ## build the images of operator, runner and quickstart (IMAGES="--flavour gpu runner"; tools/build-images --help)
	tools/build-images $(IMAGES)

e2e: $(VENV)/.ready ## tests on the cluster in KUBECONFIG with the S3 in AWS_* and the images in CYCLEQD_*_IMAGE
	@for name in KUBECONFIG AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY CYCLEQD_OPERATOR_IMAGE CYCLEQD_RUNNER_IMAGE CYCLEQD_SANDBOX_IMAGE; do \
	  [ -n "$${!name}" ] || { echo "make e2e needs $$name: nothing was tested (docs/operations.md)." >&2; exit 2; }; \
	done
	$(BIN)/python examples/quickstart/prepare_base.py
	$(BIN)/pytest -m e2e tests/e2e

lint: $(VENV)/.ready ## ruff, mypy --strict, import contracts, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy cli core operator runner tests benchmarks tools charts
	$(BIN)/lint-imports
	$(BIN)/python -m cycleqd.crd --check
	$(BIN)/python tools/manifest_reference.py --check
	$(BIN)/python tools/metrics_reference.py --check
	$(BIN)/python tools/cli_reference.py --check
	$(BIN)/python tools/chart_readme.py --check
	$(BIN)/python tools/benchmarks_page.py --check

crds: $(VENV)/.ready ## generate crds/ from the pydantic models
	$(BIN)/python -m cycleqd.crd

bench: $(VENV)/.ready ## run all benchmarks (half an hour), or BENCH="engine merge"; renews benchmarks/results and docs/benchmarks.md
	$(BIN)/python examples/quickstart/prepare_base.py
	@$(BIN)/python -m benchmarks $(BENCH)

results: $(VENV)/.ready ## play the comparison of methods that is not played yet (hours) and renew docs/results.md
	$(BIN)/python examples/quickstart/prepare_base.py
	$(BIN)/cycleqd compare examples/quickstart/compare.yaml
	$(BIN)/python tools/results_page.py

docs: $(VENV)/.ready ## regenerate the references of manifest, metrics, command and chart, and the page of benchmarks
	$(BIN)/python tools/manifest_reference.py
	$(BIN)/python tools/metrics_reference.py
	$(BIN)/python tools/cli_reference.py
	$(BIN)/python tools/chart_readme.py
	$(BIN)/python tools/benchmarks_page.py

clean: ## remove the virtual environment, caches and runs
	rm -rf $(VENV) runs models .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
