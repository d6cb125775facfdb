"""Airflow's own task processes killed in mid-run, and two runs asked for at once."""

import os
import re
import signal
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from local.airflow_api import DONE
from training import aliases
from training.models import never_married
from training.register import champion, versions

PUBLISH, TRAIN = "publish_features", "train_never_married"
WORK = ["training_set", "cross_validate", "gate", "fit", "register", "needs_approval", "promote", "report"]
TRAINED = {**dict.fromkeys(WORK, "success"), "approval": "skipped"}


@pytest.fixture
def kill(up):
    """Kill the process of a task's first try, some time after it began its work, as `kill -9` does."""

    def when_running(dag: str, run: str, task: str, seconds: float) -> None:
        deadline = time.monotonic() + 120
        while True:
            found = {instance["task_id"]: instance for instance in up.tasks(dag, run)}.get(task, {})
            if found.get("state") == "running" and found["pid"]:
                break
            assert up.run(dag, run)["state"] not in DONE, found
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        time.sleep(seconds)
        os.kill(found["pid"], signal.SIGKILL)

    return when_running


def test_two_runs_at_once_with_tasks_killed_end_as_undisturbed_ones_do(up, finished, kill, environment):
    """The first is forced, and its tasks and its training's are killed; the second waits and finds nothing new."""
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    before = len(versions(client, never_married))
    published, second = up.trigger(PUBLISH, force=True), up.trigger(PUBLISH)
    kill(PUBLISH, published, "materialize", 1.0)
    assert set(finished(PUBLISH, published).values()) == {"success"}
    trained = started_by(up, published)
    kill(TRAIN, trained, "fit", 0.3)
    assert finished(TRAIN, trained) == TRAINED
    tries = {task["task_id"]: task["try_number"] for run in ((PUBLISH, published), (TRAIN, trained))
             for task in up.tasks(*run)}  # fmt: skip
    assert {task for task, number in tries.items() if number > 1} == {"materialize", "fit"}

    states = finished(PUBLISH, second)
    assert states["publish"] == states["materialize"] == states["verify"] == "skipped"
    assert up.run(PUBLISH, second)["start_date"] >= up.run(PUBLISH, published)["end_date"]

    after = champion(client, never_married)
    assert len(versions(client, never_married)) == before + 1
    assert (after.tags["pipeline_run"], after.tags["snapshot.run"]) == (trained, published)
    event = rf"census_features at \S+ by {PUBLISH} run {re.escape(published)}"
    assert re.fullmatch(event, after.tags["asset.event"])
    assert aliases.history(client, "never_married")[-1].by == trained
    assert after.tags["accuracy"] == client.get_model_version("never_married", "1").tags["accuracy"]
    experiment = client.get_experiment_by_name("never_married").experiment_id
    (run,) = client.search_runs([experiment], f"tags.pipeline_run = '{trained}'")
    assert run.info.status == "FINISHED"
    assert len(client.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'")) == 1
    check_nothing_half_done(environment)


def started_by(up, published: str) -> str:
    deadline = time.monotonic() + 60
    while not (trained := up.started_by(TRAIN, published)):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return trained


def check_nothing_half_done(environment: dict[str, str]) -> None:
    folder = Path(environment["DATA_LAKE"])
    assert list(folder.rglob(".*")) == []
    assert [batch for batch in folder.glob("staging/*") if not (batch / "manifest.json").exists()] == []
