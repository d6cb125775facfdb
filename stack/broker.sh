#!/bin/sh
# Celery's queue. Nothing is kept: the scheduler queues again what was lost.
set -eu
exec redis-server - <<CONFIG
requirepass $BROKER_PASSWORD
save ""
dir /tmp
CONFIG
