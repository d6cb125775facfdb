"""A data scientist's way in: the DAG's own functions by model name, for a notebook or a REPL opened by `make shell`."""

from datetime import datetime

from feast import FeatureStore
from sklearn.pipeline import Pipeline

from training import dataset as datasets, evaluate, offline
from training.dataset import TrainingSet
from training.evaluate import Scores
from training.models import MODELS
from training.settings import CORES, Settings


def training_set(model: str, as_of: datetime | None = None) -> TrainingSet:
    """Return the training set that the DAG would train on."""
    with offline.limited(Settings()):
        return datasets.training_set(MODELS[model], FeatureStore(), as_of)


def cross_validate(model: str, dataset: TrainingSet) -> Scores:
    """Return the scores that the DAG would gate on."""
    return evaluate.cross_validate(evaluate.recipe(MODELS[model], dataset), dataset, CORES)


def fit(model: str, dataset: TrainingSet) -> Pipeline:
    """Return the pipeline that the DAG would register."""
    return evaluate.fit(evaluate.recipe(MODELS[model], dataset), dataset, CORES)
