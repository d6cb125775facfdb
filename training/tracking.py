"""The MLflow run that follows one training through all its tasks."""

import hashlib
import json
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import urlsplit

import mlflow
import numpy as np
import numpy.typing as npt
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from storage.places import address
from training import flavor
from training.dataset import TrainingSet
from training.errors import TrainingError
from training.evaluate import Scores
from training.models import ModelEntry
from training.records import Evaluation, Record
from training.settings import Settings

R = TypeVar("R", bound=Record)

OUT_OF_FOLD = PurePosixPath("evaluation/out_of_fold.npy")


def connect(settings: Settings) -> MlflowClient:
    """Return a client of the settings' tracking server and registry.

    Raises:
        ConnectionError: no server answers at its address; MLflow itself would try for minutes before it said so.
    """
    if settings.tracking_uri.startswith("http"):
        _check_reachable(settings.tracking_uri)
    mlflow.set_tracking_uri(settings.tracking_uri)  # for what takes a URI and no client, such as loading a model
    return MlflowClient(settings.tracking_uri)


def _check_reachable(uri: str) -> None:
    address = urlsplit(uri)
    try:
        socket.create_connection(
            (address.hostname or "", address.port or (443 if address.scheme == "https" else 80)), 10
        ).close()
    except OSError as error:
        raise ConnectionError(
            f"no MLflow answers at {uri} ({error.strerror or error}): start it, or correct MLFLOW_TRACKING_URI"
        ) from None


def start(
    client: MlflowClient, settings: Settings, entry: ModelEntry, dataset: TrainingSet, tags: dict[str, str]
) -> str:
    """Return the id of the MLflow run of the tags' `pipeline_run`: begun by the first call for it, found by a retry."""
    experiment = _experiment(client, settings, entry)
    name = tags["pipeline_run"]
    known = client.search_runs([experiment.experiment_id], f"tags.pipeline_run = '{name}'")
    run = known[0] if known else client.create_run(experiment.experiment_id, run_name=name, tags=tags)
    run_id: str = run.info.run_id
    client.log_inputs(run_id, [DatasetInput(described(entry, dataset), [InputTag("mlflow.data.context", "training")])])
    return run_id


def described(entry: ModelEntry, dataset: TrainingSet) -> Dataset:
    """Return the training set as MLflow's pages show a dataset; its source is the feature store."""
    columns = [*flavor.signature(dataset).inputs.to_dict(), {"name": entry.name, "type": "boolean", "required": True}]
    source = {"training_service": entry.training_service, "snapshot_id": dataset.snapshot_id, "sha256": dataset.digest}
    return Dataset(
        name=entry.training_service,
        digest=dataset.digest[:36],
        source_type="feast",
        source=json.dumps(source),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps({"num_rows": len(dataset.inputs), "num_elements": dataset.inputs.size}),
    )


def _experiment(client: MlflowClient, settings: Settings, entry: ModelEntry) -> Experiment:
    if found := client.get_experiment_by_name(entry.name):
        return found
    # A tracking server has a place of its own for artifacts; a bare database would put them below the working folder.
    local = None if settings.tracking_uri.startswith("http") else settings.artifacts
    location = address(local / entry.name) if local else None
    try:
        client.create_experiment(entry.name, artifact_location=location, tags={"mlflow.note.content": entry.about})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # made by another training since we looked
            raise
    return client.get_experiment_by_name(entry.name)


@contextmanager
def resumed(client: MlflowClient, run_id: str) -> Iterator[None]:
    """Show a run as running during a block, and as failed if the block fails."""
    client.update_run(run_id, status="RUNNING")
    try:
        yield
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise


def log_scores(client: MlflowClient, run_id: str, scores: Scores, parameters: dict[str, str]) -> None:
    """Log each fold's figures as the steps of a metric, their means, the accuracy's deviation, and parameters."""
    at = client.get_run(run_id).info.start_time  # one time for all, so that a retry repeats points and adds none
    metrics = [Metric("accuracy_std", scores.std, at, 0)]
    for name in ("accuracy", "roc_auc", "log_loss"):
        metrics += _by_fold(f"fold_{name}", getattr(scores, name), at)
        metrics.append(Metric(name, float(getattr(scores, name).mean()), at, 0))
    client.log_batch(run_id, metrics, [Param(k, v) for k, v in parameters.items()])


def log_opponents(client: MlflowClient, run_id: str, evaluation: Evaluation) -> None:
    """Log the champion's accuracy on each of the same folds, and the mean of each baseline's."""
    at = client.get_run(run_id).info.start_time
    champion = evaluation.champion.accuracy if evaluation.champion else None
    metrics = _by_fold("champion_fold_accuracy", champion or [], at)
    for name, folds in evaluation.baselines.items():
        metrics.append(Metric(f"baseline_accuracy/{name}", float(np.mean(folds)), at, 0))
    client.log_batch(run_id, metrics)


def _by_fold(name: str, values: Iterable[float], at: int) -> list[Metric]:
    return [Metric(name, float(value), at, step) for step, value in enumerate(values)]


def log_figures(client: MlflowClient, run_id: str, figures: dict[str, float]) -> None:
    """Log single figures; a retry repeats them and adds none."""
    at = client.get_run(run_id).info.start_time
    client.log_batch(run_id, [Metric(name, value, at, 0) for name, value in figures.items()])


def save_out_of_fold(client: MlflowClient, run_id: str, scores: Scores) -> None:
    """Keep each person's out-of-fold probability, in the training set's order, beside the run's records."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / OUT_OF_FOLD.name
        np.save(path, scores.out_of_fold)
        client.log_artifact(run_id, str(path), str(OUT_OF_FOLD.parent))


def load_out_of_fold(run_id: str) -> npt.NDArray[np.float64]:
    """Return what `save_out_of_fold` kept."""
    with tempfile.TemporaryDirectory() as folder:
        path = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{OUT_OF_FOLD}", dst_path=folder)
        values: npt.NDArray[np.float64] = np.load(path)
    return values


def save(client: MlflowClient, run_id: str, record: Record) -> str:
    """Keep a record in the run's folder `evaluation`, named by its class; return the text's SHA-256."""
    text = record.model_dump_json(indent=2)
    client.log_text(run_id, text, _path(type(record)))
    return hashlib.sha256(text.encode()).hexdigest()


def load(run_id: str, kind: type[R], sha256: str | None = None) -> R:
    """Return a record that `save` kept.

    Raises:
        TrainingError: its text has another SHA-256 than the one given.
    """
    text = mlflow.artifacts.load_text(f"runs:/{run_id}/{_path(kind)}")
    if sha256 is not None and hashlib.sha256(text.encode()).hexdigest() != sha256:
        raise TrainingError(f"run {run_id}: {_path(kind)} is not what the version was registered with: train again")
    return kind.model_validate_json(text)


def _path(kind: type[Record]) -> str:
    return f"evaluation/{kind.__name__.lower()}.json"


def set_tags(client: MlflowClient, run_id: str, tags: dict[str, str]) -> None:
    """Set several tags of a run at once."""
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
