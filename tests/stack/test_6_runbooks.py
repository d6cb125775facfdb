"""The commands of docs/operations.md that no other of these tests runs."""

import os

import pytest

from tests.stack.conftest import DAGS, compose, inside, until

PUBLISHING, TRAINING = DAGS
DATABASES = ("AIRFLOW", "MLFLOW", "FEAST", "SERVING")
OTHERS = ("STACK_REDIS_PASSWORD", "STACK_MLFLOW_TRAINING_PASSWORD", "STACK_JWT_SECRET", "STACK_MLFLOW_SECRET_KEY")


@pytest.fixture(scope="module")
def second(trained, admin, registry) -> str:
    """Train again, so that there is a version to go back from, and return it."""
    if registry.champion() == "1":
        run = admin.trigger(PUBLISHING, force=True)
        followed = until("the training", lambda: admin.started_by(TRAINING, run), 300)
        assert admin.ended(TRAINING, followed) == "success"
    return registry.champion()


def test_a_bad_model_is_taken_back(second, registry):
    said = inside(
        "scheduler", "python", "-m", "training", "rollback", "never_married", "--to", "1", "--reason", "a test"
    )
    assert registry.champion() == "1", said.stdout
    assert "a test" in inside("scheduler", "python", "-m", "training", "history", "never_married").stdout
    assert "census" in inside("scheduler", "python", "-m", "training", "lineage", "never_married@champion").stdout


def test_room_is_made(second):
    for area in ("data_engineering", "training"):
        inside("scheduler", "python", "-m", area, "prune", "--keep-days", "7")
    clean = ("airflow", "db", "clean", "--clean-before-timestamp", "2026-01-01", "--skip-archive", "--yes")
    inside("scheduler", *clean)


def test_secrets_are_rotated(second, admin, secrets):
    names = [*(f"STACK_{name}_DB_PASSWORD" for name in DATABASES), *OTHERS]
    rotated = {**os.environ, **{name: os.urandom(32).hex() for name in names}}
    try:
        for environment in (rotated, None):
            compose("up", "--wait", "--detach", "postgres", env=environment)
            compose("exec", "-T", "postgres", "/docker-entrypoint-initdb.d/postgres.sh", env=environment)
            compose("up", "--wait", "--detach", env=environment)
            until("Airflow", admin.healthy)
            admin.login()
            run = admin.trigger(PUBLISHING, force=True)
            assert admin.ended(PUBLISHING, run) == "success", admin.states(PUBLISHING, run)
            followed = until("the training", lambda run=run: admin.started_by(TRAINING, run))
            assert admin.ended(TRAINING, followed) == "success", admin.states(TRAINING, followed)
            if environment:
                login = {"user": "feast", "dbname": "feast", "password": secrets["STACK_FEAST_DB_PASSWORD"]}
                old = f"import psycopg; psycopg.connect(host='postgres', **{login})"
                assert "authentication failed" in inside("mlflow", "python", "-c", old, check=False, env=rotated).stderr
    finally:
        compose("up", "--wait", "--detach", "postgres")
        compose("exec", "-T", "postgres", "/docker-entrypoint-initdb.d/postgres.sh")
        compose("up", "--wait", "--detach")
