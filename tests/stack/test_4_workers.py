"""With STACK_EXECUTOR=CeleryExecutor tasks run in workers, as many as wanted, that know no database of Airflow's."""

import os

import pytest

from tests.stack.conftest import DAGS, compose, until

PUBLISHING, TRAINING = DAGS
WORKERS_SECRETS = ("BROKER_PASSWORD", "FEAST_DB_PASSWORD", "REDIS_PASSWORD", "MLFLOW_TRAINING_PASSWORD")
CELERY = {**os.environ, "STACK_EXECUTOR": "CeleryExecutor", "STACK_WORKERS": "2"}


@pytest.fixture(scope="module")
def workers(trained, admin):
    """Switch to two workers, and back."""
    profile = ("--profile", "celery")
    compose(*profile, "up", "--wait", "--detach", env=CELERY)
    until("Airflow", admin.healthy)
    admin.login()
    names = compose(*profile, "ps", "worker", "--format", "{{.ID}}", env=CELERY).stdout.split()
    yield names
    compose(*profile, "rm", "--stop", "--force", "--volumes", "worker", "broker", env=CELERY)
    compose("up", "--wait", "--detach")


def test_tasks_run_in_the_workers(workers, admin):
    assert len(workers) == 2
    run = admin.trigger(PUBLISHING, force=True)
    assert admin.ended(PUBLISHING, run) == "success", admin.states(PUBLISHING, run)
    followed = until("the training", lambda: admin.started_by(TRAINING, run))
    assert admin.ended(TRAINING, followed) == "success", admin.states(TRAINING, followed)
    hosts = {task["hostname"] for task in admin.tasks(PUBLISHING, run) + admin.tasks(TRAINING, followed)} - {""}
    assert hosts
    assert hosts <= {name[:12] for name in workers}


def test_a_worker_has_the_secrets_of_its_tasks_and_no_others(workers, secrets):
    shown = compose("--profile", "celery", "exec", "-T", "worker", "env", env=CELERY).stdout
    known = {name for name, secret in secrets.items() if name.startswith("STACK_") and secret in shown}
    assert known == {f"STACK_{name}" for name in WORKERS_SECRETS}


def test_a_worker_that_is_killed_during_a_run_loses_nothing(workers, admin):
    run = admin.trigger(PUBLISHING, force=True)
    until("its first task", lambda: "success" in admin.states(PUBLISHING, run).values())
    compose("--profile", "celery", "kill", "worker", env=CELERY)
    compose("--profile", "celery", "up", "--wait", "--detach", env=CELERY)
    # A task that the worker had begun is missed after five minutes, one that it had only taken up after ten.
    state = admin.ended(PUBLISHING, run, seconds=1200)
    if state == "failed":
        run = admin.trigger(PUBLISHING, force=True)
        assert admin.ended(PUBLISHING, run) == "success"
