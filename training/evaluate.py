"""Cross-validation of a model's recipe, and of what it has to beat: encoders are fitted inside each fold."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from training import encoded
from training.dataset import TrainingSet
from training.encoded import Positions, Split
from training.errors import TrainingError
from training.features import AGE_BIN
from training.models import ModelEntry

SPLITS, REPEATS, SEED = 5, 3, 1

# On a third of these rows two LightGBM threads gained nothing over one, and on busy cores lost seconds.
ROWS_PER_THREAD = 100_000

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
    return Pipeline(
        [
            ("encode", _ordinal(dataset)),
            ("classify", LGBMClassifier(n_jobs=1, **{**DETERMINISTIC, **entry.parameters})),
        ]
    )


def baselines(dataset: TrainingSet) -> dict[str, tuple[Pipeline, TrainingSet]]:
    """Return what a useful model beats: unfitted pipelines by name, each with the columns that it may see."""
    age = replace(dataset, inputs=dataset.slices[[AGE_BIN]], text_columns=())
    one_hot = OneHotEncoder(handle_unknown="ignore")
    encoded = ColumnTransformer(
        [("text", one_hot, list(dataset.text_columns))], remainder=StandardScaler(), sparse_threshold=1
    )
    # The fastest solver by far where rows are many and columns few.
    regression = LogisticRegression(solver="newton-cholesky")
    tree = DecisionTreeClassifier(min_samples_leaf=50, random_state=SEED)
    return {
        "majority": (make_pipeline(DummyClassifier()), age),
        "age bin alone": (make_pipeline(DecisionTreeClassifier(random_state=SEED)), age),
        "logistic regression": (make_pipeline(encoded, regression), dataset),
        "one tree": (make_pipeline(_ordinal(dataset), tree), dataset),
    }


def _ordinal(dataset: TrainingSet) -> ColumnTransformer:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return ColumnTransformer([("text", encoder, list(dataset.text_columns))], remainder="passthrough")


def side_by_side(threads: int) -> int:
    """Return how many folds run at once on `threads` cores, each with one LightGBM thread."""
    return min(threads, SPLITS * REPEATS)


def cross_validate(pipeline: Pipeline, dataset: TrainingSet, threads: int = 1) -> Scores:
    """Return the scores of `pipeline` over 5 folds repeated 3 times, seed 1.

    Folds run side by side in `threads` threads, each with one LightGBM thread: two levels would fight over the cores.

    Raises:
        TrainingError: a score is not a number.
    """
    folds = RepeatedStratifiedKFold(n_splits=SPLITS, n_repeats=REPEATS, random_state=SEED)
    return _scores(pipeline, dataset, list(folds.split(dataset.inputs, dataset.label)), threads)


def cross_validate_grouped(pipeline: Pipeline, dataset: TrainingSet, threads: int = 1) -> Scores:
    """Return the scores of `pipeline` over 5 folds of which no two share a person of equal inputs, seed 1.

    Of persons whose inputs are all equal, one in the training rows gives away the others in the test rows.
    """
    folds = StratifiedGroupKFold(n_splits=SPLITS, shuffle=True, random_state=SEED)
    groups = pd.util.hash_pandas_object(dataset.inputs, index=False)
    return _scores(pipeline, dataset, list(folds.split(dataset.inputs, dataset.label, groups)), threads)


def _scores(pipeline: Pipeline, dataset: TrainingSet, pairs: list[tuple[Positions, Positions]], threads: int) -> Scores:
    label = dataset.label.to_numpy()
    estimator, split = encoded.folds(pipeline, dataset.inputs)
    run = joblib.Parallel(side_by_side(threads), backend="threading")
    with threadpool_limits(1, user_api="blas"):  # a baseline's linear algebra would be a second level
        results = run(joblib.delayed(_fold)(estimator, split, label, *pair) for pair in pairs)
    probabilities, figures = zip(*results, strict=True)
    out_of_fold = np.full(len(label), np.nan)
    for (_, test), found in zip(pairs[:SPLITS], probabilities, strict=False):
        out_of_fold[test] = found
    accuracy, area, loss = np.array(figures).T
    scores = Scores(accuracy, area, loss, out_of_fold)
    if not all(np.isfinite(values).all() for values in vars(scores).values()):
        raise TrainingError(
            f"training set {dataset.digest[:16]}: a fold has a score that is not finite: check the label"
        )
    return scores


def _fold(
    estimator: BaseEstimator, split: Split, label: npt.NDArray[np.bool_], train: Positions, test: Positions
) -> tuple[npt.NDArray[np.float64], list[float]]:
    """Return the test rows' probabilities, and their figures in the order of `Scores`."""
    learned, asked = split(train, test)
    fitted = clone(estimator).fit(learned, label[train])
    probability: npt.NDArray[np.float64] = fitted.predict_proba(asked)[:, 1]
    return probability, list(_figures(label[test], probability).values())


def _figures(label: npt.NDArray[np.bool_], probability: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return the accuracy, the area under the ROC curve and the log loss."""
    return {
        "accuracy": float(accuracy_score(label, probability > 0.5)),
        "roc_auc": float(roc_auc_score(label, probability)),
        "log_loss": float(log_loss(label, probability, labels=[False, True])),
    }


def held_out_figures(fitted: Pipeline, held_out: TrainingSet) -> dict[str, float]:
    """Return how well a fitted pipeline does on persons that it has not seen, by figure."""
    probability = fitted.predict_proba(held_out.inputs)[:, 1]
    return {f"holdout_{name}": value for name, value in _figures(held_out.label.to_numpy(), probability).items()}


def fit(pipeline: Pipeline, dataset: TrainingSet, threads: int = 1) -> Pipeline:
    """Return the pipeline fitted on the whole training set, in at most `threads` threads.

    It predicts with one thread, fastest for single rows.
    """
    threads = min(threads, 1 + len(dataset.inputs) // ROWS_PER_THREAD)
    threaded = clone(pipeline).set_params(classify__n_jobs=threads)
    fitted = encoded.fit(threaded, dataset.inputs, dataset.label.to_numpy())
    return fitted.set_params(classify__n_jobs=1)
