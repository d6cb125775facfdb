"""training/steps.py: the whole chain on the small store and a real MLflow, each task called twice as a retry would."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from training import dataset as datasets, evaluate, register as registry, steps, tracking
from training.errors import TrainingError
from training.gate import decide
from training.models import ModelEntry, never_married
from training.records import Decision, Evaluation, Rules
from training.settings import Settings
from training.slices import slices

MODEL = "never_married"
RECORDS = {"evaluation": Evaluation, "rules": Rules, "decision": Decision}


@dataclass(frozen=True)
class Trained:
    """What the tasks of one pipeline run returned, and a client to look at what they left."""

    client: MlflowClient
    path: str
    run_id: str
    decision: dict[str, Any]
    model_id: str
    version: str


def until_gate(settings: Settings, run: str, times: int = 1, **rules: Any) -> tuple[dict[str, str], dict[str, Any]]:
    for _ in range(times):
        data = steps.training_set(settings, MODEL, run, None)
    for _ in range(times):
        steps.cross_validate(settings, MODEL, data["path"], data["run_id"])
    for _ in range(times):
        decision = steps.gate(settings, data["run_id"], {"min_accuracy": 0.7, **rules})
    return data, decision


def trained(settings: Settings, run: str, times: int = 1, **rules: Any) -> Trained:
    data, decision = until_gate(settings, run, times, **rules)
    run_id = data["run_id"]
    assert decision["passed"], decision
    for _ in range(times):
        fitted = steps.fit(settings, MODEL, data["path"], run_id)
    for _ in range(times):
        version = steps.register(settings, MODEL, run_id, fitted)
    promotions = [steps.promote(settings, MODEL, version) for _ in range(times)]
    assert all(promotion == decision for promotion in promotions)
    client = tracking.connect(settings)
    return Trained(client, data["path"], run_id, decision, fitted, version)


@pytest.fixture
def chain(publisher, settings) -> Trained:
    return trained(settings, "scheduled__1", times=2)


def champion(client: MlflowClient) -> str:
    return str(client.get_model_version_by_alias(MODEL, "champion").version)


def check_nothing_is_doubled(chain: Trained) -> None:
    client = chain.client
    experiment = client.get_experiment_by_name(MODEL)
    assert [run.info.run_id for run in client.search_runs([experiment.experiment_id])] == [chain.run_id]
    logged = client.search_logged_models([experiment.experiment_id])
    assert {model.name: model.model_id for model in logged}[MODEL] == chain.model_id
    assert sorted(model.name for model in logged) == [MODEL, f"{MODEL}_by_person"]
    assert [str(version.version) for version in client.search_model_versions(f"name = '{MODEL}'")] == [chain.version]
    metrics = client.get_run(chain.run_id).data.metrics
    assert set(metrics) >= {"accuracy", "accuracy_std", "roc_auc", "log_loss", "fold_accuracy"}
    for name in metrics:
        points = [point.step for point in client.get_metric_history(chain.run_id, name)]
        assert points == (list(range(15)) if "fold_" in name else [0]), name
    assert len(client.get_run(chain.run_id).inputs.dataset_inputs) == 1
    assert len(list(Path(chain.path).parent.iterdir())) == 1


def check_the_run_tells_how_it_went(chain: Trained) -> None:
    run = chain.client.get_run(chain.run_id)
    accuracy = run.data.metrics["accuracy"]
    assert (run.info.status, run.info.run_name) == ("FINISHED", "scheduled__1")
    assert run.data.tags["accuracy"] == repr(accuracy)
    reason = chain.decision["reason"]
    assert run.data.tags["mlflow.note.content"] == (
        f"Gate passed: accuracy {accuracy:.4f} reaches the minimum of 0.7000. Promotion: yes: {reason}."
    )
    assert reason.endswith("; there was no champion")
    assert run.data.params["deterministic"] == "True"
    assert {file.path for file in chain.client.list_artifacts(chain.run_id)} == {"evaluation"}
    assert (run.data.tags["promotion"], run.data.tags["promotion.reason"]) == ("yes", reason)
    assert champion(chain.client) == chain.version == run.data.tags["version"]


def check_the_version_says_where_it_comes_from(chain: Trained, publisher) -> None:
    tags = chain.client.get_model_version(MODEL, chain.version).tags
    (mark,) = [dataset.tags for dataset in publisher.store.list_saved_datasets(tags={"verified": "true"})]
    data = datasets.load(never_married, chain.path)
    expected = {
        "pipeline_run": "scheduled__1",
        "run_id": chain.run_id,
        "git_commit": "0123456789abcdef",
        "snapshot_id": publisher.first,
        "snapshot.event_timestamp": mark["event_timestamp"],
        "snapshot.run": mark["run"],
        "source": mark["source"],
        "source.sha256": mark["source_sha256"],
        "training_set.digest": data.digest,
        "training_set.rows": "300",
        "feast.feature_view": "census",
        "feast.feature_service": "never_married",
        "feast.training_service": "never_married_training",
        "label": "marital_status = Never-married",
        "gate": "passed",
        "min_accuracy": "0.7",
        "champion.met": "none",
        "recipe": registry.recipe_digest(evaluate.recipe(never_married, data)),
    }
    assert {name: tags.get(name) for name in expected} == expected


def check_the_dataset_is_shown_with_its_source(chain: Trained, publisher) -> None:
    (shown,) = chain.client.get_run(chain.run_id).inputs.dataset_inputs
    data = datasets.load(never_married, chain.path)
    assert (shown.dataset.source_type, shown.dataset.digest) == ("feast", data.digest[:36])
    assert json.loads(shown.dataset.source)["snapshot_id"] == publisher.first


def check_the_model_answers_as_the_pipeline_does(chain: Trained, publisher) -> None:
    data = datasets.load(never_married, chain.path)
    fitted = evaluate.fit(evaluate.recipe(never_married, data), data)
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}@champion")
    answer = model.predict(data.rows)
    wanted = fitted.predict_proba(data.inputs)[:, 1]
    assert answer["probability"].tolist() == wanted.tolist()
    assert answer["prediction"].tolist() == fitted.predict(data.inputs).tolist()
    assert 0 < answer["prediction"].mean() < 1
    pd.testing.assert_frame_equal(model.predict(data.rows.iloc[[7]]), answer.iloc[[7]])
    (projection,) = publisher.store.get_feature_service(MODEL).feature_view_projections
    assert model.metadata.get_input_schema().input_names() == list(data.inputs.columns)
    assert set(data.inputs.columns) == {feature.name for feature in projection.features}
    with pytest.raises(MlflowException, match=r"missing inputs \['age'\]"):
        model.predict(data.rows.drop(columns="age"))


def check_the_model_has_no_pickle(chain: Trained) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{MODEL}/{chain.version}"))
    # Whoever loads the model from a folder that can be written gets Python's own cache of its code beside it.
    files = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    names = {path.relative_to(folder).as_posix() for path in files}
    assert "model.skops" in names
    assert [name for name in names if re.search(r"\.(pkl|pickle|joblib|cloudpickle|bin|pyc)$", name)] == []
    assert [name for name in names if b"\x80\x04\x95" in (folder / name).read_bytes()] == []
    assert "cloudpickle" not in (folder / "requirements.txt").read_text()


def check_the_model_has_no_persons_row(chain: Trained) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{MODEL}/{chain.version}"))
    example = json.loads((folder / "serving_input_example.json").read_text())["dataframe_split"]
    inputs = datasets.load(never_married, chain.path).inputs
    assert dict(zip(example["columns"], *example["data"], strict=True)) == inputs.mode().iloc[0].to_dict()


def test_a_training_with_every_task_tried_twice(chain: Trained, publisher, settings):
    """One training serves all checks: it takes seconds, and none of them changes what it left."""
    check_nothing_is_doubled(chain)
    check_the_run_tells_how_it_went(chain)
    check_the_decision_can_be_made_again(chain, settings)
    check_the_version_says_where_it_comes_from(chain, publisher)
    check_the_dataset_is_shown_with_its_source(chain, publisher)
    check_the_model_answers_as_the_pipeline_does(chain, publisher)
    check_the_model_has_no_pickle(chain)
    check_the_model_has_no_persons_row(chain)


def check_the_decision_can_be_made_again(chain: Trained, settings: Settings) -> None:
    """From what the run's artifacts say alone, and from folds scored anew by scikit-learn itself."""
    kept = {name: tracking.load(chain.run_id, kind) for name, kind in RECORDS.items()}
    assert decide(kept["evaluation"], kept["rules"]) == kept["decision"]
    assert kept["decision"].model_dump() == chain.decision
    history = chain.client.get_metric_history(chain.run_id, "fold_accuracy")
    assert [point.value for point in sorted(history, key=lambda point: point.step)] == kept["evaluation"].accuracy
    data = datasets.load(never_married, chain.path)
    out_of_fold = np.load(mlflow.artifacts.download_artifacts(f"runs:/{chain.run_id}/{tracking.OUT_OF_FOLD}"))
    assert kept["evaluation"].slices == slices(data.slices, data.label.to_numpy(), out_of_fold, settings.min_slice_rows)


def test_a_second_training_of_the_same_content_is_refused_unless_forced(publisher, settings):
    first = trained(settings, "scheduled__1")
    publisher.verified(publisher.lines)
    data, decision = until_gate(settings, "manual__2")
    reason = f"version {first.version} already has this recipe and training set; force=true registers another"
    assert (decision["passed"], decision["promote"], decision["reason"]) == (False, False, reason)
    check_a_refusal_is_told(first, data["run_id"], reason, "0.7")
    kept = [tracking.load(run, Evaluation) for run in (first.run_id, data["run_id"])]
    assert kept[0].baselines == kept[1].baselines
    assert (kept[1].champion.accuracy, kept[1].best.accuracy) == (kept[0].accuracy, kept[0].accuracy)

    decision = steps.gate(settings, data["run_id"], {"min_accuracy": 0.7, "force": True})
    assert (decision["passed"], decision["promote"]) == (True, True)
    assert "refresh: version 1 has the same recipe" in decision["reason"]

    accuracy = first.client.get_run(data["run_id"]).data.metrics["accuracy"]
    decision = steps.gate(settings, data["run_id"], {"min_accuracy": 0.99, "force": True})
    reason = f"accuracy {accuracy:.4f} is below the minimum of 0.9900"
    assert (decision["passed"], decision["gate_reason"]) == (False, reason)
    check_a_refusal_is_told(first, data["run_id"], reason, "0.99")


def check_a_refusal_is_told(first: Trained, run_id: str, reason: str, min_accuracy: str) -> None:
    """Check the refused run's note and tags, and that the first training's version is untouched and alone."""
    run = first.client.get_run(run_id)
    assert run.data.tags["mlflow.note.content"] == f"Gate refused: {reason}."
    assert (run.data.tags["gate"], run.data.tags["gate.reason"]) == ("refused", reason)
    assert (run.data.tags["min_accuracy"], run.info.status) == (min_accuracy, "FINISHED")
    assert run.data.tags["champion.met"] == champion(first.client) == first.version
    assert len(first.client.search_model_versions(f"name = '{MODEL}'")) == 1


def test_three_trainings_in_a_row(publisher, settings, monkeypatch):
    """One that never becomes champion stays challenger; on new data the same recipe refreshes the champion.

    Baselines are scored once for a training set: the second training finds the first one's in MLflow.
    """
    scored: list[str] = []
    score = evaluate.cross_validate
    monkeypatch.setattr(
        evaluate, "cross_validate", lambda *given: scored.append(type(given[0][-1]).__name__) or score(*given)
    )
    baselines = ["DummyClassifier", "DecisionTreeClassifier", "LogisticRegression", "DecisionTreeClassifier"]

    first = trained(settings, "scheduled__1")
    assert scored == ["LGBMClassifier", *baselines]

    second = trained(settings, "manual__2", force=True, policy="never")
    assert (second.decision["passed"], second.decision["promote"]) == (True, False)
    assert scored == ["LGBMClassifier", *baselines, "LGBMClassifier"]
    aliases = first.client.get_registered_model(MODEL).aliases
    assert {name: str(version) for name, version in aliases.items()} == {"champion": "1", "challenger": "2"}

    publisher.verified(publisher.lines[:290])
    third = trained(settings, "manual__3")
    assert "refresh: version 1 has the same recipe" in third.decision["reason"]
    assert champion(first.client) == third.version == "3"
    assert scored[6:] == ["LGBMClassifier", *baselines]


def test_held_out_persons_are_scored_and_nothing_learns_from_them(publisher, settings):
    settings = settings.model_copy(update={"holdout_share": 0.2})
    found, _ = until_gate(settings, "scheduled__1")
    fitted = steps.fit(settings, MODEL, found["path"], found["run_id"])
    run = tracking.connect(settings).get_run(found["run_id"]).data
    data = datasets.load(never_married, found["path"])
    pipeline = mlflow.sklearn.load_model(f"models:/{fitted}")
    assert run.metrics["holdout_accuracy"] == pipeline.score(data.held_out.inputs, data.held_out.label)
    assert (run.tags["holdout_share"], run.tags["training_set.rows"]) == ("0.2", str(len(data.inputs)))
    assert len(data.inputs) + len(data.held_out.inputs) == 300


def test_two_models_never_share_a_training_sets_file(publisher, settings):
    """Two services may name the same columns in the same order: one model's label is the other's input."""
    paths = {
        model: Path(steps.training_set(settings, model, "scheduled__1", None)["path"])
        for model in (MODEL, "high_income")
    }
    assert {model: path.parent for model, path in paths.items()} == {
        model: settings.workspace / model for model in paths
    }
    sets = {model: datasets.load(steps.MODELS[model], path) for model, path in paths.items()}
    for model, set_ in sets.items():
        assert steps.MODELS[model].label not in set_.inputs


def test_an_as_of_that_is_no_instant_is_refused(publisher, settings):
    with pytest.raises(TrainingError, match=r"^as_of is 'yesterday': give an instant, such as 2"):
        steps.training_set(settings, MODEL, "manual__1", "yesterday")
    with pytest.raises(TrainingError, match="has no verified snapshot at 2000-01-31T12:00:00"):
        steps.training_set(settings, MODEL, "manual__1", "2000-01-31T12:00:00Z")


def test_a_champion_of_another_recipe_is_refitted_on_the_same_folds(publisher, settings, monkeypatch):
    weak = ModelEntry(MODEL, never_married.label, never_married.positive, never_married.question, {"n_estimators": 3})
    monkeypatch.setitem(steps.MODELS, MODEL, weak)
    trained(settings, "manual__1", min_accuracy=0.5)
    monkeypatch.setitem(steps.MODELS, MODEL, never_married)
    data, decision = until_gate(settings, "manual__2")
    set_ = datasets.load(never_married, data["path"])
    kept = tracking.load(data["run_id"], Evaluation)
    assert decision["passed"]
    assert kept.champion.version == "1"
    assert kept.champion.accuracy == evaluate.cross_validate(evaluate.recipe(weak, set_), set_).accuracy.tolist()
    assert kept.accuracy == evaluate.cross_validate(evaluate.recipe(never_married, set_), set_).accuracy.tolist()
    assert kept.accuracy != kept.champion.accuracy
    history = tracking.connect(settings).get_metric_history(data["run_id"], "champion_fold_accuracy")
    assert [point.value for point in sorted(history, key=lambda point: point.step)] == kept.champion.accuracy


def test_a_task_that_fails_shows_the_run_as_failed_and_a_retry_takes_it_up(publisher, settings):
    data = steps.training_set(settings, MODEL, "scheduled__1", None)
    path = Path(data["path"])
    client = tracking.connect(settings)
    path.rename(path.with_suffix(".away"))
    with pytest.raises(FileNotFoundError):
        steps.cross_validate(settings, MODEL, data["path"], data["run_id"])
    assert client.get_run(data["run_id"]).info.status == "FAILED"
    path.with_suffix(".away").rename(path)
    steps.cross_validate(settings, MODEL, data["path"], data["run_id"])
    assert client.get_run(data["run_id"]).info.status == "RUNNING"
    assert len(client.get_metric_history(data["run_id"], "fold_accuracy")) == 15


def test_a_model_whose_writing_was_stopped_is_completed(publisher, settings):
    data, _ = until_gate(settings, "scheduled__1")
    client = tracking.connect(settings)
    experiment = client.get_run(data["run_id"]).info.experiment_id
    half = client.create_logged_model(experiment, name=MODEL, source_run_id=data["run_id"])
    assert half.status == "PENDING"
    fitted = steps.fit(settings, MODEL, data["path"], data["run_id"])
    assert fitted == half.model_id
    assert [model.model_id for model in client.search_logged_models([experiment])] == [fitted]
