"""What a training is compared with on its own folds: the champion's recipe, the best recipe so far, and baselines.

A fitted champion has seen the rows, and would look better than it is: its recipe is refitted in each fold.
"""

import hashlib
import logging
from dataclasses import dataclass

import mlflow.sklearn
from feast import FeatureStore
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from training import dataset as datasets, evaluate, offline, register as registry, tracking
from training.dataset import TrainingSet
from training.errors import TrainingError
from training.models import ModelEntry
from training.records import Evaluation, Opponent
from training.settings import Settings

log = logging.getLogger(__name__)

MANY_ROWS = 1_000_000


@dataclass(frozen=True)
class Opponents:
    """What there is to compare with in one run's training on its training set."""

    client: MlflowClient
    settings: Settings
    entry: ModelEntry
    dataset: TrainingSet
    run_id: str

    def champion(self, recipe: str, ours: list[float]) -> Opponent | None:
        """Return how the champion's recipe does, or None before the first champion.

        `recipe` and `ours` are the challenger's: an equal recipe needs no second cross-validation.
        """
        version = registry.champion(self.client, self.entry)
        if version is None:
            return None
        same = version.tags.get("recipe") == recipe
        accuracy, reason = (ours, "") if same else self._refitted(version)
        return Opponent(
            version=str(version.version),
            recipe=version.tags.get("recipe", ""),
            training_set_digest=version.tags.get("training_set.digest", ""),
            accuracy=accuracy,
            reason=reason,
        )

    def _refitted(self, version: ModelVersion) -> tuple[list[float] | None, str]:
        fitted: Pipeline = mlflow.sklearn.load_model(f"models:/{version.name}/{version.version}")
        wanted = list(fitted.feature_names_in_)
        missing = [name for name in wanted if name not in self.dataset.inputs.columns]
        try:
            with offline.limited(self.settings):
                seen = datasets.extended(FeatureStore(), self.dataset, missing) if missing else self.dataset
        except TrainingError as error:
            log.warning("champion version %s cannot be refitted: %s", version.version, error)
            return None, str(error)
        return evaluate.cross_validate(clone(fitted), seen.only(wanted), self.settings.threads).accuracy.tolist(), ""

    def best(self) -> Opponent | None:
        """Return the best recipe that another run has recorded on the same training set, or None without another."""
        run = next((run for run in self._evaluated() if run.info.run_id != self.run_id), None)
        if run is None:
            return None
        recorded = tracking.load(run.info.run_id, Evaluation)
        return Opponent(
            version=run.data.tags.get("version", "none"),
            recipe=recorded.recipe,
            training_set_digest=recorded.training_set_digest,
            accuracy=recorded.accuracy,
        )

    def baselines(self) -> tuple[str, dict[str, list[float]]]:
        """Return the digest of the baselines' recipes, and each one's accuracy by fold: of an earlier run, or new."""
        found = evaluate.baselines(self.dataset)
        recipes = [registry.recipe_digest(pipeline) for pipeline, _ in found.values()]
        digest = hashlib.sha256("".join(recipes).encode()).hexdigest()[:16]
        for run in self._evaluated(baselines=digest):
            return digest, tracking.load(run.info.run_id, Evaluation).baselines
        # One fold at a time where rows are many: what a baseline makes of them is larger than what they are.
        threads = self.settings.threads if len(self.dataset.inputs) < MANY_ROWS else 1
        return digest, {
            name: evaluate.cross_validate(pipeline, seen, threads).accuracy.tolist()
            for name, (pipeline, seen) in found.items()
        }

    def _evaluated(self, **tags: str) -> list[Run]:
        """Return the runs that were evaluated on the same training set, the best first."""
        wanted = {"training_set.digest": self.dataset.digest, **tags}
        where = " and ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())
        experiment = self.client.get_experiment_by_name(self.entry.name).experiment_id
        runs = self.client.search_runs([experiment], where, order_by=["metrics.accuracy DESC"])
        return [run for run in runs if "evaluation.sha256" in run.data.tags]
