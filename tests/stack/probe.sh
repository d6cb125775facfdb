#!/bin/sh
# Tests against the stack that `docker compose` is aimed at; arguments are pytest's.
set -eu
cd "$(dirname "$0")/../.."
PYTHONPATH=$PWD exec .venv/bin/python -m pytest -q --timeout 1500 "${@:-tests/stack}"
