"""training/evaluate.py: our cross-validation is scikit-learn's own, to the last digit, however many threads."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import (
    RepeatedStratifiedKFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from training import evaluate
from training.dataset import TrainingSet
from training.errors import TrainingError
from training.models import ModelEntry, never_married


@pytest.fixture(scope="module")
def people() -> TrainingSet:
    """Return 400 made-up persons: the young are seldom married, and some of it is chance."""
    chance = np.random.default_rng(3)
    age = chance.integers(17, 90, 400)
    inputs = pd.DataFrame(
        {
            "age": age,
            "sex": pd.Series(chance.choice(["Female", "Male"], 400), dtype=object),
            "workclass": pd.Series(chance.choice(["Private", "State-gov", "Unknown"], 400), dtype=object),
        }
    )
    label = pd.Series(age + chance.normal(0, 12, 400) < 35, name="never_married")
    slices = pd.DataFrame({"age_bin": np.digitize(age, [29, 39, 49, 59], right=True) + 1, "sex": inputs["sex"]})
    return TrainingSet(inputs, label, slices, ("sex", "workclass"), digest="0" * 64, snapshot_id="s", lineage={})


def recipe_by_hand() -> Pipeline:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("text", encoder, ["sex", "workclass"])], remainder="passthrough")
    model = LGBMClassifier(n_jobs=1, deterministic=True, force_row_wise=True, random_state=1, verbose=-1)
    return Pipeline([("encode", columns), ("classify", model)])


@pytest.mark.parametrize(
    ("metric", "scoring"), [("accuracy", "accuracy"), ("roc_auc", "roc_auc"), ("log_loss", "neg_log_loss")]
)
def test_scores_are_scikit_learns_own(people: TrainingSet, metric: str, scoring: str):
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=3, random_state=1)
    wanted = cross_val_score(recipe_by_hand(), people.inputs, people.label, cv=folds, scoring=scoring)
    found = evaluate.cross_validate(evaluate.recipe(never_married, people), people)
    assert getattr(found, metric).tolist() == np.abs(wanted).tolist()
    assert len(wanted) == 15
    assert 0.75 < found.mean < 0.999
    assert (found.mean, found.std) == (found.accuracy.mean(), found.accuracy.std())


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        OrdinalEncoder(categories=[["Male", "Female"], ["Unknown", "State-gov", "Private"]]),
    ],
    ids=["one-hot", "categories of its own order"],
)
def test_a_champions_recipe_of_another_kind_is_scored_as_it_is(people: TrainingSet, encoder: object):
    recipe = recipe_by_hand().set_params(encode__text=encoder)
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=3, random_state=1)
    wanted = cross_val_score(recipe, people.inputs, people.label, cv=folds, scoring="roc_auc")
    assert evaluate.cross_validate(recipe, people).roc_auc.tolist() == wanted.tolist()


@pytest.mark.parametrize(("cores", "folds"), [(1, 1), (2, 2), (64, 15)])
def test_as_many_folds_run_side_by_side_as_there_are_cores(cores: int, folds: int):
    assert evaluate.side_by_side(cores) == folds


def test_out_of_fold_probabilities_are_the_first_repeats(people: TrainingSet):
    folds = list(RepeatedStratifiedKFold(n_splits=5, n_repeats=3, random_state=1).split(people.inputs, people.label))
    wanted = cross_val_predict(recipe_by_hand(), people.inputs, people.label, cv=folds[:5], method="predict_proba")
    found = evaluate.cross_validate(evaluate.recipe(never_married, people), people)
    assert found.out_of_fold.tolist() == wanted[:, 1].tolist()


def test_threads_do_not_change_a_digit(people: TrainingSet):
    pipeline = evaluate.recipe(never_married, people)
    one, two = (evaluate.cross_validate(pipeline, people, threads) for threads in (1, 2))
    for name in ("accuracy", "roc_auc", "log_loss", "out_of_fold"):
        assert getattr(one, name).tolist() == getattr(two, name).tolist()


def trees(fitted: Pipeline) -> str:
    """Return the model as text without the number of threads it was fitted with."""
    return re.sub(r"\[num_threads: \d+\]\n", "", fitted["classify"].booster_.model_to_string())


def test_two_fits_are_the_same_model_whatever_the_threads(people: TrainingSet, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(evaluate, "ROWS_PER_THREAD", 200)
    pipeline = evaluate.recipe(never_married, people)
    first, second, two_threads = (evaluate.fit(pipeline, people, threads) for threads in (1, 1, 2))
    assert first["classify"].booster_.model_to_string() == second["classify"].booster_.model_to_string()
    assert trees(first) == trees(two_threads)
    assert trees(first).count("Tree=") == 100
    assert first["classify"].booster_.model_to_string() != two_threads["classify"].booster_.model_to_string()
    assert two_threads["classify"].n_jobs == 1


def test_fitting_leaves_the_recipe_unfitted(people: TrainingSet):
    pipeline = evaluate.recipe(never_married, people)
    evaluate.fit(pipeline, people, threads=2)
    evaluate.cross_validate(pipeline, people)
    assert not hasattr(pipeline["encode"], "transformers_")
    assert pipeline["classify"].n_jobs == 1


def test_a_category_of_one_test_fold_alone_does_not_fail(people: TrainingSet):
    rare = people.inputs.assign(workclass=people.inputs["workclass"].where(people.inputs.index != 7, "Armed-Forces"))
    scores = evaluate.cross_validate(evaluate.recipe(never_married, people), replace(people, inputs=rare))
    assert np.isfinite(scores.out_of_fold).all()


def test_encoders_learn_from_the_training_folds_alone(people: TrainingSet):
    """A text that is new in the test fold is encoded as unknown, so it predicts what any unknown text predicts."""
    fold = next(iter(StratifiedKFold(5).split(people.inputs, people.label)))
    train = replace(people, inputs=people.inputs.iloc[fold[0]], label=people.label.iloc[fold[0]])
    fitted = evaluate.fit(evaluate.recipe(never_married, train), train)
    test = people.inputs.iloc[fold[1]]
    unknown = [fitted.predict_proba(test.assign(workclass=text)).tolist() for text in ("Armed-Forces", "nonsense")]
    assert unknown[0] == unknown[1]
    assert fitted["encode"].transform(test.assign(workclass="nonsense"))[:, 1].tolist() == [-1] * len(test)


def test_a_models_parameters_reach_lightgbm(people: TrainingSet):
    entry = ModelEntry("few_trees", "label", "yes", "?", parameters={"n_estimators": 7})
    fitted = evaluate.fit(evaluate.recipe(entry, people), people)
    assert fitted["classify"].booster_.num_trees() == 7


@pytest.mark.filterwarnings("ignore:Only one class is present:sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
@pytest.mark.parametrize("yes", [0, 2])
def test_a_label_too_rare_for_the_folds_is_refused(people: TrainingSet, yes: int):
    rare = replace(people, label=pd.Series([*[True] * yes, *[False] * (400 - yes)]))
    with pytest.raises(TrainingError, match=r"^training set 0000000000000000: a fold has a score that is not finite"):
        evaluate.cross_validate(evaluate.recipe(never_married, rare), rare)


def test_baselines_are_scored_on_the_same_folds_with_no_more_than_they_may_see(people: TrainingSet):
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=3, random_state=1)
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    encoded = ColumnTransformer([("text", one_hot, ["sex", "workclass"])], remainder=StandardScaler())
    by_hand = {
        "majority": (DummyClassifier(), people.slices[["age_bin"]]),
        "age bin alone": (DecisionTreeClassifier(), people.slices[["age_bin"]]),
        "logistic regression": (
            Pipeline([("encode", encoded), ("classify", LogisticRegression(solver="newton-cholesky"))]),
            people.inputs,
        ),
        "one tree": (
            recipe_by_hand().set_params(classify=DecisionTreeClassifier(min_samples_leaf=50, random_state=1)),
            people.inputs,
        ),
    }
    found = {name: evaluate.cross_validate(*pair).accuracy for name, pair in evaluate.baselines(people).items()}
    for name, (pipeline, inputs) in by_hand.items():
        wanted = cross_val_score(pipeline, inputs, people.label, cv=folds)
        assert found[name].tolist() == wanted.tolist(), name
    assert found.keys() == by_hand.keys()
    assert found["majority"].mean() < found["age bin alone"].mean()


def test_grouped_folds_keep_persons_of_equal_inputs_together(people: TrainingSet):
    """Half of the persons have a twin with the other answer: whoever sees the twin is led astray."""
    twins = replace(
        people,
        inputs=pd.concat([people.inputs, people.inputs], ignore_index=True),
        label=pd.concat([people.label, people.label], ignore_index=True),
    )
    groups = twins.inputs.groupby(list(twins.inputs.columns)).ngroup()
    pipeline = evaluate.recipe(never_married, twins)
    found = evaluate.cross_validate_grouped(pipeline, twins)
    folds = list(StratifiedGroupKFold(shuffle=True, random_state=1).split(twins.inputs, twins.label, groups))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
    assert len(found.accuracy) == 5
    assert found.mean < evaluate.cross_validate(pipeline, twins).mean


def test_held_out_figures_are_scikit_learns(people: TrainingSet):
    first = replace(people, inputs=people.inputs[:300], label=people.label[:300])
    rest = replace(people, inputs=people.inputs[300:], label=people.label[300:])
    fitted = evaluate.fit(evaluate.recipe(never_married, first), first)
    probability = fitted.predict_proba(rest.inputs)[:, 1]
    assert evaluate.held_out_figures(fitted, rest) == {
        "holdout_accuracy": fitted.score(rest.inputs, rest.label),
        "holdout_roc_auc": roc_auc_score(rest.label, probability),
        "holdout_log_loss": log_loss(rest.label, probability),
    }
