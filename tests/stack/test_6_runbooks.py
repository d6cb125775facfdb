"""The commands of docs/operations.md that no other of these tests runs."""

import gzip
import json
import os

import pytest

from tests.stack.clients import until
from tests.stack.conftest import DAGS, ROOT, compose, inside, printed, typed
from tests.stack.test_3_durability import sql

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


def test_a_bad_model_is_taken_back(second, registry, serving, person):
    history, rollback, restart = printed("**A bad model is champion.**")
    assert serving.predictions(person)[0]["version"] == second
    typed(rollback)
    assert registry.champion() == "1"
    assert "…" in typed(history)
    typed(restart)
    until("the former champion", lambda: serving.predictions(person)[0]["version"] == "1")
    lineage = inside("scheduler", "python", "-m", "training", "lineage", "never_married@champion").stdout
    assert "never_married 1 @champion" in lineage


def put(tmp_path, lines: list[str]) -> str:
    """Put a census file where the stack's tasks can read it, as the page says, and return its path there."""
    (tmp_path / "census.csv").write_text("\n".join(lines))
    typed(printed("A file as source")[0].replace("< census.csv", f"< {tmp_path}/census.csv"))
    return "/lake/incoming/census.csv"


def verified() -> set[str]:
    """Return the snapshots that training may read."""
    marks = sql("feast", "SELECT saved_dataset_name FROM saved_datasets").split()
    return {mark for mark in marks if mark.startswith("census_")}


def test_a_source_that_breaks_the_contract_changes_nothing_until_it_is_corrected(
    admin, registry, serving, person, tmp_path
):
    lines = gzip.decompress((ROOT / "data_engineering/data/adult.data.gz").read_bytes()).decode().splitlines()
    source, before = put(tmp_path, ["130" + lines[0][2:], *lines[1:]]), verified()
    served = serving.predictions(person)
    assert served[0]["error"] is None

    run = admin.trigger(PUBLISHING, source=source)
    assert admin.ended(PUBLISHING, run) == "failed"
    states = admin.states(PUBLISHING, run)
    assert (states["validate"], states["publish"]) == ("failed", "upstream_failed")
    assert "age: between 17 and 100: 1 rows" in admin.failure(PUBLISHING, run, "validate")
    report = json.loads(typed(printed("**A publish failed.**")[0]))
    assert [(b["column"], b["rule"], b["count"]) for b in report["breaches"]] == [("age", "between 17 and 100", 1)]
    assert report["breaches"][0]["samples"][0]["age"] == 130

    assert verified() == before
    assert serving.predictions(person) == served
    trained_now = admin.trigger(TRAINING, force=True)
    assert admin.ended(TRAINING, trained_now) == "success", admin.states(TRAINING, trained_now)
    version = admin.xcom(TRAINING, trained_now, "register")
    assert f"census_{registry.tags(str(version))['snapshot_id']}" == max(before)

    put(tmp_path, ["40" + lines[0][2:], *lines[1:]])
    run = admin.trigger(PUBLISHING, source=source)
    assert admin.ended(PUBLISHING, run) == "success", admin.states(PUBLISHING, run)
    assert len(verified() - before) == 1
    followed = until("the training", lambda: admin.started_by(TRAINING, run))
    assert admin.ended(TRAINING, followed) == "success", admin.states(TRAINING, followed)


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
