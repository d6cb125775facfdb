"""A small feature store that both areas' tests share: Feast applied, and one verified snapshot of 300 census rows."""

import gzip
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from data_engineering.settings import BUNDLED_SOURCE, Settings
from tests.applying import feast_apply

if TYPE_CHECKING:
    from feast import FeatureStore


@dataclass(frozen=True)
class Publisher:
    """The data-engineering DAG's tasks on the folder of this test, called in the DAG's order."""

    settings: Settings
    lines: list[str]
    first: str

    @property
    def store(self) -> "FeatureStore":
        """Return the store as another process would open it: with nothing cached."""
        from feast import FeatureStore

        return FeatureStore()

    def published(self, lines: list[str]) -> str:
        """Publish lines of the census file as a snapshot that is neither online nor verified."""
        return _published(self.settings, lines)

    def verified(self, lines: list[str]) -> str:
        """Publish, materialize and verify lines of the census file as a snapshot."""
        return _verified(self.settings, lines)


@pytest.fixture(scope="session")
def census_lines() -> list[str]:
    """Return the first 300 lines of the bundled file."""
    with gzip.open(BUNDLED_SOURCE, "rt") as file:
        return [next(file) for _ in range(300)]


@pytest.fixture(scope="session")
def applied(tmp_path_factory: pytest.TempPathFactory, environment_of: Callable[..., dict[str, str]]) -> Path:
    """Return a var folder in which `feast apply` was run, to be read and not written."""
    var = tmp_path_factory.mktemp("store") / "var"
    with pytest.MonkeyPatch.context() as patch:
        _enter(patch, environment_of(var))
        feast_apply()
    return var


@pytest.fixture(scope="session")
def prepared(applied: Path, environment_of: Callable[..., dict[str, str]], census_lines: list[str]) -> tuple[Path, str]:
    """Return a copy of a var folder with one verified snapshot, and the snapshot's id."""
    with pytest.MonkeyPatch.context() as patch:
        _enter(patch, environment_of(applied))
        snapshot_id = _verified(Settings(), census_lines)
    copy = applied.with_name("prepared")
    shutil.copytree(applied, copy)
    return copy, snapshot_id


@pytest.fixture
def publisher(
    applied: Path,
    prepared: tuple[Path, str],
    environment_of: Callable[..., dict[str, str]],
    census_lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Publisher]:
    """Give the prepared folder anew, always in the same place: Feast's registry holds absolute paths."""
    shutil.rmtree(applied)
    shutil.copytree(prepared[0], applied)
    _enter(monkeypatch, environment_of(applied))
    return Publisher(Settings(), census_lines, prepared[1])


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an MLflow database with all tables and nothing in them; making one takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def _enter(patch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        patch.setenv(name, value)


@pytest.fixture(name="feast_apply")
def _feast_apply(publisher: Publisher) -> Callable[[], None]:
    """Return the call that does `feast apply` on the folder of this test."""
    return feast_apply


def _published(settings: Settings, lines: list[str]) -> str:
    from data_engineering import steps

    run = f"run {len(list(settings.lake.glob('staging/*')))}"
    source = settings.lake.parent / "source.csv"
    source.write_text("".join(lines))
    batch = steps.extract(settings, run, str(source))
    snapshot_id = steps.publish(settings, steps.validate(settings, steps.clean(settings, batch)), force=True)
    assert snapshot_id
    return snapshot_id


def _verified(settings: Settings, lines: list[str]) -> str:
    from data_engineering import steps

    snapshot_id = steps.materialize(settings, _published(settings, lines))
    steps.verify(settings, snapshot_id)
    return snapshot_id
