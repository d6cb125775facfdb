"""Which entities are online, and their removal: one is seen whole or not at all, and one written meanwhile stays."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

import pyarrow as pa
from feast import FeatureStore, FeatureView
from feast.protos.feast.types.EntityKey_pb2 import EntityKey

from bulk_engine import online
from bulk_engine.duck import connected
from bulk_engine.encode import KEY_VERSION, entity_keys
from bulk_engine.feast_internals import (
    deserialize_entity_key,
    get_online_store_from_config,
    python_values_to_proto_values,
    redis_client,
    serialize_entity_key,
)

BATCH_ROWS = 10_000
MEMORY_LIMIT = "512MB"

Key = tuple[Any, ...]
"""An entity's join key values, in the order of the view's `join_keys`."""


def supported(store: FeatureStore) -> bool:
    """Return whether entities can be removed from this store's kind of online store."""
    return online.refusal(store.config) is None


def listed(store: FeatureStore, view_name: str) -> Iterator[Key]:
    """Give the keys of a view's entities that are online; one that is written meanwhile may be given twice."""
    view = store.get_feature_view(view_name)
    with _rows(store, view) as rows:
        for entity, _ in rows.listed():
            yield _key(entity, view)


def remove(store: FeatureStore, view_name: str, keys: Iterable[Key]) -> int:
    """Remove entities from a view's online rows; return how many were there.

    If any was, the next materialization with `write: changed` writes every row.
    """
    view = store.get_feature_view(view_name)
    with _rows(store, view) as rows:
        return int(rows.remove((entity, None) for entity in _serialized(list(keys), view)))


def remove_absent(
    store: FeatureStore, view_name: str, present: Callable[[], Iterable[pa.RecordBatch]], *, dry_run: bool = False
) -> int:
    """Remove the entities online that are not among `present()`; return how many these are.

    `present` gives batches with the view's join keys as columns. It is called after the entities online are listed, and
    must give the newest snapshot's at least. One that is written with another event timestamp between the listing and
    the removal stays. If any is removed, the next materialization with `write: changed` writes every row: it may be
    back unchanged. Takes `MEMORY_LIMIT`, and spills the rest.
    """
    view = store.get_feature_view(view_name)
    with _rows(store, view) as rows, connected(MEMORY_LIMIT) as connection:
        connection.execute(f"CREATE TABLE online (entity BLOB, instant {rows.instants})")
        connection.execute("CREATE TABLE present (entity BLOB)")
        found = iter(rows.listed())
        while entities := list(islice(found, BATCH_ROWS)):
            columns = [list(column) for column in zip(*entities, strict=True)]
            connection.from_arrow(pa.table(columns, names=["entity", "instant"])).insert_into("online")
        for batch in present():
            connection.from_arrow(pa.table({"entity": entity_keys(batch, view)})).insert_into("present")
        # Redis may list an entity twice.
        absent = connection.sql(
            "SELECT entity, max(instant) FROM online ANTI JOIN present USING (entity) GROUP BY entity"
        )
        if dry_run:
            return len(absent)
        batches = absent.to_arrow_reader(BATCH_ROWS)
        return int(rows.remove(pair for batch in batches for pair in zip(*map(pa.Array.to_pylist, batch), strict=True)))


def full_refresh(store: FeatureStore, view_name: str) -> None:
    """Let the next materialization with `write: changed` write every row."""
    with _rows(store, store.get_feature_view(view_name)) as rows:
        rows.forget()


@contextmanager
def _rows(store: FeatureStore, view: FeatureView) -> Iterator[Any]:
    config = store.config
    if why := online.refusal(config):
        raise NotImplementedError(f"{why}: bulk_engine knows the rows of sqlite and redis: go by the store's own means")
    online_store = get_online_store_from_config(config.online_store)
    with ExitStack() as stack:
        if config.online_store.type == "redis":
            stack.callback(redis_client(config, online_store).close)
        yield stack.enter_context(online.rows_of(config, online_store, view))


def _serialized(keys: Collection[Key], view: FeatureView) -> list[bytes]:
    names = view.join_keys
    types = [column.dtype.to_value_type() for column in view.entity_columns]
    columns = [
        python_values_to_proto_values(list(values), kind)
        for values, kind in zip(zip(*keys, strict=True), types, strict=bool(keys))
    ]
    return [
        serialize_entity_key(EntityKey(join_keys=names, entity_values=row), KEY_VERSION)
        for row in zip(*columns, strict=True)
    ]


def _key(entity: bytes, view: FeatureView) -> Key:
    found = deserialize_entity_key(entity, KEY_VERSION)
    values = {
        name: getattr(value, value.WhichOneof("val"))
        for name, value in zip(found.join_keys, found.entity_values, strict=True)
    }
    return tuple(values[name] for name in view.join_keys)
