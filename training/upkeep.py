"""Which snapshots registered versions need, said in Feast's registry; and the end of files that nobody needs."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from feast import FeatureStore
from feast.saved_dataset import SavedDataset
from mlflow import MlflowClient

from training import score
from training.errors import TrainingError
from training.features import KEY, SNAPSHOT
from training.models import ModelEntry
from training.settings import Settings

REGISTERING = timedelta(days=1)


def pin(store: FeatureStore, entry: ModelEntry, snapshot_id: str) -> None:
    """Say in Feast's registry that a version of a model needs a snapshot, so that it is not pruned.

    A pin is an object of its own, one per model and snapshot: two models that register at once cannot undo each
    other's, nor can whoever writes the snapshot's mark anew.

    Raises:
        TrainingError: the snapshot was pruned since the training set was pulled.
    """
    mark = _mark(store, snapshot_id)
    tags = {"view": mark.tags["view"], "pin": "true", "model": entry.name, SNAPSHOT: snapshot_id}
    tags["pinned_at"] = datetime.now(UTC).isoformat()  # Feast 0.67 keeps no time of a saved dataset's last change
    pinned = SavedDataset(
        f"registered_{entry.name}_{snapshot_id}", features=[], join_keys=[KEY], storage=mark.storage, tags=tags
    )
    pinned.min_event_timestamp = pinned.max_event_timestamp = datetime.fromisoformat(mark.tags["event_timestamp"])
    store.registry.apply_saved_dataset(pinned, store.project)
    # Pruning takes the mark away and then looks for pins: of a pruning at this moment, one of us sees the other.
    _mark(store, snapshot_id)


def _mark(store: FeatureStore, snapshot_id: str) -> SavedDataset:
    marks = store.list_saved_datasets(tags={"verified": "true", SNAPSHOT: snapshot_id})
    if not marks:
        raise TrainingError(f"snapshot {snapshot_id} was pruned while a model was trained on it: train again")
    return marks[0]


def prune(store: FeatureStore, client: MlflowClient, settings: Settings, *, dry_run: bool = False) -> Iterator[str]:
    """Remove old training sets, predictions, and pins that no registered version needs; give a line for each.

    Of predictions each model's newest stay.
    """
    now = datetime.now(UTC)
    before, did = now - timedelta(days=settings.keep_days), "would remove" if dry_run else "removed"
    files = {path: f"training set {path.name}" for path in sorted(settings.workspace.rglob("*.parquet*"))}
    files |= {path: f"predictions {path.parent.name}/{path.name}" for path in _outdated(settings.predictions)}
    for path, called in files.items():
        if path.stat().st_mtime < before.timestamp():
            if not dry_run:
                path.unlink(missing_ok=True)
            yield f"{did} {called}"
    for pin_ in store.list_saved_datasets(tags={"pin": "true"}):
        model, snapshot_id = pin_.tags["model"], pin_.tags[SNAPSHOT]
        versions = client.search_model_versions(f"name = '{model}'")
        # A young pin's version may not be registered yet.
        old = datetime.fromisoformat(pin_.tags["pinned_at"]) < min(before, now - REGISTERING)
        if old and not any(version.tags.get(SNAPSHOT) == snapshot_id for version in versions):
            if not dry_run:
                store.registry.delete_saved_dataset(pin_.name, store.project)
            yield f"{did} pin of snapshot {snapshot_id}: no registered version of {model} needs it"


def _outdated(predictions: Path) -> Iterator[Path]:
    """Give each model's predictions but for the newest."""
    for folder in sorted(predictions.glob("*/")):
        yield from sorted(folder.glob("[!.]*.parquet"), key=score.order)[:-1]
