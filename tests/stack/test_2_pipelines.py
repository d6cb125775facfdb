"""Both pipelines in the stack, what they leave, and the champion served by person id."""

import sys
from datetime import datetime

import requests

from tests.stack.conftest import DAGS


def test_the_training_that_the_asset_started_made_a_champion(trained, admin, registry):
    run = trained["train_never_married"]
    assert admin.states("train_never_married", run)["promote"] == "success"
    assert registry.champion() == str(admin.xcom("train_never_married", run, "register"))


def test_both_runs_take_this_long(trained, admin, capsys):
    runs = [admin.run(dag, trained[dag]) for dag in DAGS]
    first, last = runs[0]["start_date"], runs[1]["end_date"]
    seconds = (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
    with capsys.disabled():
        sys.stdout.write(f"\nboth DAG runs: {seconds:.0f} s\n")
    assert seconds < 600


def test_the_runs_logs_say_run_and_snapshot(trained, admin):
    snapshot = admin.xcom("publish_features", trained["publish_features"], "publish")
    said = " ".join(str(entry) for entry in admin.log("publish_features", trained["publish_features"], "verify"))
    assert snapshot in said


def test_serving_wants_its_token(serving, secrets):
    ask = {"dataframe_records": [{"person_id": "nobody"}]}
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": secrets["STACK_SERVING_TOKEN"]}):
        assert requests.post(f"{serving.base}/invocations", json=ask, headers=headers, timeout=60).status_code == 401
        assert requests.get(f"{serving.base}/docs", headers=headers, timeout=60).status_code == 401
    assert requests.get(f"{serving.base}/ping", timeout=60).status_code == 200


def test_the_champion_answers_by_person_id(serving, registry, person):
    known, unknown = serving.predictions(person, "nobody")
    assert known["error"] is None
    assert known["version"] == registry.champion()
    assert 0 < known["probability"] < 1
    assert "not in the online store" in unknown["error"]
