#!/bin/sh
# `make test-stack`: a stack beside any that runs, with a name, an image, ports and secrets of its own, and its end with all
# that it holds. Neither .env nor docker-compose.override.yml nor what a shell has set for another stack plays a part.
set -eu
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
# shellcheck disable=SC2046  # names, one a word
unset COMPOSE_PROFILES $(grep -o '\${[A-Z_]*' docker-compose.yml | tr -d '${')
COMPOSE_PROJECT_NAME=census-test-$$
COMPOSE_ENV_FILES=$folder/.env
COMPOSE_FILE=${TEST_STACK_COMPOSE_FILE:-docker-compose.yml}
STACK_VERSION=$COMPOSE_PROJECT_NAME
export COMPOSE_PROJECT_NAME COMPOSE_ENV_FILES COMPOSE_FILE STACK_VERSION PYTHONPATH=$PWD

end() {
    docker compose --profile '*' down --volumes --remove-orphans || true
    docker image rm "census-stack:$STACK_VERSION" > /dev/null || true
    rm -rf "$folder"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM

.venv/bin/python -m stack.make_secrets "$folder"
.venv/bin/python -m tests.ports AIRFLOW_PORT MLFLOW_PORT SERVING_PORT >> "$folder/.env"
docker compose up --build --wait
.venv/bin/python -m pytest --timeout 1500 "${@:-tests/stack}"
