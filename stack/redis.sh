#!/bin/sh
# Users and passwords reach the server through its standard input: not on a command line, not in a file.
set -eu
exec redis-server - <<CONFIG
user default off
user feast on >$FEAST_REDIS_PASSWORD ~* +@all -@admin
user serving on >$SERVING_REDIS_PASSWORD ~* +@read +@connection
dir /data
appendonly yes
maxmemory-policy noeviction
CONFIG
