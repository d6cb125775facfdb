#!/bin/sh
# `make backup`: what a stack needs to be again, into a new folder. The stack may be at work meanwhile.
# The order matters: databases before files, and what refers before what is referred to, so nothing that is added meanwhile
# can be missing. What is pruned or erased meanwhile can. Drafts and the online store are left out; `make rebuild-online`
# fills it from the lake.
set -eu
umask 077

parent=${1:-backups}
mkdir -p "$parent"
folder=$parent/$(date -u +%Y%m%dT%H%M%SZ)
draft=$(mktemp -d "$parent/.draft.XXXXXX")
trap 'rm -rf "$draft"' EXIT
trap 'exit 1' HUP INT TERM

for database in airflow mlflow mlflow_auth feast; do
    docker compose exec -T postgres pg_dump --username postgres --format custom --no-owner --no-acl "$database" > "$draft/$database.dump"
done
# With 1 tar tells that files came or went while it read their folder.
docker compose run --rm --no-deps -T files sh -c 'tar -C / --exclude=".*" -c lake artifacts || [ $? -eq 1 ]' > "$draft/files.tar"
(cd "$draft" && sha256sum -- *.dump files.tar > SHA256SUMS)
mv "$draft" "$folder"
trap - EXIT
echo "$folder"
