"""The publishing DAG's tasks: each takes and returns ids, and finds its data in the lake and in Feast."""

import logging
from collections.abc import Callable
from typing import Any

from feast import FeatureStore

from data_engineering import (
    clean as cleaning,
    contract,
    erase as erasing,
    materialize as online,
    prune as pruning,
    publish as publishing,
    registered,
    source as sources,
)
from data_engineering.errors import DataError
from data_engineering.settings import Settings

log = logging.getLogger(__name__)


def extract(settings: Settings, run: str, source: str | None) -> str:
    """Read the source into a new batch, or find the one that this run read before."""
    return sources.extract(settings, run, source)


def clean(settings: Settings, batch: str) -> str:
    """Clean the batch's raw table."""
    return cleaning.clean(settings, batch)


def validate(settings: Settings, batch: str) -> str:
    """Hold the batch's clean table against the contract."""
    last = online.last_verified(_store(settings))
    return contract.validate(settings, batch, last.rows if last else None)


def publish(settings: Settings, batch: str, *, force: bool) -> str | None:
    """Return the snapshot that holds the batch's content, or None if nothing has changed."""
    last = online.last_verified(_store(settings))
    return publishing.publish(settings, batch, last.snapshot_id if last else None, force=force)


def materialize(settings: Settings, snapshot_id: str) -> str:
    """Write the snapshot into the online store."""
    return online.materialize(_store(settings), snapshot_id)


def verify(settings: Settings, snapshot_id: str) -> dict[str, Any]:
    """Mark the snapshot verified once it reads the same online and offline."""
    return online.verify(_store(settings), settings, snapshot_id)


def prune(settings: Settings, say: Callable[[str], None] = log.info, *, dry_run: bool = False) -> None:
    """Remove what is old and not needed, and absent persons from the online store; say a line for each."""
    for line in pruning.prune(_store(settings), settings, dry_run=dry_run):
        say(line)


def rebuild(settings: Settings, say: Callable[[str], None] = log.info) -> None:
    """Fill the online store anew from the newest verified snapshot, and compare; say which one it was."""
    store = _store(settings)
    last = online.last_verified(store)
    if last is None:
        raise DataError("there is no verified snapshot to fill the online store from: run publish_features")
    online.materialize(store, last.snapshot_id)
    online.verify(store, settings, last.snapshot_id)
    say(f"the online store holds the {last.rows:,} persons of snapshot {last.snapshot_id}")


def erase(settings: Settings, person_id: str, reason: str, say: Callable[[str], None] = log.info) -> None:
    """Erase a person everywhere; say a line for each thing done."""
    for line in erasing.erase(_store(settings), settings, person_id, reason):
        say(line)


def _store(settings: Settings) -> FeatureStore:
    store = FeatureStore()  # FEAST_FS_YAML_FILE_PATH names its configuration
    registered.check(store, settings)
    return store
