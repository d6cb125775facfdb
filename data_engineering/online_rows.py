"""The one place that knows how Feast keeps rows online: persons are listed and removed here, in SQLite alone.

Feast has no call that takes single entities out of an online store. Read from Feast 0.67: the SQLite store has a table
per feature view, named by `compute_table_id`, with one row per person and feature under a serialized `entity_key`.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from feast import FeatureStore
from feast.infra.key_encoding_utils import deserialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id

VIEW = "census"
WAIT_SECONDS = 60


def supported(store: FeatureStore) -> bool:
    """Return whether persons can be removed from this store's kind of online store."""
    return bool(store.config.online_store.type == "sqlite")


def persons(store: FeatureStore) -> set[str]:
    """Return the keys of all persons in the online store."""
    with _locked(store) as (connection, table):
        return set(_keys(store, connection, table))


def remove(store: FeatureStore, chosen: Callable[[set[str]], set[str]]) -> int:
    """Remove the persons that `chosen` picks among those online, in one transaction; return how many.

    The store is locked for writing from the listing to the removal, so no materialization comes between; a reader
    sees a whole person or none. What is removed is overwritten in the file.
    """
    with _locked(store) as (connection, table):
        keys = _keys(store, connection, table)
        gone = [(keys[person],) for person in chosen(set(keys))]
        connection.executemany(f'DELETE FROM "{table}" WHERE entity_key = ?', gone)  # noqa: S608  Feast's own name
    return len(gone)


def _keys(store: FeatureStore, connection: sqlite3.Connection, table: str) -> dict[str, bytes]:
    version = store.config.entity_key_serialization_version
    rows = connection.execute(f'SELECT DISTINCT entity_key FROM "{table}"')  # noqa: S608  Feast's own name
    return {deserialize_entity_key(key, version).entity_values[0].string_val: key for (key,) in rows}


@contextmanager
def _locked(store: FeatureStore) -> Iterator[tuple[sqlite3.Connection, str]]:
    config = store.config
    path = Path(config.repo_path or ".") / config.online_store.path
    table = compute_table_id(
        store.project, store.get_feature_view(VIEW), config.registry.enable_online_feature_view_versioning
    )
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("BEGIN IMMEDIATE")
        yield connection, table
        connection.execute("COMMIT")
    finally:
        connection.close()  # without a COMMIT this takes everything back
