"""How well each group of persons is predicted, by the columns in which people ask about fairness, out of fold."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from training.records import Slice

COLUMNS = ("sex", "race", "age_bin", "country", "education")
AGE_BINS = "(16,29], (29,39], (39,49], (49,59], (59,100] as 1 to 5"  # as Feast's view says of age_bin
HOME = "United-States"
BIN_EDGES = np.linspace(0, 1, 11)


def slices(
    columns: pd.DataFrame, label: npt.NDArray[np.bool_], probability: npt.NDArray[np.float64], minimum: int
) -> list[Slice]:
    """Return a slice per value of sex, race, age_bin, country (US, or other with the unknown) and education.

    `columns` has a row per person and `native_country` instead of `country`; `probability` is each person's of a yes,
    from a model that has not seen the person. A slice of fewer than `minimum` persons is not judged.
    """
    country = np.where(columns["native_country"] == HOME, "US", "other")
    return list(_found(columns.assign(country=country), label, probability, minimum))


def _found(
    columns: pd.DataFrame, label: npt.NDArray[np.bool_], probability: npt.NDArray[np.float64], minimum: int
) -> Iterator[Slice]:
    for column in COLUMNS:
        for value, rows in columns.groupby(column, observed=True).indices.items():
            yield _slice(column, str(value), label[rows], probability[rows], judged=len(rows) >= minimum)


def _slice(
    column: str, value: str, label: npt.NDArray[np.bool_], probability: npt.NDArray[np.float64], *, judged: bool
) -> Slice:
    right, share = int(((probability > 0.5) == label).sum()), float(label.mean())
    interval = binomtest(right, len(label)).proportion_ci(0.95, method="wilson")
    return Slice(
        column=column,
        value=value,
        rows=len(label),
        accuracy=right / len(label),
        accuracy_low=float(interval.low),
        accuracy_high=float(interval.high),
        lift=right / len(label) - max(share, 1 - share),
        roc_auc=float(roc_auc_score(label, probability)) if 0 < share < 1 else None,
        calibration_error=calibration_error(label, probability),
        judged=judged,
    )


def calibration_error(label: npt.NDArray[np.bool_], probability: npt.NDArray[np.float64]) -> float:
    """Return the expected calibration error (Naeini et al. 2015) of a yes, in ten bins of equal width.

    In each bin the mean probability is set against the share of yes; the error is the mean distance over persons. The
    bins are those of `sklearn.calibration.calibration_curve`, so that figure and picture agree.
    """
    found = np.searchsorted(BIN_EDGES[1:-1], probability)
    distances = np.bincount(found, weights=probability - label, minlength=len(BIN_EDGES) - 1)
    return float(np.abs(distances).sum() / len(label))
