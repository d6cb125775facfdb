"""Both DAGs with lake, XComs and MLflow's artifacts on S3's emulator: what comes out is what a folder gives."""

import re
import subprocess
import sys

import boto3
import pytest
from mlflow import MlflowClient

from tests.e2e.conftest import ROOT, SHORT_WAITS, leftovers
from tests.objects import stores
from tests.ports import free_ports

pytestmark = pytest.mark.sweep  # a whole demo on an emulator: minutes
LAKE, XCOMS = "s3://census/demo", "s3://census/xcoms"


@pytest.fixture(scope="module")
def on_s3(environment_of, tmp_path_factory):
    """Give the end of a demo on an empty bucket, its environment, and the keys of all objects that it left."""
    folder = tmp_path_factory.mktemp("on_s3")
    with stores.running(folder / "stores") as settings, pytest.MonkeyPatch.context() as patch:
        places = {"DATA_LAKE": LAKE, "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": XCOMS}
        places |= {"AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "0"}  # else the ids are too short to go there
        environment = environment_of(folder / "var", **free_ports(), **SHORT_WAITS, **settings, **places)
        for name, value in settings.items():
            patch.setenv(name, value)
        command = [sys.executable, "-W", "ignore", "-m", "local.demo"]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False
        )
        done.left_behind = leftovers(environment)
        pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket="census")
        yield done, environment, [found["Key"] for page in pages for found in page.get("Contents", [])]


def test_both_dags_go_from_the_file_to_a_registered_model(on_s3):
    done, _, _ = on_s3
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"rows published +32,537", done.stdout)
    assert re.search(r"model +never_married version 1, alias champion", done.stdout)
    assert done.left_behind == []


def test_what_the_tasks_share_is_in_the_store_and_nothing_of_it_on_this_machine(on_s3):
    _, environment, keys = on_s3
    of_one_run = [key.split("/")[1:] for key in keys if key.startswith("xcoms/publish_features/")]
    assert {parts[2] for parts in of_one_run} >= {"extract", "clean", "validate", "publish", "materialize"}
    for prefix in ("demo/census/", "demo/training/never_married/", "demo/mlflow/never_married/"):
        assert any(key.startswith(prefix) for key in keys), f"{prefix} is empty"
    here = subprocess.run(["ls", environment["VAR_DIR"]], capture_output=True, text=True, check=True).stdout.split()
    assert not {"lake", "training"} & {*here}


def test_accuracy_and_training_set_are_those_of_a_folder_to_the_last_digit(on_s3, first_demo, environment):
    found = []
    for where in (on_s3[1], environment):
        client = MlflowClient(where["MLFLOW_TRACKING_URI"])
        version = client.get_model_version_by_alias("never_married", "champion")
        accuracy = client.get_run(version.run_id).data.metrics["accuracy"]
        found.append((accuracy, version.tags["training_set.digest"], version.tags["snapshot_id"].partition("-")[2]))
    assert found[0] == found[1]
