"""What is kept when the stack goes down, loses a service, or is put back from a backup."""

import json
import subprocess
import time

import pytest

from tests.stack.conftest import DAGS, ROOT, compose, inside, until

PUBLISHING, TRAINING = DAGS
VERSIONS = {
    "airflow": ("alembic_version", "alembic_version_fab"),
    "mlflow": ("alembic_version",),
    "mlflow_auth": ("alembic_version_auth",),
}
ONLINE = """
import glob, json
import pyarrow.parquet as pq
from feast import FeatureStore
newest = sorted(glob.glob("/lake/census/*.parquet"))[-1]
persons = pq.read_table(newest, columns=["person_id"])["person_id"][::5000].to_pylist()
store = FeatureStore()
service = store.get_feature_service("never_married_training")
answer = store.get_online_features(service, [{"person_id": person} for person in persons]).to_dict()
print(json.dumps([newest, answer]))
"""


def online() -> tuple[str, dict[str, list[object]]]:
    """Return the newest snapshot's file and what the online store says of some of its persons."""
    newest, answer = json.loads(inside("scheduler", "python", "-W", "ignore", "-c", ONLINE).stdout.splitlines()[-1])
    return newest, answer


def sql(database: str, query: str) -> str:
    """Return what PostgreSQL says."""
    return inside("postgres", "psql", "-U", "postgres", "-d", database, "-Atc", query).stdout.strip()


def migrations() -> dict[str, str]:
    """Return at which version each database is."""
    return {
        f"{database}.{table}": sql(database, f"SELECT version_num FROM {table}")
        for database, tables in VERSIONS.items()
        for table in tables
    }


def script(name: str, *arguments: str) -> str:
    """Return the last line of what one of the stack's scripts says."""
    command = [str(ROOT / "stack" / name), *arguments]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture
def kept(trained, admin, registry):
    """Return a question that has to have the same answer before and after."""

    def answers() -> dict[str, object]:
        until("Airflow", admin.healthy)
        admin.login()
        return {
            "champion": registry.champion(),
            "runs": {dag: admin.run(dag, trained[dag])["state"] for dag in DAGS},
            "verified": sql("feast", "SELECT saved_dataset_name FROM saved_datasets ORDER BY 1"),
            "online": online(),
            "migrations": migrations(),
        }

    return answers


def test_a_second_up_changes_nothing(kept):
    before, containers = kept(), compose("ps", "--quiet").stdout
    assert None not in {value for values in before["online"][1].values() for value in values}
    since = time.strftime("%Y-%m-%dT%H:%M:%S")
    compose("up", "--wait", "--detach")
    assert compose("ps", "--quiet").stdout == containers
    assert kept() == before
    assert "Running upgrade" not in compose("logs", "--since", since, "migrate-airflow", "migrate-mlflow").stdout


def test_down_and_up_keep_models_registry_online_features_and_history(kept):
    before = kept()
    compose("down")
    compose("up", "--wait", "--detach")
    assert kept() == before


@pytest.mark.parametrize(
    "service", ["postgres", "redis", "mlflow", "api-server", "scheduler", "dag-processor", "triggerer"]
)
def test_a_service_that_is_killed_during_a_run_and_started_again_loses_nothing(kept, admin, registry, service):
    kept()  # logs in anew
    run = admin.trigger(PUBLISHING, force=True)
    until("its first task", lambda: "success" in admin.states(PUBLISHING, run).values())
    compose("kill", service)
    time.sleep(3)
    compose("up", "--wait", "--detach", "--no-recreate", service)
    until("Airflow", admin.healthy)
    state = admin.ended(PUBLISHING, run)
    if state == "failed":
        failed = next(task for task, end in admin.states(PUBLISHING, run).items() if end == "failed")
        assert admin.failure(PUBLISHING, run, failed) != "no error in its log"
        run = admin.trigger(PUBLISHING, force=True)
        assert admin.ended(PUBLISHING, run) == "success"
    followed = until("the training", lambda: admin.started_by(TRAINING, run))
    assert admin.ended(TRAINING, followed) == "success", admin.states(TRAINING, followed)
    newest, answer = online()
    assert set(answer["snapshot_id"]) == {newest.rpartition("/")[2].removesuffix(".parquet")}
    assert registry.champion()


def test_a_lost_online_store_is_filled_by_one_command(kept, secrets):
    before = kept()
    login = ["--user", "feast", "--pass", secrets["STACK_REDIS_PASSWORD"], "--no-auth-warning"]
    inside("redis", "redis-cli", *login, "FLUSHALL")
    assert set(online()[1]["age"]) == {None}
    assert "32,537 persons" in script("rebuild.sh")
    assert kept() == before


def test_a_restored_backup_is_the_stack_that_it_was_made_of(kept, admin, tmp_path):
    before = kept()
    backup = script("backup.sh", str(tmp_path))
    run = admin.trigger(PUBLISHING, force=True)
    assert admin.ended(PUBLISHING, run) == "success"
    until("the training, in the middle of which the stack is stopped", lambda: admin.started_by(TRAINING, run))
    gone = "WITH gone AS (DELETE FROM registered_model_aliases RETURNING name) SELECT count(*) > 0 FROM gone"
    assert sql("mlflow", gone) == "t"  # the training may set one again
    assert online() != before["online"]
    script("restore.sh", backup)
    assert kept() == before
    run = admin.trigger(PUBLISHING, force=True)
    assert admin.ended(PUBLISHING, run) == "success"
