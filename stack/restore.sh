#!/bin/sh
# `make restore BACKUP=folder`: make the stack what it was at a backup. What it holds now is lost.
set -eu

folder=${1:?which backup? make restore BACKUP=folder}
(cd "$folder" && sha256sum --quiet --check SHA256SUMS)
psql="docker compose exec -T postgres psql --no-psqlrc --quiet --username postgres --set ON_ERROR_STOP=1"

docker compose create migrate-airflow  # on another machine there is no image yet, and the service `files` builds none
more=$(docker compose --profile serving --profile celery ps --services --status running | grep -xE 'serving|worker|broker' || true)
docker compose --profile serving --profile celery stop
docker compose up --wait postgres redis
for dump in airflow:airflow mlflow:mlflow mlflow_auth:mlflow feast:feast; do
    database=${dump%:*} owner=${dump#*:}
    $psql --dbname postgres --command "DROP DATABASE IF EXISTS $database WITH (FORCE)"
done
docker compose exec -T postgres /docker-entrypoint-initdb.d/postgres.sh
for dump in airflow:airflow mlflow:mlflow mlflow_auth:mlflow feast:feast; do
    database=${dump%:*} owner=${dump#*:}
    docker compose exec -T postgres pg_restore --username postgres --exit-on-error --no-owner --role "$owner" --dbname "$database" < "$folder/$database.dump"
done
docker compose run --rm --no-deps -T files sh -c 'find /lake /artifacts -mindepth 1 -delete && tar -C / -x' < "$folder/files.tar"
rebuilt=0
"$(dirname "$0")/rebuild.sh" || rebuilt=$?  # before the scheduler is up, which takes up the backup's unfinished runs
docker compose up --wait
# shellcheck disable=SC2086  # names, one a word
[ -z "$more" ] || docker compose --profile serving --profile celery up --wait $more
exit "$rebuilt"  # a backup without a verified snapshot has nothing to fill the online store with, and its stack runs
