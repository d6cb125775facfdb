"""Travels inside a registered model: the pyfunc that answers feature rows with class and probability."""

from typing import Any

import mlflow.sklearn
import numpy as np
import numpy.typing as npt
import pandas as pd


class FeatureRowScorer:
    """A fitted pipeline behind MLflow's pyfunc interface, which predicts nothing from values it was not fitted on."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.columns = list(pipeline.feature_names_in_)
        self.categories = {
            name: frozenset(values)
            for _, encoder, names in getattr(pipeline[0], "transformers_", [])
            if hasattr(encoder, "categories_")
            for name, values in zip(names, encoder.categories_, strict=True)
        }

    def predict(self, rows: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Return `prediction` (bool), `probability` of a yes (float) and `error` for each of `rows`, in their order.

        A row with a value that is missing, or a text that the encoders do not know, has an error that names column
        and value, and None in the other two; every other row has None for an error.
        """
        rows = rows[self.columns]
        errors = self._errors(rows)
        fine = pd.isna(errors)
        # Objects: as floats they would say NaN in None's place, which JSON has not.
        prediction, probability = np.full((2, len(rows)), None, dtype=object)
        if fine.any():
            probability[fine] = self.pipeline.predict_proba(rows[fine].infer_objects())[:, 1]
            prediction[fine] = probability[fine] > 0.5
        return pd.DataFrame({"prediction": prediction, "probability": probability, "error": errors}, rows.index)

    def _errors(self, rows: pd.DataFrame) -> npt.NDArray[np.object_]:
        wrong = rows.isna()
        for name, known in self.categories.items():
            wrong[name] |= ~rows[name].isin(known)
        errors = np.full(len(rows), None, dtype=object)
        for row, column in np.argwhere(wrong.to_numpy()):
            name, value = self.columns[column], rows.iloc[row, column]
            error = f"{name} is missing" if pd.isna(value) else f"{name} is {value!r}, which the model has never seen"
            errors[row] = f"{errors[row]}; {error}" if errors[row] else error
        return errors

    def get_raw_model(self) -> "FeatureRowScorer":
        """Return this scorer without the signature around it: a signature has no missing numbers, a store has."""
        return self


def _load_pyfunc(path: str) -> FeatureRowScorer:  # MLflow calls it by this name
    return FeatureRowScorer(mlflow.sklearn.load_model(path))
