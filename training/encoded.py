"""Inputs as numbers, once for all folds: what a recipe's ordinal encoder would make of them in each."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

Positions = npt.NDArray[np.int64]
Split = Callable[[Positions, Positions], tuple[object, object]]
UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Ranks:
    """Each text as its rank among the column's texts, then the other columns as they are; a column each."""

    texts: list[npt.NDArray[np.integer]]
    others: list[npt.NDArray[np.generic]]

    def split(self, train: Positions, test: Positions) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return both rows' matrices as an encoder makes them that was fitted on the training rows alone."""
        matrices = tuple(np.empty((len(rows), len(self.texts) + len(self.others)), order="F") for rows in (train, test))
        for column, ranks in enumerate(self.texts):
            seen = np.bincount(ranks[train], minlength=ranks.max() + 1) > 0
            codes = np.where(seen, seen.cumsum() - 1, UNKNOWN)
            for matrix, rows in zip(matrices, (train, test), strict=True):
                matrix[:, column] = codes[ranks[rows]]
        for column, values in enumerate(self.others, len(self.texts)):
            for matrix, rows in zip(matrices, (train, test), strict=True):
                matrix[:, column] = values[rows]
        return matrices[0], matrices[1]


def ordinal(pipeline: Pipeline, inputs: pd.DataFrame) -> Ranks | None:
    """Return the inputs' ranks if all that the recipe's first step does is to number texts in their order, else None.

    Ranks keep the texts' order and say nothing else of them, so a fold's codes follow from them.
    """
    encode = pipeline[0]
    if not isinstance(encode, ColumnTransformer) or encode.remainder != "passthrough" or len(pipeline) != 2:
        return None
    if [(type(encoder), type(names)) for _, encoder, names in encode.transformers] != [(OrdinalEncoder, list)]:
        return None
    ((_, encoder, names),) = encode.transformers
    plain = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=UNKNOWN).get_params()
    others = [inputs[name].to_numpy() for name in inputs.columns if name not in names]
    if encoder.get_params() != plain or any(values.dtype.kind not in "biuf" for values in others):
        return None
    return Ranks([_ranks(inputs[name]) for name in names], others)


def _ranks(texts: pd.Series) -> npt.NDArray[np.integer]:
    column = texts.astype("category").cat
    ranks: npt.NDArray[np.integer] = column.codes.to_numpy()
    if not column.categories.is_monotonic_increasing:
        ranks = column.categories.argsort().argsort()[ranks]
    return ranks


def folds(pipeline: Pipeline, inputs: pd.DataFrame) -> tuple[BaseEstimator, Split]:
    """Return an unfitted estimator and the call that gives a fold's training and test inputs as it takes them."""
    if ranks := ordinal(pipeline, inputs):
        return pipeline[-1], ranks.split
    return pipeline, lambda train, test: (inputs.iloc[train], inputs.iloc[test])


def fit(pipeline: Pipeline, inputs: pd.DataFrame, label: npt.NDArray[np.bool_]) -> Pipeline:
    """Return the pipeline fitted, equal to the last digit to what its own `fit` makes of the inputs' texts."""
    ranks = ordinal(pipeline, inputs)
    if ranks is None:
        return clone(pipeline).fit(inputs, label)
    fitted = clone(pipeline)
    # An encoder learns which texts there are, and one row of each tells it that.
    rows = {row for _, _, names in fitted[0].transformers for name in names for row in _firsts(inputs[name])}
    few = as_served(inputs.iloc[sorted(rows)])
    fitted[0].fit(few)
    everybody = np.arange(len(inputs))
    fitted[-1].fit(ranks.split(everybody, everybody[:0])[0], label)
    return fitted


def _firsts(texts: pd.Series) -> npt.NDArray[np.int64]:
    return np.flatnonzero(~texts.duplicated().to_numpy())


def as_served(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows as the feature store gives them: texts, where a training set has categories."""
    return rows.astype(dict.fromkeys(rows.select_dtypes("category"), object))
