"""A second model under the real scheduler, and the person who is asked before it becomes champion."""

import time
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore
from mlflow import MlflowClient

from local.airflow_api import DONE
from training import lineage, reproduce

MODEL = "high_income"
DAG = f"train_{MODEL}"


@pytest.fixture
def aliases(environment):
    """Return where the model's aliases point."""
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    return lambda: {name: str(version) for name, version in client.get_registered_model(MODEL).aliases.items()}


def until(done, seconds: float = 200):
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return found


def state(up, run: str, task: str) -> str:
    return {found["task_id"]: found["state"] for found in up.tasks(DAG, run)}.get(task)


def cleared(up, run: str, *tasks: str) -> None:
    body = {"dag_run_id": run, "task_ids": tasks, "dry_run": False, "only_failed": False}
    up.call("POST", f"/dags/{DAG}/clearTaskInstances", json=body)


def asked_again(up, run: str) -> None:
    """Clear the question and the promotion, as a person does who wants to be asked again."""
    cleared(up, run, "approval", "promote")
    until(lambda: state(up, run, "approval") == "awaiting_input")


def answer(up, run: str, option: str) -> None:
    time.sleep(2)  # Airflow 3.3 fails a task that is answered before it has noted that the process which asked ended
    path = f"/dags/{DAG}/dagRuns/{run}/taskInstances/approval/-1/hitlDetails"
    up.call("PATCH", path, json={"chosen_options": [option], "params_input": {}})
    until(lambda: up.run(DAG, run)["state"] in DONE)


def test_a_promotion_waits_for_a_person_and_without_an_answer_or_with_no_there_is_none(up, environment, aliases):
    up.unpause(DAG)
    up.unpause("score_people")
    run = up.trigger(DAG, require_approval=True)
    until(lambda: state(up, run, "approval") == "awaiting_input")
    question = up.call("GET", f"/dags/{DAG}/dagRuns/{run}/taskInstances/approval/-1/hitlDetails")
    assert question["subject"] == "train_high_income: shall version 1 become champion?"
    assert question["body"].startswith("beats the best baseline, ")
    assert aliases() == {"challenger": "1"}

    until(lambda: up.run(DAG, run)["state"] in DONE)
    assert (state(up, run, "approval"), state(up, run, "promote")) == ("failed", "upstream_failed")
    assert "HITLTimeoutError" in up.failure(DAG, run, "approval")
    times = {found["task_id"]: found for found in up.tasks(DAG, run)}
    assert times["report"]["start_date"] < times["approval"]["end_date"]  # a person who is asked may read it first
    assert aliases() == {"challenger": "1"}

    asked_again(up, run)
    answer(up, run, "Reject")
    assert (state(up, run, "approval"), state(up, run, "promote")) == ("success", "skipped")
    assert aliases() == {"challenger": "1"}

    cleared(up, run, "promote")  # who wants another answer has to ask again
    until(lambda: up.run(DAG, run)["state"] in DONE and state(up, run, "promote"))
    assert state(up, run, "promote") == "skipped"
    assert aliases() == {"challenger": "1"}

    asked_again(up, run)
    answer(up, run, "Approve")
    assert state(up, run, "promote") == "success"
    assert aliases() == {"champion": "1"}

    mlflow.set_tracking_uri(environment["MLFLOW_TRACKING_URI"])
    found = lineage.resolve(MlflowClient(environment["MLFLOW_TRACKING_URI"]), f"{MODEL}@champion")
    assert reproduce.reproduce(FeatureStore(), found) == reproduce.Reproduction()

    folder = Path(environment["TRAINING_PREDICTIONS"], MODEL)
    (scored,) = until(lambda: list(folder.glob("[!.]*")))
    assert pq.read_metadata(scored).num_rows == 32_537
