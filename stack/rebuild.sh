#!/bin/sh
# `make rebuild-online`: fill the online store anew from the newest verified snapshot, after it was lost or a backup restored.
set -eu
# Feast keeps a newer row than the one that is written; after a restore the newer one is wrong.
docker compose exec -T redis sh -c 'REDISCLI_AUTH=$FEAST_REDIS_PASSWORD redis-cli --user feast --no-auth-warning flushall' > /dev/null
docker compose run --rm --no-deps -T scheduler python -m data_engineering rebuild
