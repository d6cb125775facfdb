"""training/encoded.py: ranks give each fold what scikit-learn's encoder gives it, and the fit the same model."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st
from sklearn.base import clone
from sklearn.model_selection import RepeatedStratifiedKFold

from data_engineering import clean as cleaning, publish as publishing, source as sources
from data_engineering.lake import snapshot_path
from data_engineering.settings import Settings as DataSettings
from training import dataset as datasets, encoded, evaluate, features
from training.dataset import TrainingSet
from training.models import never_married

# Of the census's training set, as registered models have it in `training_set.digest`.
CENSUS_DIGEST = "e5d01bf8aa5c70e7e1a046116d96a18d48bb5db619f8f9e8e35a99519a338715"
INPUTS = [
    "age",
    "workclass",
    "education",
    "occupation",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income_bracket",
]


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """Return what Feast gives of the whole census: the snapshot's columns in the training service's order."""
    settings = DataSettings(lake=tmp_path_factory.mktemp("lake"))
    batch = cleaning.clean(settings, sources.extract(settings, "run", None))
    path: Path = snapshot_path(settings.lake, publishing.publish(settings, batch, None))
    return pq.read_table(path).select(["person_id", *INPUTS, "age_bin", "marital_status", "snapshot_id"])


@pytest.fixture(scope="module")
def census(pulled: pa.Table) -> TrainingSet:
    mark = {"snapshot_id": pulled["snapshot_id"][0].as_py(), "view": "census"}
    texts = [name for name in INPUTS if pa.types.is_string(pulled.schema.field(name).type)]
    return datasets.parse(never_married, datasets.noted(features.with_codes(pulled), mark, INPUTS, texts, 0.0))


def test_the_digest_of_the_census_is_what_registered_models_have(pulled: pa.Table, census: TrainingSet):
    assert census.digest == CENSUS_DIGEST == datasets.digest_of(pulled.drop(["snapshot_id"]))


def test_every_fold_of_the_census_gets_what_scikit_learn_gives_it(census: TrainingSet):
    """Equal matrices, so equal trees and scores: the figures are `make bench`'s, part `cross_validation`."""
    pipeline, label = evaluate.recipe(never_married, census), census.label.to_numpy()
    estimator, split = encoded.folds(pipeline, census.inputs)
    assert estimator is pipeline[-1]
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=3, random_state=1)
    for train, test in folds.split(census.inputs, label):
        encode = clone(pipeline[0]).fit(census.rows.iloc[train])
        for rows, matrix in zip((train, test), split(train, test), strict=True):
            assert np.array_equal(encode.transform(census.rows.iloc[rows]), matrix)


def test_the_fit_on_the_census_is_scikit_learns(census: TrainingSet):
    pipeline, label = evaluate.recipe(never_married, census), census.label.to_numpy()
    ours, plain = encoded.fit(pipeline, census.inputs, label), clone(pipeline).fit(census.rows, label)
    assert ours["classify"].booster_.model_to_string() == plain["classify"].booster_.model_to_string()
    found, wanted = (
        [values.tolist() for values in fitted[0].named_transformers_["text"].categories_] for fitted in (ours, plain)
    )
    assert found == wanted
    assert all(type(text) is str for values in found for text in values)
    assert list(ours.feature_names_in_) == list(plain.feature_names_in_) == INPUTS
    few = census.rows.sample(500, random_state=1)
    assert ours.predict_proba(few).tolist() == plain.predict_proba(few).tolist()
    answers = hashlib.sha256(ours.predict_proba(census.inputs).tobytes())
    assert answers.digest() == hashlib.sha256(plain.predict_proba(census.rows).tobytes()).digest()


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3)


@hypothesis_settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(TEXTS, TEXTS, st.integers(-(2**40), 2**40), st.booleans()), min_size=2, max_size=30),
    st.data(),
)
def test_any_split_of_any_texts_is_encoded_as_scikit_learn_does(rows, data):
    frame = pd.DataFrame(rows, columns=["first", "second", "number", "flag"])
    as_categories = frame.assign(first=frame["first"].astype(pd.CategoricalDtype(sorted({*frame["first"], "unused"}))))
    cut = data.draw(st.integers(1, len(rows)))
    order = np.array(data.draw(st.permutations(range(len(rows)))))
    train, test = order[:cut], order[cut:]
    dataset = TrainingSet(frame, frame["flag"], frame, ("first", "second"), "", "", {})
    pipeline = evaluate.recipe(never_married, dataset)
    encode = clone(pipeline[0]).fit(frame.iloc[train])
    wanted = [encode.transform(frame.iloc[part]) if len(part) else np.empty((0, 4)) for part in (train, test)]
    for inputs in (frame, as_categories):
        _, split = encoded.folds(pipeline, inputs)
        for matrix, expected in zip(split(train, test), wanted, strict=True):
            assert np.array_equal(matrix, expected.astype(float))


def test_feature_rows_are_texts_and_numbers_again(census: TrainingSet):
    assert {str(kind) for kind in census.inputs.dtypes} == {"category", "int64"}
    assert {str(kind) for kind in census.rows.dtypes} == {"object", "int64"}
    assert all(type(text) is str for text in census.rows["sex"].head(10))
