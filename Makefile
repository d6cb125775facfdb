# The runner. `make demo` and `make test` are all that a newcomer needs; `make help` lists the rest.
SHELL := /bin/sh
PYTHON ?= python3
export PROJECT_ROOT := $(CURDIR)
WITH_ENV := . ./env.sh &&
UV := .venv/.uv/bin/uv
PACKAGES := bulk_engine data_engineering storage training local feature_repo stack

.PHONY: help demo demo-bigquery check-bigquery up shell test lint types unit e2e faults bench test-browser screenshots lock clean
.PHONY: secrets backup restore rebuild-online test-stack
help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: .venv/.runtime ## Run both pipelines for real: source file to registered model. FORCE=1 publishes and trains anew.
	@$(WITH_ENV) exec python -W ignore -m local.demo

demo-bigquery: .venv/.dev .venv/.bqemulator/.installed ## The same with source, tables and offline store in an emulator of BigQuery.
	@PYTHONPATH=. exec .venv/bin/python -W ignore -m tests.bigquery.demo

check-bigquery: .venv/.runtime ## Ask BigQuery whether it lets the pipeline do its work, with your credentials and settings.
	@$(WITH_ENV) exec python -W ignore -m data_engineering check-bigquery

up: .venv/.runtime ## Serve Airflow's, MLflow's and Feast's pages until Ctrl-C.
	@$(WITH_ENV) exec python -W ignore -m local.up

shell: .venv/.runtime ## Open a shell in which `feast`, `airflow`, `mlflow` and `python` know this project.
	@echo 'The same in a shell of your own: source "$(CURDIR)/env.sh"'
	@$(WITH_ENV) exec "$${SHELL:-/bin/sh}"

test: lint types ## Lint, types, unit and structure tests, and beside them end to end under the real scheduler.
	@$(MAKE) --no-print-directory --jobs 2 unit e2e

lint: .venv/.dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	PYTHONPATH=. .venv/bin/lint-imports

types: .venv/.dev
	.venv/bin/mypy $(PACKAGES)

unit: .venv/.dev .venv/.bqemulator/.installed
	$(WITH_ENV) pytest -n 2 -m 'not sweep' tests/unit tests/faults

e2e: .venv/.dev .venv/.bqemulator/.installed
	$(WITH_ENV) pytest -m 'not sweep' tests/e2e
	$(WITH_ENV) pytest -m 'not sweep' tests/integration

faults: .venv/.dev .venv/.bqemulator/.installed .venv/.gcp/.installed ## Kill each step at many more points, Airflow's programs and a whole demo. 5 minutes, so not in `test`.
	$(WITH_ENV) pytest -n 2 -m sweep tests/unit tests/faults
	$(WITH_ENV) pytest -m sweep tests/e2e
	$(WITH_ENV) pytest -m sweep tests/integration

bench: .venv/.dev .venv/.bqemulator/.installed ## Measure what it costs. SCALE=100: up to 3 million rows. PART=..., SIZES=..., ROUNDS=...: docs/performance.md.
	@PYTHONPATH=. .venv/bin/python tests/benchmarks

test-browser: .venv/.dev ## Click through the pages in headless chromium, which has to be installed.
	$(WITH_ENV) pytest tests/browser

screenshots: .venv/.dev ## Take the pictures in docs/images anew, likewise in chromium.
	@$(WITH_ENV) exec python -W ignore -m tests.browser.screenshots

secrets: ## Write the secrets that docker-compose.yml requires into .env; what is there stays.
	@$(PYTHON) -m stack.make_secrets

backup: ## Back the running stack up, into a new folder below backups/ or TO=folder.
	@stack/backup.sh "$(or $(TO),backups)"

restore: ## Make the stack what it was: BACKUP=folder. What it holds now is lost.
	@stack/restore.sh "$(BACKUP)"

rebuild-online: ## Fill the stack's online store anew from the newest verified snapshot.
	@stack/rebuild.sh

test-stack: .venv/.dev ## Start stacks of its own in docker, and try logins, runs, kills, backup and runbooks on them. An hour.
	@tests/stack/run.sh

lock: .venv/.dev ## Resolve the requirements anew, to the newest versions that pyproject.toml allows.
	echo 'uv>=0.9' | $(COMPILE) - -o requirements/installer.lock
	$(COMPILE) pyproject.toml $(RUNTIME) -o requirements/runtime.lock
	$(COMPILE) pyproject.toml $(RUNTIME) $(STACK) -c requirements/runtime.lock -o requirements/stack.lock
	$(COMPILE) pyproject.toml $(RUNTIME) $(STACK) --extra aws --group dev -c requirements/stack.lock -o requirements/dev.lock
	cp requirements/stack.lock requirements/gcp.lock # uv changes of it what the provider does not bear, and no more
	$(filter-out --upgrade,$(COMPILE)) pyproject.toml $(RUNTIME) $(STACK) --extra gcp -o requirements/gcp.lock
	printf 'bqemulator==1.4.0\nduckdb==1.5.5\nnumpy\n' | $(COMPILE) - -o requirements/bigquery-emulator.lock

clean: ## Delete the environment and everything that runs have made.
	rm -rf .venv var

# --no-header: the header would repeat an index's address from the command line.
COMPILE := $(UV) pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-header --quiet

# Every extra but `gcp`, which is heavy and, on Python 3.11, wants an older protobuf: it has a lock of its own.
RUNTIME := --extra ui --extra bigquery
STACK := --extra redis --extra postgres --extra s3 --extra gs --extra stack

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

# An environment of its own: it pins an older DuckDB and protobuf than ours.
.venv/.bqemulator/.installed: $(UV) requirements/bigquery-emulator.lock
	@$(PYTHON) -m venv .venv/.bqemulator
	@$(UV) pip sync --quiet --compile-bytecode --require-hashes --python .venv/.bqemulator/bin/python requirements/bigquery-emulator.lock
	@touch $@

# The stack's packages and Airflow's Google provider: for the tests of its connection, and of XComs on gs://.
.venv/.gcp/.installed: $(UV) requirements/gcp.lock
	@echo 'installing the locked packages with the Google provider into .venv/.gcp (2.7 GB)'
	@$(PYTHON) -m venv .venv/.gcp
	@$(UV) pip sync --quiet --compile-bytecode --require-hashes --python .venv/.gcp/bin/python requirements/gcp.lock
	@touch $@
