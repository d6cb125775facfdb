import random
import re

import mlflow
import pandas as pd
import pytest
from feast import FeatureStore
from mlflow import MlflowClient

from training import dataset as datasets
from training.encoded import as_served
from training.models import never_married
from training.workbench import training_set

STEPS = ["extract", "clean", "validate", "publish", "materialize", "verify", "prune",
         "training_set", "cross_validate", "gate"]  # fmt: skip
CENSUS_DIGEST = "e5d01bf8aa5c70e7e1a046116d96a18d48bb5db619f8f9e8e35a99519a338715"
TOGETHER = {"fit", "register", "needs_approval", "promote", "report"}


def test_demo_goes_from_the_source_file_to_a_registered_model(first_demo):
    assert first_demo.returncode == 0, first_demo.stdout + first_demo.stderr
    assert first_demo.stderr == ""
    text = first_demo.stdout
    done = re.findall(r"^  done +(\w+) +[\d.]+ s$", text, re.MULTILINE)
    assert (done[: len(STEPS)], set(done[len(STEPS) :])) == (STEPS, TOGETHER)
    for line in (
        r"rows read +32,561",
        r"rows cleaned +32,537",
        r"rows dropped +0 with nulls, 24 duplicates",
        r"rows published +32,537",
        r"snapshot +\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{16}",
        r"accuracy +0\.8390 ± 0\.0030 over 15 folds",
        r"gate +passed: accuracy 0\.8390 reaches the minimum of 0\.8000",
        r"champion +yes: beats the best baseline, logistic regression with 0\.8285, by \+0\.0105 \(p = ",
        r"model +never_married version 1, alias champion",
        r"report, in make up http://127\.0\.0\.1:\d+/#/experiments/\d+/runs/[0-9a-f]+/artifacts/report/report\.html",
        r"python -m training reproduce never_married@champion",
        r"prediction +never_married is (yes|no), probability 0\.\d{3}",
        r"make up",
    ):
        assert re.search(line, text), (line, text)


def test_demo_leaves_no_process_behind(first_demo):
    assert first_demo.left_behind == []


def test_registered_model_can_be_explained_and_predicts(first_demo, environment):
    mlflow.set_tracking_uri(environment["MLFLOW_TRACKING_URI"])
    client = MlflowClient()
    version = client.get_model_version_by_alias("never_married", "champion")
    run = client.get_run(version.run_id)
    dataset = training_set("never_married")
    assert version.tags["snapshot_id"] == dataset.snapshot_id
    assert version.tags["training_set.digest"] == dataset.digest == CENSUS_DIGEST
    assert run.data.metrics["accuracy"] == pytest.approx(0.8390, abs=5e-5)
    assert len(client.get_metric_history(version.run_id, "fold_accuracy")) == 15
    assert {item.path for item in client.list_artifacts(version.run_id)} == {
        "confusion_matrix.png",
        "evaluation",
        "importance.png",
        "report",
        "roc_curve.png",
    }
    assert run.inputs.dataset_inputs[0].dataset.name == "never_married_training"
    model = mlflow.pyfunc.load_model("models:/never_married@champion")
    rows = dataset.rows.head(200)
    answers = model.predict(rows)
    pipeline = mlflow.sklearn.load_model("models:/never_married@champion")
    assert answers["probability"].tolist() == pipeline.predict_proba(rows)[:, 1].tolist()
    assert answers["prediction"].tolist() == pipeline.predict(rows).tolist()


def test_a_thousand_persons_are_the_same_offline_online_and_in_the_model(first_demo, environment, monkeypatch):
    """Value by value and type by type: what a training reads, what the online store says, what the model receives."""
    mlflow.set_tracking_uri(environment["MLFLOW_TRACKING_URI"])
    store = FeatureStore()
    table = datasets.pull(never_married, store)
    sample = table.take(random.Random(1).sample(range(len(table)), 1_000))
    asked = sample.select(["person_id"]).to_pandas()
    by_person = mlflow.pyfunc.load_model("models:/never_married_by_person@champion")
    champion, received = by_person.unwrap_python_model().champion, []
    answer = champion.pipeline.predict_proba
    monkeypatch.setattr(champion.pipeline, "predict_proba", lambda rows: received.append(rows) or answer(rows))
    answers = by_person.predict(asked)
    offline = as_served(sample.select(champion.columns).to_pandas())
    online = store.get_online_features(store.get_feature_service("never_married"), asked.to_dict("records")).to_df()
    for found in (online[champion.columns], received[0].reset_index(drop=True)):
        pd.testing.assert_frame_equal(found, offline, check_exact=True)
        assert all(found[name].map(type).equals(offline[name].map(type)) for name in offline)
    assert answers["error"].isna().all()
    assert answers["probability"].tolist() == answer(offline)[:, 1].tolist()
