"""Is a registered model, logged as code: the pyfunc that answers person ids with the champion's class and probability.

It holds no model: it takes the champion from the registry and each person's features from Feast's online store.
"""

from typing import Any

import mlflow.pyfunc
import pandas as pd
from feast import FeatureStore
from mlflow import MlflowClient

KEY = "person_id"


class PersonScorer(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow has no types
    """The champion behind the online store."""

    def load_context(self, context: Any) -> None:
        """Find the champion and its feature service, once: a server answers with one version until it is restarted.

        Raises:
            ValueError: the service does not give all that the champion needs.
        """
        model, service = context.model_config["model"], context.model_config["service"]
        self.version = str(MlflowClient().get_model_version_by_alias(model, "champion").version)
        # Without its signature, under which a missing number in one row would fail all others.
        self.champion = mlflow.pyfunc.load_model(f"models:/{model}/{self.version}").get_raw_model()
        self.store = FeatureStore()
        self.store.config.mlflow_config = None  # else Feast may log each read, which costs more than the read
        self.service = self.store.get_feature_service(service)
        given = {feature.name for view in self.service.feature_view_projections for feature in view.features}
        if missing := set(self.champion.columns) - given:
            raise ValueError(
                f"{model} version {self.version} needs {', '.join(sorted(missing))}, and feature service {service} "
                "does not give it: train again, or roll the service back"
            )

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Return `prediction`, `probability`, `error` and the champion's `version` for each `person_id`, in order."""
        persons = model_input[KEY].astype(str).tolist()
        if not persons:  # Feast takes no empty question
            return pd.DataFrame(columns=["prediction", "probability", "error", "version"])
        found = pd.DataFrame(self.store.get_online_features(self.service, {KEY: persons}).to_dict(), dtype=object)
        answers: pd.DataFrame = self.champion.predict(found).assign(version=self.version)
        for row in found.index[found.drop(columns=KEY).isna().all(axis=1)]:
            answers.loc[row, "error"] = f"person_id is {persons[row]!r}, who is not in the online store"
        return answers.set_index(model_input.index)


mlflow.models.set_model(PersonScorer())
