#!/bin/sh
# `make test-stack`: a stack beside the one that may be running, under another name, and its end with all that it holds.
set -eu
export COMPOSE_PROJECT_NAME=census-test AIRFLOW_PORT="${AIRFLOW_PORT:-18080}" MLFLOW_PORT="${MLFLOW_PORT:-15000}" SERVING_PORT="${SERVING_PORT:-15002}"
trap 'docker compose --profile "*" down --volumes --remove-orphans' EXIT
docker compose up --build --wait
PYTHONPATH=. .venv/bin/python -m pytest --timeout 1500 tests/stack
