"""Both DAGs with lake, XComs and MLflow's artifacts on an object store's emulator: the outcome is a folder's.

On Google's in the environment that has Airflow's Google provider, whose connection signs the tasks in.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import fsspec
import pytest
from mlflow import MlflowClient

from tests.e2e.conftest import ROOT, SHORT_WAITS, leftovers
from tests.objects import accounts, stores
from tests.ports import free_ports

pytestmark = pytest.mark.sweep  # whole demos on emulators: minutes
WITH_PROVIDER = ROOT / ".venv/.gcp"
TASKS = {"extract", "clean", "validate", "publish", "materialize"}  # those of the first DAG that return something


@dataclass
class Demo:
    """The end of a demo on an empty bucket, its environment, and what it left: objects, programs, who wanted tokens."""

    environment: dict[str, str]
    done: subprocess.CompletedProcess[str]
    keys: list[str]
    left_behind: list[str]
    signed_in: set[str] = field(default_factory=set)


@pytest.fixture(scope="module", params=["s3", "gs"])
def on_objects(request, environment_of, tmp_path_factory):
    """Give a demo on each store; on Google's the machine has an account, and Airflow's connection another one."""
    store, folder = request.param, tmp_path_factory.mktemp(request.param)
    places = {
        "DATA_LAKE": f"{store}://census/demo",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": f"{store}://census/xcoms",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "0",  # else the ids are too short to go there
    }
    with stores.running(folder / "stores") as found, accounts.tokens() as (token_uri, signed_in):
        settings, python = {**found, **places, **free_ports(), **SHORT_WAITS}, Path(sys.executable)
        if store == "gs":
            settings |= of_two_accounts(folder, token_uri)
            python = WITH_PROVIDER / "bin/python"
        environment = environment_of(folder / "var", **settings)
        environment |= {"VIRTUAL_ENV": str(python.parents[1]), "PATH": f"{python.parent}:{environment['PATH']}"}
        command = [python, "-W", "ignore", "-m", "local.demo"]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False
        )
        yield Demo(environment, done, objects(store, found), leftovers(environment), signed_in)


def of_two_accounts(folder, token_uri):
    """Return settings that sign the machine in as one account, and give Airflow a connection of another one."""
    (folder / "machine.json").write_text(json.dumps(accounts.key("machine", token_uri)))
    extra = {"keyfile_dict": json.dumps(accounts.key("connection", token_uri))}
    return {
        "FSSPEC_GS_TOKEN": "google_default",
        "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "machine.json"),
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps({"conn_type": "google_cloud_platform", "extra": extra}),
    }


def objects(store, found):
    """Return the keys of all objects in the store's bucket."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.items():
            patch.setenv(name, value)
        options = {"s3": {}, "gs": {"token": "anon"}}[store]
        return [key.removeprefix("census/") for key in fsspec.filesystem(store, **options).find("census")]


def test_both_dags_go_from_the_file_to_a_registered_model(on_objects):
    done = on_objects.done
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"rows published +32,537", done.stdout)
    assert re.search(r"model +never_married version 1, alias champion", done.stdout)
    assert on_objects.left_behind == []


def test_what_the_tasks_share_is_in_the_store_and_nothing_of_it_on_this_machine(on_objects):
    of_one_run = [key.split("/")[1:] for key in on_objects.keys if key.startswith("xcoms/publish_features/")]
    assert {parts[2] for parts in of_one_run} >= TASKS
    for prefix in ("demo/census/", "demo/training/never_married/", "demo/mlflow/never_married/"):
        assert any(key.startswith(prefix) for key in on_objects.keys), f"{prefix} is empty"
    here = {path.name for path in Path(on_objects.environment["VAR_DIR"]).iterdir()}
    assert not {"lake", "training"} & here


def test_accuracy_and_training_set_are_those_of_a_folder_to_the_last_digit(on_objects, first_demo, environment):
    found = []
    for where in (on_objects.environment, environment):
        client = MlflowClient(where["MLFLOW_TRACKING_URI"])
        version = client.get_model_version_by_alias("never_married", "champion")
        accuracy = client.get_run(version.run_id).data.metrics["accuracy"]
        found.append((accuracy, version.tags["training_set.digest"], version.tags["snapshot_id"].partition("-")[2]))
    assert found[0] == found[1]


@pytest.mark.parametrize("on_objects", ["gs"], indirect=True)
def test_every_task_works_as_the_account_of_airflows_connection(on_objects):
    logs = {path.parent.name.partition("=")[2]: path.read_text() for path in logs_of(on_objects.environment)}
    assert {*logs} >= {*TASKS, "verify", "training_set", "fit", "register"}
    said = "Google Cloud: signed in as connection google_cloud_default says"
    assert {task for task, log in logs.items() if said not in log} == set()
    # No call is made for a token until a library wants one.
    assert on_objects.signed_in == {accounts.email("machine"), accounts.email("connection")}


def logs_of(environment):
    return Path(environment["AIRFLOW_HOME"]).glob("logs/dag_id=*/run_id=*/task_id=*/attempt=*.log")
