"""training/feature_row_scorer.py: an answer for each row, and an error in its place where there is nothing to go by."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier

from training.feature_row_scorer import FeatureRowScorer

PEOPLE = pd.DataFrame({"age": [20, 30, 40, 50], "job": ["cook", "pilot", "cook", "pilot"], "hours": [1, 2, 3, 4]})


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    encode = ColumnTransformer([("text", encoder, ["job"])], remainder="passthrough")
    return Pipeline([("encode", encode), ("classify", DecisionTreeClassifier())]).fit(PEOPLE, PEOPLE["age"] < 35)


@pytest.fixture(scope="module")
def scorer(pipeline: Pipeline) -> FeatureRowScorer:
    return FeatureRowScorer(pipeline)


def row(**changes: object) -> dict[str, object]:
    return {"age": 20, "job": "cook", "hours": 1, **changes}


def test_it_answers_as_the_pipeline_does(pipeline: Pipeline, scorer: FeatureRowScorer):
    answers = scorer.predict(PEOPLE)
    assert answers["prediction"].tolist() == pipeline.predict(PEOPLE).tolist() == [True, True, False, False]
    assert answers["probability"].tolist() == pipeline.predict_proba(PEOPLE)[:, 1].tolist()
    assert answers["error"].tolist() == [None] * 4


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize("column", PEOPLE.columns)
def test_a_missing_value_is_an_error_and_no_prediction(scorer: FeatureRowScorer, column: str, missing: object):
    (answer,) = scorer.predict(pd.DataFrame([row(**{column: missing})], dtype=object)).to_dict("records")
    assert answer == {"prediction": None, "probability": None, "error": f"{column} is missing"}


@pytest.mark.parametrize("value", ["diver", " cook", "", 7])
def test_a_text_that_was_not_fitted_on_is_an_error_and_no_prediction(scorer: FeatureRowScorer, value: object):
    (answer,) = scorer.predict(pd.DataFrame([row(job=value)], dtype=object)).to_dict("records")
    error = f"job is {value!r}, which the model has never seen"
    assert answer == {"prediction": None, "probability": None, "error": error}


def test_a_row_with_an_error_changes_nothing_for_its_neighbours(scorer: FeatureRowScorer):
    rows = pd.DataFrame([row(), row(age=None, job="diver"), row(age=50, hours=4)], index=[7, 7, 3], dtype=object)
    answers = scorer.predict(rows)
    assert answers.index.tolist() == [7, 7, 3]
    assert answers["prediction"].tolist() == [True, None, False]
    assert answers["probability"].tolist() == [1.0, None, 0.0]
    error = "age is missing; job is 'diver', which the model has never seen"
    assert answers["error"].tolist() == [None, error, None]


def test_what_it_says_is_json(scorer: FeatureRowScorer):
    answers = scorer.predict(pd.DataFrame([row(), row(job=None)])).to_dict("records")
    json.dumps(answers, allow_nan=False)


def test_other_columns_and_another_order_do_not_matter(scorer: FeatureRowScorer):
    mixed = PEOPLE[["hours", "job", "age"]].assign(person_id="p")
    pd.testing.assert_frame_equal(scorer.predict(mixed), scorer.predict(PEOPLE))


def test_no_rows_have_no_answers(scorer: FeatureRowScorer):
    answers = scorer.predict(PEOPLE.head(0))
    assert (len(answers), list(answers.columns)) == (0, ["prediction", "probability", "error"])


def test_a_pipeline_without_encoders_is_asked_all_the_same():
    numbers = PEOPLE[["age", "hours"]]
    plain = Pipeline([("classify", DecisionTreeClassifier())]).fit(numbers, numbers["age"] < 35)
    assert FeatureRowScorer(plain).predict(numbers)["prediction"].tolist() == [True, True, False, False]
