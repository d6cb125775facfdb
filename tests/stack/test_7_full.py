"""A disk and a Redis that take no more: what is there stays whole, and what was to be written is once there is room."""

import os

import pytest

from tests.stack.clients import until
from tests.stack.conftest import DAGS, compose, configured, docker, inside, printed, typed
from tests.stack.test_3_durability import online

PUBLISHING, TRAINING = DAGS
SMALL_DISK = {
    **os.environ,
    "COMPOSE_FILE": f"{os.environ.get('COMPOSE_FILE', 'docker-compose.yml')}:tests/stack/full.yml",
}
SMALL_REDIS = {**os.environ, "STACK_REDIS_MEGABYTES": "64"}
LAST_TRY = 3


def files() -> list[str]:
    """Return each file of the lake with its size, but for the one that fills it."""
    found = inside("scheduler", "find", "/lake", "-type", "f", "-not", "-name", "ballast", "-printf", "%P %s\n").stdout
    return sorted(found.splitlines())


def failed(admin, run: str, task: str) -> str:
    """Return what a task said when it gave up, which the run did too."""
    assert admin.ended(PUBLISHING, run) == "failed"
    assert admin.states(PUBLISHING, run)[task] == "failed"
    return admin.failure(PUBLISHING, run, task, LAST_TRY)


def completed(admin, run: str, task: str) -> None:
    """Clear a task, and see its run and the training after it succeed."""
    admin.clear(PUBLISHING, run, task)
    until("the run at work again", lambda: admin.run(PUBLISHING, run)["state"] != "failed")
    assert admin.ended(PUBLISHING, run) == "success", admin.states(PUBLISHING, run)
    followed = until("the training", lambda: admin.started_by(TRAINING, run))
    assert admin.ended(TRAINING, followed) == "success", admin.states(TRAINING, followed)


@pytest.fixture
def small_lake(trained, admin):
    """Move the lake to a small disk, and back afterwards with what is new."""
    project = configured()["name"]
    try:
        compose("up", "--wait", "--detach", "scheduler", env=SMALL_DISK)
        inside("scheduler", "cp", "-a", "/kept/.", "/lake/")
        until("Airflow", admin.healthy)
        admin.login()
        yield
        inside("scheduler", "sh", "-c", "rm -f /lake/ballast; cp -a /lake/. /kept/")
    finally:
        compose("up", "--wait", "--detach", "scheduler")
        docker("volume", "rm", f"{project}_small")


def test_a_full_disk_leaves_nothing_torn_and_the_run_completes_once_there_is_room(small_lake, admin):
    before = files()
    inside("scheduler", "sh", "-c", "cat /dev/zero > /lake/ballast", check=False)
    run = admin.trigger(PUBLISHING, force=True)
    assert "No space left on device" in failed(admin, run, "extract")
    assert files() == before
    inside("scheduler", "rm", "/lake/ballast")
    for command in (*printed("**A disk is full.**"), "docker compose up --wait"):
        typed(command, env=SMALL_DISK)
    completed(admin, run, "extract")


def redis(script: str) -> None:
    """Run a script beside Redis, in which `$cli` is a client that is logged in."""
    login = "export REDISCLI_AUTH=$FEAST_REDIS_PASSWORD cli='redis-cli --user feast --no-auth-warning'; "
    inside("redis", "sh", "-c", login + script)


@pytest.fixture
def full_redis(trained, admin):
    """Let Redis hold more than it may; afterwards nothing of that is left."""
    many = "x=$(head -c 10000 /dev/zero | tr '\\0' x); for i in $(seq 3000); do echo set ballast:$i $x; done"
    try:  # up to the last byte it would still replace rows by others of their size
        redis(f"{{ {many}; }} | $cli > /dev/null")
        typed("docker compose up --wait redis", env=SMALL_REDIS)
        yield
        redis("$cli --scan --pattern 'ballast:*' | xargs -r $cli del")
    finally:
        typed("docker compose up --wait redis")


def test_a_full_redis_serves_what_it_has_and_takes_the_rest_once_it_may(full_redis, admin, serving, person):
    served = serving.predictions(person)
    assert served[0]["error"] is None
    old = set(online()[1]["snapshot_id"])
    run = admin.trigger(PUBLISHING, force=True)
    assert "OutOfMemoryError: command not allowed when used memory > 'maxmemory'" in failed(admin, run, "materialize")
    newest, rows = online()
    snapshot = newest.rpartition("/")[2].removesuffix(".parquet")
    assert set(rows["snapshot_id"]) <= {*old, snapshot}
    assert None not in {value for values in rows.values() for value in values}
    assert serving.predictions(person) == served
    typed("docker compose up --wait redis")
    completed(admin, run, "materialize")
    assert set(online()[1]["snapshot_id"]) == {snapshot}
