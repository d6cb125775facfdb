"""Travels inside a registered model: the pyfunc that answers feature rows with class and probability."""

from typing import Any

import mlflow.sklearn
import pandas as pd


class FeatureRowScorer:
    """A fitted pipeline behind MLflow's pyfunc interface."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def predict(self, rows: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Return `prediction` (bool) and `probability` of a yes (float) for each of `rows`."""
        probability = self.pipeline.predict_proba(rows)[:, 1]
        return pd.DataFrame({"prediction": probability > 0.5, "probability": probability}, index=rows.index)


def _load_pyfunc(path: str) -> FeatureRowScorer:  # MLflow calls it by this name
    return FeatureRowScorer(mlflow.sklearn.load_model(path))
