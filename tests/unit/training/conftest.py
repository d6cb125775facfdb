"""Training sets of the shared small store, and a real MLflow of each test's own."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

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
            alpha=1,  # on 300 persons no recipe is significantly better than another
            git_commit="0123456789abcdef",
        )

    return settings


@pytest.fixture
def settings(settings_below: Callable[[Path], Settings], tmp_path: Path) -> Settings:
    return settings_below(tmp_path)
