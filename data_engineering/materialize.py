"""Materialize a snapshot into the online store, verify it, and mark it verified in Feast's registry."""

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from feast import FeatureStore
from feast.errors import SavedDatasetNotFound
from feast.saved_dataset import SavedDataset

from data_engineering.errors import DataError
from data_engineering.lake import batch_of, instant_of, read_json, staged
from data_engineering.session import asked_by_feast
from data_engineering.settings import Settings
from data_engineering.warehouse import Warehouse, count, opened

log = logging.getLogger(__name__)

VIEW = "census"
KEY = "person_id"


@dataclass(frozen=True)
class VerifiedSnapshot:
    """A snapshot that training may read: its id and its number of persons."""

    snapshot_id: str
    rows: int


def last_verified(store: FeatureStore) -> VerifiedSnapshot | None:
    """Return the newest verified snapshot, or None before the first."""
    marks = [mark.tags for mark in store.list_saved_datasets(tags={"view": VIEW, "verified": "true"})]
    newest = max(marks, key=lambda tags: tags["snapshot_id"], default=None)
    return VerifiedSnapshot(newest["snapshot_id"], int(newest["rows"])) if newest else None


def materialize(store: FeatureStore, snapshot_id: str) -> str:
    """Write a snapshot's rows into the online store and return its id.

    The interval holds the snapshot's one event timestamp and nothing else, so a retry writes the same rows again.
    """
    at = instant_of(snapshot_id)
    store.materialize(start_date=at, end_date=at, feature_views=[VIEW])
    log.info("materialized snapshot %s", snapshot_id)
    return snapshot_id


def verify(store: FeatureStore, settings: Settings, snapshot_id: str) -> dict[str, Any]:
    """Mark a snapshot verified once a sample of its persons reads the same online and offline; return the mark's tags.

    Raises:
        DataError: a value differs.
    """
    with opened(settings) as tables:
        persons = sample(tables, snapshot_id, settings.verify_sample)
    with asked_by_feast(settings):
        compare(store, persons, instant_of(snapshot_id))
    tags = apply_mark(store, settings, snapshot_id)
    log.info("verified snapshot %s: %s of %s persons compared", snapshot_id, f"{len(persons):,}", tags["rows"])
    return tags


def sample(tables: Warehouse, snapshot_id: str, size: int) -> list[str]:
    """Return `size` persons of a snapshot, or all if there are fewer; of another snapshot others, as if by lot."""
    keys = tables.snapshot(snapshot_id).select(KEY)
    lot = (keys[KEY] + snapshot_id).hexdigest("sha256")
    persons: list[str] = tables.answer(keys.order_by(lot).limit(size))[KEY].to_pylist()
    return persons


def apply_mark(store: FeatureStore, settings: Settings, snapshot_id: str) -> dict[str, str]:
    """Write a verified snapshot's mark into the registry, anew if it is there; return its tags."""
    with opened(settings) as tables:
        tags = mark(settings, snapshot_id, rows=count(tables, tables.snapshot(snapshot_id)))
        storage = tables.storage(snapshot_id)
    verified = SavedDataset(f"{VIEW}_{snapshot_id}", features=[], join_keys=[KEY], storage=storage, tags=tags)
    verified.min_event_timestamp = verified.max_event_timestamp = instant_of(snapshot_id)
    store.registry.apply_saved_dataset(verified, store.project)
    return tags


def unmark(store: FeatureStore, snapshot_id: str) -> None:
    """Take a snapshot's mark away: nobody is led to its file any more."""
    with suppress(SavedDatasetNotFound):
        store.registry.delete_saved_dataset(f"{VIEW}_{snapshot_id}", store.project)


def marked(store: FeatureStore) -> set[str]:
    """Return the ids of all verified snapshots."""
    return {mark.tags["snapshot_id"] for mark in store.list_saved_datasets(tags={"view": VIEW, "verified": "true"})}


def pinned(store: FeatureStore) -> dict[str, set[str]]:
    """Return the snapshots that registered versions need, each with the models that say so in the registry."""
    found: dict[str, set[str]] = {}
    for pin in store.list_saved_datasets(tags={"view": VIEW, "pin": "true"}):
        found.setdefault(pin.tags["snapshot_id"], set()).add(pin.tags["model"])
    return found


def mark(settings: Settings, snapshot_id: str, rows: int) -> dict[str, str]:
    """Return what the registry says of a verified snapshot: the door through which training finds it and its origin."""
    manifest = read_json(staged(settings.lake, batch_of(snapshot_id), "manifest.json"))
    return {
        "view": VIEW,
        "verified": "true",
        "snapshot_id": snapshot_id,
        "event_timestamp": instant_of(snapshot_id).isoformat(),
        "rows": str(rows),
        "source": manifest["source"],
        "source_sha256": manifest["sha256"],
        "source_rows": str(manifest["rows"]),
        "run": manifest["run"],
    }


def compare(store: FeatureStore, persons: list[str], at: datetime) -> None:
    """Raise DataError unless every feature of `persons` reads the same online as offline at `at`."""
    columns = [field.name for field in store.get_feature_view(VIEW).features]
    references = [f"{VIEW}:{name}" for name in columns]
    spine = pd.DataFrame({KEY: persons, "event_timestamp": at})
    found = (
        store.get_historical_features(spine, references),
        store.get_online_features(references, [{KEY: person} for person in persons]),
    )
    offline, online = (rows.to_df().set_index(KEY).loc[persons, columns].astype(object) for rows in found)
    for name in columns:
        differs = offline[name] != online[name]
        if differs.any():
            person = differs.idxmax()
            raise DataError(
                f"person {person}: {name} is {online.at[person, name]!r} online and {offline.at[person, name]!r} "
                f"offline ({differs.sum():,} of {len(persons):,} sampled persons differ): run publish_features again"
            )
