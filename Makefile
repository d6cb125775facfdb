# The runner. `make demo` and `make test` are all that a newcomer needs; `make help` lists the rest.
SHELL := /bin/sh
PYTHON ?= python3
export PROJECT_ROOT := $(CURDIR)
WITH_ENV := . ./env.sh &&
UV := .venv/.uv/bin/uv
PACKAGES := data_engineering training local feature_repo

.PHONY: help demo up shell test lint types unit e2e faults bench test-browser screenshots lock clean
help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: .venv/.runtime ## Run both pipelines for real: source file to registered model. FORCE=1 publishes and trains anew.
	@$(WITH_ENV) exec python -W ignore -m local.demo

up: .venv/.runtime ## Serve Airflow's, MLflow's and Feast's pages until Ctrl-C.
	@$(WITH_ENV) exec python -W ignore -m local.up

shell: .venv/.runtime ## Open a shell in which `feast`, `airflow`, `mlflow` and `python` know this project.
	@echo 'The same in a shell of your own: source "$(CURDIR)/env.sh"'
	@$(WITH_ENV) exec "$${SHELL:-/bin/sh}"

test: lint types unit e2e ## Lint, types, unit and structure tests, then end to end under the real scheduler.

lint: .venv/.dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	PYTHONPATH=. .venv/bin/lint-imports

types: .venv/.dev
	.venv/bin/mypy $(PACKAGES)

unit: .venv/.dev
	$(WITH_ENV) pytest -n 2 --dist loadfile -m 'not sweep' tests/unit tests/faults

e2e: .venv/.dev
	$(WITH_ENV) pytest tests/e2e --ignore tests/e2e/test_restarts.py

faults: .venv/.dev ## Kill each step at many more points, Airflow's programs and a whole demo. 5 minutes, so not in `test`.
	$(WITH_ENV) pytest -n 2 -m sweep tests/unit tests/faults
	$(WITH_ENV) pytest tests/e2e/test_restarts.py

bench: .venv/.dev ## Measure what it costs. SCALE=100: up to 3 million rows. PART=..., SIZES=..., ROUNDS=...: docs/performance.md.
	@PYTHONPATH=. .venv/bin/python tests/benchmarks

test-browser: .venv/.dev ## Click through the pages in headless chromium, which has to be installed.
	$(WITH_ENV) pytest tests/browser

screenshots: .venv/.dev ## Take the pictures in docs/images anew, likewise in chromium.
	@$(WITH_ENV) exec python -W ignore -m tests.browser.screenshots

lock: .venv/.dev ## Resolve the requirements anew, to the newest versions that pyproject.toml allows.
	echo 'uv>=0.9' | $(COMPILE) - -o requirements/installer.lock
	$(COMPILE) pyproject.toml --extra ui -o requirements/runtime.lock
	$(COMPILE) pyproject.toml --all-extras -c requirements/runtime.lock -o requirements/stack.lock
	$(COMPILE) pyproject.toml --all-extras --group dev -c requirements/stack.lock -o requirements/dev.lock

clean: ## Delete the environment and everything that runs have made.
	rm -rf .venv var

# --no-header: the header would repeat an index's address from the command line.
COMPILE := $(UV) pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-header --quiet

# uv, itself installed by hash, fetches the rest in parallel. It lives apart, since `sync` removes what is not locked.
$(UV): requirements/installer.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "Python %d.%d cannot run this project: install 3.11, 3.12 or 3.13 and name it, as in make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv .venv
	$(PYTHON) -m venv .venv/.uv
	.venv/.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/installer.lock

.venv/.runtime: $(UV) requirements/runtime.lock
	@echo 'installing the locked packages into .venv (1.2 GB)'
	@$(UV) pip sync --quiet --compile-bytecode --require-hashes --python .venv/bin/python requirements/runtime.lock
	@.venv/bin/python -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null || { echo 'LightGBM needs libgomp.so.1, which this machine has not: install the package libgomp1 (Debian, Ubuntu) or libgomp (Fedora)'; exit 1; }
	@rm -f .venv/.dev && touch $@

.venv/.dev: .venv/.runtime requirements/dev.lock
	@$(UV) pip sync --quiet --compile-bytecode --require-hashes --python .venv/bin/python requirements/dev.lock
	@touch $@
