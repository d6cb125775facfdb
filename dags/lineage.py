"""What tasks read and write, as lineage tools name it: OpenLineage's provider, if it is installed and set, tells them.

Names are those of places that stay. Which snapshot or version was there is in the Asset events' extra.
"""

from pathlib import Path

from airflow.providers.common.compat.lineage.entities import File
from airflow.sdk import Asset, Context

from data_engineering.settings import Settings as DataSettings
from notices import begin
from training.settings import Settings as TrainingSettings

DATA, TRAINING = DataSettings(), TrainingSettings()


def place(path: Path | str) -> File:
    """Return the dataset at a path or URL."""
    return File(str(path) if "://" in str(path) else Path(path).absolute().as_uri())


def dataset(asset: Asset) -> File:
    """Return the dataset that an Asset stands for: the provider reads the addresses of few kinds of Asset."""
    return File(asset.uri)


def emitted(asset: Asset) -> list[Asset | File]:
    """Return the outlets of a task that gives an Asset its events: the Asset, and its dataset."""
    return [asset, dataset(asset)]


STAGING = place(DATA.lake / "staging")
SNAPSHOTS = place(DATA.lake / "census")


def read_source(context: Context) -> None:
    """Name the source of this run, before it is read: its Param may say another one than the setting."""
    context["task"].inlets = [place(context["params"]["source"] or DATA.source)]


BEGIN_READING = [begin, read_source]  # the callbacks of the task that reads the source


def training_sets(model: str) -> File:
    """Return where a model's training sets are kept."""
    return place(TRAINING.workspace / model)


def versions(model: str) -> File:
    """Return the model in the registry."""
    return File(f"mlflow://{model}")


def predictions(model: str) -> File:
    """Return where a model's predictions are kept."""
    return place(TRAINING.predictions / model)
