"""training/trial.py: a fresh process loads the model, answers as when it was fitted, and says what is wrong if not."""

import json
import re
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from training import evaluate, flavor, tracking, trial
from training.dataset import TrainingSet
from training.errors import TrainingError
from training.models import never_married

pytestmark = pytest.mark.fresh_process


@pytest.fixture(scope="module")
def people() -> TrainingSet:
    chance = np.random.default_rng(5)
    age = chance.integers(17, 90, 200)
    inputs = pd.DataFrame({"age": age, "sex": pd.Series(chance.choice(["Female", "Male"], 200), dtype=object)})
    label, slices = pd.Series(age < 35), pd.DataFrame()
    return TrainingSet(inputs, label, slices, ("sex",), digest="0" * 64, snapshot_id="s", lineage={})


@pytest.fixture(scope="module")
def fitted(people: TrainingSet) -> Pipeline:
    return evaluate.fit(evaluate.recipe(never_married, people), people)


@pytest.fixture(scope="module")
def saved(people: TrainingSet, fitted: Pipeline, settings_below, tmp_path_factory) -> tuple[str, str]:
    """Return the URI of a logged model and that of its MLflow."""
    settings = settings_below(tmp_path_factory.mktemp("trial"))
    client = tracking.connect(settings)
    run = client.create_run(client.create_experiment("test", settings.artifacts.as_uri()))
    return flavor.log_model(client, never_married, run.info.run_id, fitted, people).model_uri, settings.tracking_uri


@pytest.fixture
def copy(saved: tuple[str, str], tmp_path: Path) -> Path:
    """Return a copy of the model's folder, to damage."""
    model, uri = saved
    mlflow.set_tracking_uri(uri)
    found = mlflow.artifacts.download_artifacts(model)
    return Path(shutil.copytree(found, tmp_path / "copy"))


def test_a_fresh_process_answers_as_the_pipeline_does(people: TrainingSet, fitted: Pipeline, saved: tuple[str, str]):
    rows = people.inputs.iloc[5:25]
    answers = trial.check(*saved, rows)
    assert answers["probability"].tolist() == fitted.predict_proba(rows)[:, 1].tolist()
    assert answers["prediction"].tolist() == fitted.predict(rows).tolist()


def test_what_was_answered_when_it_was_fitted_travels_with_the_model(people: TrainingSet, fitted: Pipeline, copy: Path):
    (answer,) = json.loads((copy / trial.ANSWER).read_text())
    typical = people.inputs.mode().iloc[:1].astype(people.inputs.dtypes)
    assert answer["probability"] == fitted.predict_proba(typical)[0, 1]


def test_an_answer_other_than_then_is_told(copy: Path, saved: tuple[str, str]):
    (answer,) = json.loads((copy / trial.ANSWER).read_text())
    edited = answer["probability"] + 1e-6
    (copy / trial.ANSWER).write_text(json.dumps([{**answer, "probability": edited}]))
    message = f"{copy} answers its example with probability {answer['probability']}, and did with {edited} when it"
    with pytest.raises(TrainingError, match=f"^{re.escape(message)}"):
        trial.check(str(copy), saved[1])
    (copy / trial.ANSWER).unlink()
    with pytest.raises(TrainingError, match=r"has no example_answer\.json, and so nothing to compare"):
        trial.check(str(copy), saved[1])


def test_a_model_that_does_not_load_is_told_with_the_reason(copy: Path, saved: tuple[str, str]):
    (copy / "code" / "feature_row_scorer.py").write_text("raise ImportError('no such thing')")
    with pytest.raises(
        TrainingError, match=r"does not load and answer in a fresh process: ImportError: no such thing$"
    ):
        trial.check(str(copy), saved[1])


def test_a_killed_trial_is_no_fault_of_the_model_and_may_be_tried_again(copy: Path, saved: tuple[str, str]):
    (copy / "code" / "feature_row_scorer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(RuntimeError, match=r"was ended by SIGKILL: give tasks more memory") as raised:
        trial.check(str(copy), saved[1])
    assert not isinstance(raised.value, TrainingError)
    (copy / "code" / "feature_row_scorer.py").write_text("import os, sys\nsys.stderr.write('out of x')\nos.abort()")
    with pytest.raises(RuntimeError, match=r"was ended by SIGABRT: out of x$"):
        trial.check(str(copy), saved[1])


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), None, "high"])
def test_an_answer_that_is_no_finite_number_is_refused(figure: object):
    answers = pd.DataFrame({"prediction": [True, False], "probability": [0.5, figure]})
    with pytest.raises(TrainingError, match=r"^m answers 1 of 2 rows with no finite number$"):
        trial._check_finite("m", answers, 2)
    trial._check_finite("m", answers.assign(error=[None, "age is missing"]), 2)


def test_a_row_without_an_answer_is_told():
    with pytest.raises(TrainingError, match=r"^m gives 1 answers to 1,000 rows$"):
        trial._check_finite("m", pd.DataFrame({"probability": [0.5]}), 1_000)


def test_numbers_may_differ_by_rounding_and_by_nothing_else():
    trial._compare("m", [{"probability": 0.1 + 0.2, "error": None}], [{"probability": 0.3}])
    for now, then in [(0.3, 0.3000001), (True, False), (float("nan"), float("nan")), (None, 0.3)]:
        with pytest.raises(TrainingError, match=r"^m answers its example with x "):
            trial._compare("m", [{"x": now}], [{"x": then}])
    with pytest.raises(TrainingError, match=r"^m gives 2 answers to its example of 1 rows$"):
        trial._compare("m", [{}, {}], [{}])


def test_a_registry_that_cannot_be_reached_is_no_fault_of_the_model():
    with pytest.raises(mlflow.exceptions.MlflowException, match="Connection refused"):
        trial.check("models:/never_married/1", "http://127.0.0.1:9")
