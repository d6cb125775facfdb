"""What an operator sees of the runs: OpenLineage's events, metrics, and the tasks' logs."""

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureStore

from data_engineering.settings import BUNDLED_SOURCE
from training import features

PUBLISH, TRAIN = "publish_features", "train_never_married"
FEATURES = ("feast", "census/census")
MODEL, CHAMPION = ("mlflow", "never_married"), ("mlflow", "never_married/champion")


@pytest.fixture(scope="module")
def events(runs, stack) -> dict[str, list[dict[str, Any]]]:
    """Return OpenLineage's events of the publication and its training by job, in the order of their times."""
    wanted = {runs.published, runs.trained}
    told = [json.loads(path.read_text()) for path in stack.lineage.iterdir()]
    found = defaultdict(list)
    for event in sorted(told, key=lambda event: event["eventTime"]):
        facets = event["run"]["facets"]
        if facets.get("airflow", facets.get("airflowDagRun", {})).get("dagRun", {}).get("run_id") in wanted:
            found[event["job"]["name"]].append(event)
    return found


def below(path: str | Path) -> tuple[str, str]:
    """Return the name that a place in the file system has in an event."""
    return "file://", str(path).lstrip("/")


def datasets(events: list[dict[str, Any]], side: str) -> set[tuple[str, str]]:
    """Return the datasets on one side of a job's last event."""
    return {(dataset["namespace"], dataset["name"]) for dataset in events[-1][side]}


def test_each_task_and_both_dags_told_their_start_and_their_end(events, runs):
    jobs = {f"{dag}.{task}" for dag, _, task in runs.tasks()} | {PUBLISH, TRAIN}
    assert jobs <= set(events)
    for job in jobs:
        kinds = [event["eventType"] for event in events[job]]
        killed = job == f"{TRAIN}.fit"
        assert kinds[-1] == "COMPLETE", job
        assert kinds.count("COMPLETE") == 1, job
        assert kinds.count("START") in ({1, 2} if killed else {1}), job  # it may be killed before it told its start
        assert {event["job"]["namespace"] for event in events[job]} == {"census"}


def test_the_events_lead_from_the_source_to_the_champion(events, stack):
    lake, workspace = stack.environment["DATA_LAKE"], stack.environment["TRAINING_WORKSPACE"]
    staging, snapshots, training = (
        below(f"{lake}/staging"),
        below(f"{lake}/census"),
        below(f"{workspace}/never_married"),
    )
    flow = {
        f"{PUBLISH}.extract": ({below(BUNDLED_SOURCE)}, {staging}),
        f"{PUBLISH}.publish": ({staging}, {snapshots}),
        f"{PUBLISH}.materialize": ({snapshots}, {FEATURES}),
        f"{PUBLISH}.verify": ({snapshots}, {FEATURES}),
        f"{TRAIN}.training_set": ({FEATURES}, {training}),
        f"{TRAIN}.cross_validate": ({training}, set()),
        f"{TRAIN}.fit": ({training}, set()),
        f"{TRAIN}.register": ({training}, {MODEL}),
        f"{TRAIN}.promote": ({MODEL}, {CHAMPION}),
    }
    assert {job: (datasets(events[job], "inputs"), datasets(events[job], "outputs")) for job in flow} == flow


def test_the_events_of_assets_name_snapshot_and_version(events):
    snapshot_id = features.snapshot(FeatureStore())["snapshot_id"]
    assert snapshot_id in events[f"{PUBLISH}.verify"][-1]["run"]["facets"]["airflow"]["task"]["outlets"]
    assert "'version': '1'" in events[f"{TRAIN}.promote"][-1]["run"]["facets"]["airflow"]["task"]["outlets"]


def test_no_event_holds_a_password(events, stack):
    told = json.dumps(events)
    secrets = {*stack.postgres.passwords.values(), stack.redis.password, stack.environment["MLFLOW_TRACKING_PASSWORD"]}
    assert [secret for secret in secrets if secret in told] == []


def test_metrics_of_scheduler_and_tasks_reach_the_collector(runs, stack):
    wanted = {"airflow.scheduler_heartbeat", "airflow.ti.finish", "airflow.dagrun.duration.success"}
    deadline = time.monotonic() + 20
    while missing := wanted - stack.metrics:
        assert time.monotonic() < deadline, (missing, sorted(stack.metrics))
        time.sleep(0.2)


def test_each_tasks_log_names_its_run_and_its_snapshot(up, runs):
    snapshot_id = features.snapshot(FeatureStore())["snapshot_id"]
    batch = snapshot_id.rpartition("-")[0]
    unnamed = {"prune", "needs_approval"}  # the one is about all snapshots, the other about a version
    for dag, run, task in runs.tasks():
        attempt = 2 if task == "fit" else 1  # the killed one
        log = str(up.log(dag, run, task, attempt))
        assert f"RUN {dag} {run} {task}: given" in log, task
        assert batch in log or task in unnamed, task
        assert task not in {"training_set", "fit", "register"} or f", snapshot {snapshot_id}" in log, task
