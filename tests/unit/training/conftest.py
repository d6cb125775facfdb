"""Training sets of the shared small store, and a real MLflow of each test's own."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersion

from training import dataset, evaluate, flavor, lineage, register as registry, tracking
from training.models import never_married
from training.settings import Settings


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an MLflow database with all tables and nothing in them; making one takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def settings_below(empty_mlflow: Path) -> Callable[[Path], Settings]:
    """Return the call that gives training its settings on an MLflow below a folder."""

    def settings(folder: Path) -> Settings:
        shutil.copy(empty_mlflow, folder / "mlflow.db")
        return Settings(
            tracking_uri=f"sqlite:///{folder}/mlflow.db",
            workspace=folder / "training",
            artifacts=folder / "artifacts",
            min_accuracy=0.7,
            threads=1,
            git_commit="0123456789abcdef",
        )

    return settings


@pytest.fixture
def settings(settings_below: Callable[[Path], Settings], tmp_path: Path) -> Settings:
    return settings_below(tmp_path)


@pytest.fixture
def registered(publisher: Any, settings: Settings) -> Callable[..., ModelVersion]:
    """Return the call that trains and registers a version on the newest snapshot, without scores, with more tags."""

    def version(run: str = "manual__1", **more: str) -> ModelVersion:
        client, store = tracking.connect(settings), publisher.store
        data = dataset.training_set(never_married, store)
        recipe = evaluate.recipe(never_married, data)
        tags = {
            "pipeline_run": run,
            "asset.event": lineage.BY_HAND,
            **lineage.tags(settings, never_married, store, data),
            "recipe": registry.recipe_digest(recipe),
            "gate": "passed",
            "gate.reason": "good enough",
            **more,
        }
        run_id = tracking.start(client, settings, never_married, data, tags)
        logged = flavor.log_model(client, never_married, run_id, evaluate.fit(recipe, data), data)
        number = registry.register(client, never_married, run_id, logged.model_uri, logged.model_id)
        return client.get_model_version(never_married.name, number)

    return version
