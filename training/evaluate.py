"""Cross-validation of a model's recipe: encoders are fitted inside each fold."""

from collections.abc import Mapping
from dataclasses import dataclass

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
from lightgbm import LGBMClassifier
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold, cross_validate as sklearn_cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from training.dataset import TrainingSet
from training.errors import TrainingError
from training.models import ModelEntry

SPLITS, REPEATS, SEED = 5, 3, 1

# The same trees on every machine with the same lock and processor architecture, whatever the number of threads.
DETERMINISTIC: Mapping[str, int | bool] = {
    "deterministic": True,
    "force_row_wise": True,
    "random_state": SEED,
    "verbose": -1,
}


@dataclass(frozen=True, eq=False)
class Scores:
    """One value per fold, in the folds' order, and each person's out-of-fold probability from the first repeat."""

    accuracy: npt.NDArray[np.float64]
    roc_auc: npt.NDArray[np.float64]
    log_loss: npt.NDArray[np.float64]
    out_of_fold: npt.NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Return the mean accuracy over the folds."""
        return float(self.accuracy.mean())

    @property
    def std(self) -> float:
        """Return the folds' standard deviation of accuracy."""
        return float(self.accuracy.std())


def recipe(entry: ModelEntry, dataset: TrainingSet) -> Pipeline:
    """Return the unfitted pipeline of a model: feature rows as Feast gives them in, class and probability out."""
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("text", encoder, list(dataset.text_columns))], remainder="passthrough")
    return Pipeline(
        [("encode", columns), ("classify", LGBMClassifier(n_jobs=1, **{**DETERMINISTIC, **entry.parameters}))]
    )


def cross_validate(pipeline: Pipeline, dataset: TrainingSet, threads: int = 1) -> Scores:
    """Return the scores of `pipeline` over 5 folds repeated 3 times, seed 1.

    Folds run side by side in `threads` threads, each with one LightGBM thread: two levels would fight over the cores.

    Raises:
        TrainingError: a score is not a number.
    """
    folds = RepeatedStratifiedKFold(n_splits=SPLITS, n_repeats=REPEATS, random_state=SEED)
    with joblib.parallel_config("threading", n_jobs=threads):
        result = sklearn_cross_validate(
            clone(pipeline),
            dataset.inputs,
            dataset.label.to_numpy(),
            cv=folds,
            scoring=_score,
            return_estimator=True,
            return_indices=True,
            error_score="raise",
        )
    out_of_fold = np.full(len(dataset.label), np.nan)
    for fitted, test in zip(result["estimator"][:SPLITS], result["indices"]["test"][:SPLITS], strict=True):
        out_of_fold[test] = fitted.predict_proba(dataset.inputs.iloc[test])[:, 1]
    scores = Scores(result["test_accuracy"], result["test_roc_auc"], result["test_log_loss"], out_of_fold)
    if not all(np.isfinite(values).all() for values in vars(scores).values()):
        raise TrainingError(
            f"training set {dataset.digest[:16]}: a fold has a score that is not finite: check the label"
        )
    return scores


def _score(fitted: Pipeline, inputs: pd.DataFrame, label: npt.NDArray[np.bool_]) -> dict[str, float]:
    probability = fitted.predict_proba(inputs)[:, 1]  # once for all three figures
    return {
        "accuracy": float(accuracy_score(label, probability > 0.5)),
        "roc_auc": float(roc_auc_score(label, probability)),
        "log_loss": float(log_loss(label, probability, labels=[False, True])),
    }


def fit(pipeline: Pipeline, dataset: TrainingSet, threads: int = 1) -> Pipeline:
    """Return the pipeline fitted on the whole training set; it predicts with one thread, fastest for single rows."""
    fitted = clone(pipeline).set_params(classify__n_jobs=threads).fit(dataset.inputs, dataset.label.to_numpy())
    return fitted.set_params(classify__n_jobs=1)
