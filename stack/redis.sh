#!/bin/sh
# Users and passwords reach the server through its standard input: not on a command line, not in a file.
# Nobody logs in as `default`; the server itself reads its file as that user, and Redis 7.0 leaves out, with no more than a
# line in its log, what a script wrote if that user may not write it.
# Of the container's memory it takes 60 % and then refuses writes; the rest is for rewriting its file. A Redis that is
# killed for its memory would load the same rows again, and be killed again.
set -eu
exec redis-server - <<CONFIG
user default off ~* &* +@all
user feast on >$FEAST_REDIS_PASSWORD ~* +@all -@admin
user serving on >$SERVING_REDIS_PASSWORD ~* +@read +@connection
dir /data
appendonly yes
maxmemory $((MEGABYTES * 6 / 10))mb
maxmemory-policy noeviction
CONFIG
