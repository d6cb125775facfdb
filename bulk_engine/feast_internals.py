"""Every part of Feast that this package leans on and its documentation does not promise, with the reason.

`tests/unit/bulk_engine/test_feast_internals.py` fails when an upgrade of Feast moves or changes one of them. Of Ibis
nothing is used, neither private nor public: DuckDB is asked directly.
"""

from importlib.metadata import version
from typing import Any

# An entity without join keys: Feast gives such views this one, and materializes one row.
from feast.feature_view import DUMMY_ENTITY_ID

# The job's states, and what Feast asks for: one view and one interval, by these names.
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask

# The engine that this one extends, and hands views over to: its `_materialize_one` is what we override, since
# `materialize` of the public base class calls it once per view.
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob

# The bytes that stand for an entity in both online stores, from its values and back.
from feast.infra.key_encoding_utils import (
    deserialize_entity_key,
    serialize_entity_key,
    serialize_entity_key_prefix,
)

# Names in the online stores: of a feature in a Redis hash (_mmh3), of a view in Redis (compute_versioned_name) and of
# a view's table in SQLite (compute_table_id); the text that SQLite keeps beside a value; and the store itself, as a
# configuration names it, for what is done with rows between materializations.
from feast.infra.online_stores.helpers import (
    _mmh3 as redis_field,
    compute_table_id,
    compute_versioned_name,
    extract_text_and_num,
    get_online_store_from_config,
)

# SQLite keeps instants as these two functions make them: whole seconds of UTC, read as the machine's local time.
from feast.infra.online_stores.sqlite import SqliteOnlineStore, adapt_datetime_epoch

# What turns a column's values into Feast's protobuf values.
from feast.type_map import python_values_to_proto_values
from feast.utils import to_naive_utc

__all__ = [
    "DUMMY_ENTITY_ID",
    "LocalComputeEngine",
    "LocalMaterializationJob",
    "MaterializationJobStatus",
    "MaterializationTask",
    "adapt_datetime_epoch",
    "check_version",
    "compute_table_id",
    "compute_versioned_name",
    "deserialize_entity_key",
    "extract_text_and_num",
    "get_online_store_from_config",
    "python_values_to_proto_values",
    "redis_client",
    "redis_field",
    "serialize_entity_key",
    "serialize_entity_key_prefix",
    "sqlite_path",
    "to_naive_utc",
]

TESTED = ("0.67.0",)


def check_version() -> None:
    """Raise RuntimeError unless the installed Feast is one that this package was tested with."""
    found = version("feast")
    if found not in TESTED:
        raise RuntimeError(
            f"bulk_engine was tested with Feast {', '.join(TESTED)}, and {found} is installed: install a tested one, "
            "or set batch_engine: {type: local}, or run bulk_engine's tests with it and add it to TESTED in "
            "bulk_engine/feast_internals.py"
        )


def sqlite_path(config: Any) -> str:
    """Return the path of the SQLite online store's file."""
    return str(SqliteOnlineStore._get_db_path(config))  # noqa: SLF001  resolves paths relative to the repo


def redis_client(config: Any, store: Any) -> Any:
    """Return the redis-py client of a Redis online store, as its connection string says, Sentinel included."""
    return store._get_client(config.online_store)  # noqa: SLF001  the parsing of connection strings is Feast's
