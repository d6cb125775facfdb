"""Both DAGs with source, tables and offline store in BigQuery's emulator: what comes out is what the lake gives."""

import re
import subprocess
import sys

import pytest
from mlflow import MlflowClient

from tests.bigquery.demo import cloud
from tests.e2e.conftest import ROOT, SHORT_WAITS, leftovers
from tests.ports import free_ports

pytestmark = pytest.mark.sweep  # a whole demo on an emulator: minutes


@pytest.fixture(scope="module")
def in_bigquery(first_demo, environment_of, tmp_path_factory):
    """Return the end of a demo on an empty folder with its tables in BigQuery, and its environment."""
    folder = tmp_path_factory.mktemp("cloud")
    with cloud(folder) as settings:
        environment = environment_of(folder / "var", **free_ports(), **SHORT_WAITS, **settings)
        command = [sys.executable, "-W", "ignore", "-m", "local.demo"]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False
        )
        done.left_behind = leftovers(environment)
    return done, environment


def champion(environment):
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    version = client.get_model_version_by_alias("never_married", "champion")
    return version, client.get_run(version.run_id)


def test_both_dags_go_from_the_table_to_a_registered_model(in_bigquery):
    done, _ = in_bigquery
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"rows published +32,537", done.stdout)
    assert re.search(r"model +never_married version 1, alias champion", done.stdout)
    assert done.left_behind == []


def test_accuracy_and_training_set_are_the_embedded_runs_to_the_last_digit(in_bigquery, environment):
    (here, embedded), (there, emulated) = champion(environment), champion(in_bigquery[1])
    assert emulated.data.metrics["accuracy"] == embedded.data.metrics["accuracy"] == 0.8389934191243529
    assert there.tags["training_set.digest"] == here.tags["training_set.digest"]
    assert there.tags["snapshot_id"].partition("-")[2] == here.tags["snapshot_id"].partition("-")[2]
    assert there.tags["source"] == "bigquery://bigquery-public-data.ml_datasets.census_adult_income"
