"""Training sets of the shared small store, and a real MLflow of each test's own."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from training.models import ModelEntry, never_married
from training.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from sklearn.pipeline import Pipeline

    from training.dataset import TrainingSet


@dataclass(frozen=True)
class Champion:
    """A model that was fitted on the small store's snapshot and serves as its champion."""

    settings: Settings
    client: "MlflowClient"
    environment: dict[str, str]
    dataset: "TrainingSet"
    pipeline: "Pipeline"
    version: str


@pytest.fixture(scope="module", autouse=True)
def _trials(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have a module's models tried in this process: a fresh one's imports take seconds for each.

    Modules marked `fresh_process`, the tests of kills and those end to end have it as it is.
    """
    from training import trial
    from training.errors import TrainingError

    def tried_here(uri: str, _: str, model: str, folder: Path) -> None:
        try:
            trial.main(model, str(folder))
        except Exception as error:  # noqa: BLE001  a model may raise anything
            raise TrainingError(f"{uri} does not load and answer in a fresh process: {error}") from None

    with pytest.MonkeyPatch.context() as patch:
        if not request.node.get_closest_marker("fresh_process"):
            patch.setattr(trial, "_run", tried_here)
        yield


@pytest.fixture(scope="session")
def empty_registry(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], tuple[str, Path]]]:
    """Give the call that gives an MLflow with nothing in it, its address and its artifacts' folder.

    It is a database below the folder that is asked for, or the server that the tests are to run on.
    """
    if not (server := request.config.getoption("mlflow_server")):
        empty = request.getfixturevalue("empty_mlflow")
        yield lambda folder: (f"sqlite:///{shutil.copy(empty, folder / 'mlflow.db')}", folder / "artifacts")
        return

    def emptied(folder: Path) -> tuple[str, Path]:
        from mlflow import MlflowClient

        client = MlflowClient(server)
        for model in client.search_registered_models():
            client.delete_registered_model(model.name)
        for experiment in client.search_experiments(filter_string="name != 'Default'"):
            client.rename_experiment(experiment.experiment_id, f"removed {experiment.experiment_id}")
            client.delete_experiment(experiment.experiment_id)
        return server, Path(request.config.getoption("mlflow_artifacts"))

    yield emptied
    emptied(Path())  # whoever comes after finds no champion of ours


@pytest.fixture(scope="session")
def settings_below(empty_registry: Callable[[Path], tuple[str, Path]]) -> Callable[[Path], Settings]:
    """Return the call that gives training its settings on an MLflow below a folder."""

    def settings(folder: Path) -> Settings:
        uri, artifacts = empty_registry(folder)
        return Settings(
            tracking_uri=uri,
            workspace=folder / "training",
            artifacts=artifacts,
            predictions=folder / "predictions",
            min_accuracy=0.7,
            threads=1,
            alpha=1,  # on 300 persons no recipe is significantly better than another
            git_commit="0123456789abcdef",
        )

    return settings


@pytest.fixture
def settings(settings_below: Callable[[Path], Settings], tmp_path: Path) -> Settings:
    return settings_below(tmp_path)


def _crowned(settings: Settings, entry: ModelEntry) -> tuple["TrainingSet", "Pipeline", str]:
    """Fit a model of the store's newest snapshot, register it as it is and give it alias `champion`."""
    from feast import FeatureStore
    from mlflow.exceptions import MlflowException

    from training import dataset as datasets, evaluate, flavor, tracking

    client = tracking.connect(settings)
    dataset = datasets.training_set(entry, FeatureStore())
    fitted = evaluate.fit(evaluate.recipe(entry, dataset), dataset)
    experiment = client.get_experiment_by_name(entry.name)
    place = (settings.artifacts / entry.name).as_uri()
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(entry.name, place)
    run_id = client.create_run(experiment_id).info.run_id
    model = flavor.log_model(client, entry, run_id, fitted, dataset)
    try:
        client.create_registered_model(entry.name)
    except MlflowException as error:
        assert error.error_code == "RESOURCE_ALREADY_EXISTS"  # noqa: PT017
    version = client.create_model_version(entry.name, model.model_uri, run_id, model_id=model.model_id).version
    client.set_registered_model_alias(entry.name, "champion", version)
    return dataset, fitted, str(version)


@pytest.fixture(scope="session")
def crowned() -> Callable[[Settings, ModelEntry], tuple["TrainingSet", "Pipeline", str]]:
    """Return the call that makes a champion: its training set, its pipeline and its version."""
    return _crowned


@pytest.fixture(scope="module")
def champion(
    applied: Path,
    prepared: tuple[Path, str],
    environment_of: Callable[..., dict[str, str]],
    settings_below: Callable[[Path], Settings],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Champion]:
    """Give a module the small store with a champion of `never_married`, to be asked and not changed."""
    from training import tracking

    shutil.rmtree(applied)
    shutil.copytree(prepared[0], applied)
    settings = settings_below(tmp_path_factory.mktemp("champion"))
    environment = environment_of(applied, MLFLOW_TRACKING_URI=settings.tracking_uri)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        made = _crowned(settings, never_married)
        yield Champion(settings, tracking.connect(settings), environment, *made)


@pytest.fixture
def registered(publisher: Any, settings: Settings) -> Callable[..., "ModelVersion"]:
    """Return the call that registers a version fitted on the newest snapshot, whose recorded accuracy is given."""

    from training import dataset, evaluate, flavor, lineage, register as registry, steps, tracking
    from training.records import Evaluation

    def version(run: str = "manual__1", holdout_share: float = 0.0, accuracy: float = 0.9) -> "ModelVersion":
        client, store = tracking.connect(settings), publisher.store
        data = dataset.training_set(never_married, store, holdout_share=holdout_share)
        recipe = evaluate.recipe(never_married, data)
        tags = {"pipeline_run": run, "asset.event": lineage.BY_HAND}
        tags |= lineage.tags(settings, never_married, store, data)
        run_id = tracking.start(client, settings, never_married, data, tags)
        evaluation = Evaluation(
            run_id=run_id,
            recipe=registry.recipe_digest(recipe),
            snapshot_id=data.snapshot_id,
            training_set_digest=data.digest,
            accuracy=[accuracy] * 15,
            baselines={"majority": [0.67] * 15},
            champion=None,
            best=None,
            slices=[],
        )
        tracking.set_tags(client, run_id, {"evaluation.sha256": tracking.save(client, run_id, evaluation)})
        steps.gate(settings, run_id, {})
        logged = flavor.log_model(client, never_married, run_id, evaluate.fit(recipe, data), data)
        number = registry.register(client, never_married, run_id, logged.model_id)
        return client.get_model_version(never_married.name, number)

    return version
