"""Cross-validation and fit beside bare LightGBM fits on ready-made arrays, and beside plain scikit-learn on texts."""

import hashlib
import json
import os
from typing import Any

import joblib
import numpy as np
import pandas as pd
from contest import Inputs, Part, Ready
from feast import FeatureStore
from lightgbm import LGBMClassifier
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score

from training import dataset as datasets, encoded, evaluate, offline
from training.dataset import TrainingSet
from training.models import never_married
from training.settings import CORES, Settings

AGE_BINS = [16, 29, 39, 49, 59, 100]
FEWER = 100  # copies from which on one repeat of the folds has to do


def loaded(inputs: Inputs) -> TrainingSet:
    """Return the training set, pulled once and then loaded as the DAG's steps do."""
    settings, note = Settings(), inputs.folder / "training_set.json"
    if not note.exists():
        with offline.limited(settings):
            table = datasets.pull(never_married, FeatureStore())
        note.write_text(json.dumps(str(datasets.save(table, settings.workspace))))
        del table
    if inputs.copies >= FEWER:
        evaluate.REPEATS = 1
    return datasets.load(never_married, json.loads(note.read_text()))


def splitter() -> RepeatedStratifiedKFold:
    """Return the folds that all ways share."""
    return RepeatedStratifiedKFold(n_splits=5, n_repeats=evaluate.REPEATS, random_state=1)


def score_ours(inputs: Inputs) -> Ready:
    """Cross-validate as the DAG does, all figures and out-of-fold probabilities included."""
    dataset = loaded(inputs)
    pipeline = evaluate.recipe(never_married, dataset)
    return lambda: evaluate.cross_validate(pipeline, dataset, CORES), lambda scores: scores.accuracy.tolist()


def score_bare(inputs: Inputs) -> Ready:
    """Fit and score each fold on arrays that are made ready outside the clock, and kept: its memory is theirs too."""
    dataset = loaded(inputs)
    label = dataset.label.to_numpy()
    _, split = encoded.folds(evaluate.recipe(never_married, dataset), dataset.inputs)
    ready = [(train, test, *split(train, test)) for train, test in splitter().split(dataset.inputs, label)]

    def accuracy(train: Any, test: Any, learned: Any, asked: Any) -> float:
        model = LGBMClassifier(n_jobs=1, **evaluate.DETERMINISTIC).fit(learned, label[train])
        return float(((model.predict_proba(asked)[:, 1] > 0.5) == label[test]).mean())

    def call() -> list[float]:
        run = joblib.Parallel(evaluate.side_by_side(CORES), backend="threading")
        return list(run(joblib.delayed(accuracy)(*fold) for fold in ready))

    return call, str


def score_naive(inputs: Inputs) -> Ready:
    """Cross-validate in plain scikit-learn: texts as Python's strings, encoders fitted on them in each fold."""
    dataset = loaded(inputs)
    texts, pipeline = encoded.as_served(dataset.inputs), evaluate.recipe(never_married, dataset)

    def call() -> list[float]:
        with joblib.parallel_backend("threading"):
            scores = cross_val_score(pipeline, texts, dataset.label.to_numpy(), cv=splitter(), n_jobs=CORES)
        return [float(score) for score in scores]

    return call, str


def score_article(inputs: Inputs) -> Ready:
    """Cross-validate as the usual example does: one-hot objects, ages binned, all cores in joblib and in LightGBM."""
    dataset = loaded(inputs)
    binned = encoded.as_served(dataset.inputs).assign(age=pd.cut(dataset.inputs["age"], AGE_BINS, labels=False))
    rows = pd.get_dummies(binned, columns=list(dataset.text_columns)).to_numpy(dtype=object)
    label, model = dataset.label.to_numpy(), LGBMClassifier(verbose=-1)
    os.environ.pop("OMP_WAIT_POLICY", None)  # joblib's processes start as they do where nobody has set env.sh's cure
    return lambda: cross_val_score(model, rows, label, cv=splitter(), scoring="accuracy", n_jobs=-1).mean(), str


def fit_ours(inputs: Inputs) -> Ready:
    """Fit the pipeline that is registered."""
    dataset = loaded(inputs)
    pipeline = evaluate.recipe(never_married, dataset)
    return lambda: evaluate.fit(pipeline, dataset, CORES), lambda fitted: trees(fitted["classify"])


def fit_bare(inputs: Inputs) -> Ready:
    """Fit LightGBM on an array made ready, with as many threads."""
    dataset = loaded(inputs)
    label, everybody = dataset.label.to_numpy(), np.arange(len(dataset.inputs))
    _, split = encoded.folds(evaluate.recipe(never_married, dataset), dataset.inputs)
    ready, threads = split(everybody, everybody[:0])[0], min(CORES, 1 + len(everybody) // evaluate.ROWS_PER_THREAD)
    return lambda: LGBMClassifier(n_jobs=threads, **evaluate.DETERMINISTIC).fit(ready, label), trees


def fit_naive(inputs: Inputs) -> Ready:
    """Fit the pipeline in plain scikit-learn on Python's strings."""
    dataset = loaded(inputs)
    texts, pipeline = encoded.as_served(dataset.inputs), evaluate.recipe(never_married, dataset)
    threads = min(CORES, 1 + len(texts) // evaluate.ROWS_PER_THREAD)
    threaded = pipeline.set_params(classify__n_jobs=threads)
    return lambda: threaded.fit(texts, dataset.label.to_numpy()), lambda fitted: trees(fitted["classify"])


def trees(model: LGBMClassifier) -> str:
    """Return a digest of what was learned."""
    text = model.booster_.model_to_string()
    return hashlib.sha256(text.partition("end of trees")[0].encode()).hexdigest()


SCORING = Part(
    "cross_validation",
    "cross-validation, 15 folds (5 from 3 million rows on)",
    {"ours": score_ours, "bare": score_bare, "naive": score_naive, "article": score_article},
    ratio=1.2,
    memory=3,
    most={"naive": 10, "article": 1},
    other=("article",),
)
FITTING = Part(
    "fitting",
    "fit on the whole training set",
    {"ours": fit_ours, "bare": fit_bare, "naive": fit_naive},
    ratio=1.2,
    memory=3,
    most={"naive": 10},
)
