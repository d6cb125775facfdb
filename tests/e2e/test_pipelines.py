import pytest
import requests
from mlflow import MlflowClient

from training.models import never_married
from training.register import champion

PUBLISH, TRAIN = "publish_features", "train_never_married"


@pytest.fixture
def registry(environment) -> MlflowClient:
    return MlflowClient(environment["MLFLOW_TRACKING_URI"])


def test_unchanged_content_is_skipped_visibly_and_starts_no_training(up, finished):
    before = up.call("GET", f"/dags/{TRAIN}/dagRuns")["total_entries"]
    run = up.trigger(PUBLISH)
    states = finished(PUBLISH, run)
    assert states == dict.fromkeys(["extract", "clean", "validate", "prune"], "success") | dict.fromkeys(
        ["publish", "materialize", "verify"], "skipped"
    )
    log = str(up.log(PUBLISH, run, "publish"))
    assert "unchanged since the last verified one" in log
    assert "NOTICE publish_features" in log
    assert up.call("GET", f"/dags/{TRAIN}/dagRuns")["total_entries"] == before


def test_bad_source_fails_at_once_with_its_reason_and_changes_nothing(up, finished, registry, tmp_path):
    source = tmp_path / "broken.csv"
    source.write_text("39, State-gov\n")
    before = champion(registry, never_married).version
    run = up.trigger(PUBLISH, source=str(source))
    states = finished(PUBLISH, run)
    assert states["extract"] == "failed"
    assert set(states.values()) == {"failed", "upstream_failed"}
    assert up.tasks(PUBLISH, run)[0]["try_number"] == 1
    assert "broken.csv: line 1: Expected Number of Columns: 15 Found: 2" in up.failure(PUBLISH, run, "extract")
    assert champion(registry, never_married).version == before


def test_gate_below_the_minimum_skips_fit_register_and_promote(up, finished, registry):
    before = champion(registry, never_married).version
    run = up.trigger(TRAIN, min_accuracy=0.99)
    states = finished(TRAIN, run)
    ran = ["training_set", "cross_validate", "gate", "needs_approval", "report"]
    skipped = ["fit", "register", "approval", "promote"]
    assert states == dict.fromkeys(ran, "success") | dict.fromkeys(skipped, "skipped")
    reason = "accuracy 0.8390 is below the minimum of 0.9900"
    assert reason in str(up.log(TRAIN, run, "fit"))
    experiment = registry.get_experiment_by_name("never_married")
    logged = registry.search_runs([experiment.experiment_id], f"tags.pipeline_run = '{run}'")[0]
    assert logged.data.tags["gate"] == "refused"
    assert logged.data.tags["gate.reason"] == reason
    assert reason in logged.data.tags["mlflow.note.content"]
    assert champion(registry, never_married).version == before


@pytest.mark.parametrize("conf", [{"min_accuracy": 1.5}, {"min_accuracy": "high"}])
def test_param_that_makes_no_sense_is_refused_by_the_form(up, conf):
    with pytest.raises(requests.HTTPError, match="400"):
        up.trigger(TRAIN, **conf)


def test_backfill_is_refused(up):
    body = {"dag_id": PUBLISH, "from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-03T00:00:00Z"}
    with pytest.raises(requests.HTTPError, match="does not allow backfill runs"):
        up.call("POST", "/backfills", json=body)
    assert "the source keeps no history" in up.call("GET", f"/dags/{PUBLISH}/details")["doc_md"]


def test_nobody_gets_in_without_a_login(up):
    assert requests.get(f"{up.base}/api/v2/dags", timeout=30).status_code == 401
    wrong = requests.post(f"{up.base}/auth/token", json={"username": "admin", "password": "admin"}, timeout=30)
    assert wrong.status_code == 401
