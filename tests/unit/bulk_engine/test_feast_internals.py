"""If one of these fails after an upgrade of Feast, what bulk_engine leans on has moved: read it anew there."""

import inspect
import sqlite3
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

import pytest
import redis
from feast import ValueType
from feast.infra.compute_engines.base import ComputeEngine
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.infra.online_stores.sqlite import SqliteOnlineStore
from feast.infra.passthrough_provider import PassthroughProvider
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import get_batch_engine_config_from_type

from bulk_engine import BulkEngineConfig, feast_internals as internals


def test_the_installed_feast_is_one_that_was_tested():
    assert version("feast") in internals.TESTED


def parameters(function) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (internals.LocalComputeEngine._materialize_one, ["self", "registry", "task", "kwargs"]),
        (ComputeEngine.__init__, ["self", "repo_config", "offline_store", "online_store", "kwargs"]),
        (internals.LocalMaterializationJob, ["job_id", "status", "error"]),
        (internals.compute_table_id, ["project", "table", "enable_versioning"]),
        (internals.compute_versioned_name, ["table", "enable_versioning"]),
        (internals.serialize_entity_key, ["entity_key", "entity_key_serialization_version"]),
        (internals.deserialize_entity_key, ["serialized_entity_key", "entity_key_serialization_version"]),
        (internals.serialize_entity_key_prefix, ["entity_keys", "entity_key_serialization_version"]),
        (internals.extract_text_and_num, ["val", "compute_num"]),
        (internals.python_values_to_proto_values, ["values", "feature_type"]),
        (internals.get_online_store_from_config, ["online_store_config"]),
        (
            internals.MaterializationTask,
            [
                "project",
                "feature_view",
                "start_time",
                "end_time",
                "only_latest",
                "tqdm_builder",
                "disable_event_timestamp",
            ],
        ),
        (SqliteOnlineStore._get_db_path, ["config"]),
        (RedisOnlineStore._get_client, ["self", "online_store_config"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_a_function_has_the_parameters_that_it_had(function, expected):
    assert parameters(function) == expected


def test_feast_finds_the_engines_config_by_the_engines_name():
    assert get_batch_engine_config_from_type("bulk_engine.BulkEngine") is BulkEngineConfig
    assert "batch_engine.materialize(" in inspect.getsource(PassthroughProvider.materialize_single_feature_view)


def test_an_entity_key_is_its_names_and_then_each_value_with_a_head():
    names, values = ["b", "a"], [Value(string_val="text"), Value(int64_val=-2)]
    whole = internals.serialize_entity_key(EntityKey(join_keys=names, entity_values=values), 3)
    prefix = internals.serialize_entity_key_prefix(names)
    assert whole == prefix + b"\x04\0\0\0\x08\0\0\0\xfe" + b"\xff" * 7 + b"\x02\0\0\0\x04\0\0\0text"
    assert list(internals.deserialize_entity_key(whole, 3).join_keys) == ["a", "b"]


def test_the_names_in_redis():
    assert internals.redis_field("census:age").hex() == "a1e38f34"
    source = inspect.getsource(RedisOnlineStore.online_write_batch)
    assert 'ts_key = f"_ts:{feature_view}"' in source
    assert '_mmh3(f"{feature_view}:{feature_name}")' in source


def test_sqlite_keeps_an_instant_in_whole_seconds_of_utc_as_local_time():
    at = datetime(2026, 1, 1, 12, 0, 0, 999999)  # noqa: DTZ001
    assert internals.to_naive_utc(at.replace(tzinfo=timezone(timedelta(hours=1)))) == at - timedelta(hours=1)
    assert internals.adapt_datetime_epoch(at) == int(at.timestamp())
    assert sqlite3.adapters[(datetime, sqlite3.PrepareProtocol)] is internals.adapt_datetime_epoch


def test_sqlites_table_has_the_columns_that_it_had(online_of, tmp_path):
    store = online_of("sqlite", tmp_path, 0, {"type": "local"}).store
    with sqlite3.connect(store.config.online_store.path) as database:
        columns = [
            (name, kind, key) for _, name, kind, _, _, key in database.execute("PRAGMA table_info(project_scalars)")
        ]
    database.close()
    assert columns == [
        ("entity_key", "BLOB", 1),
        ("feature_name", "TEXT", 2),
        ("value", "BLOB", 0),
        ("value_text", "TEXT", 0),
        ("vector_value", "BLOB", 0),
        ("event_ts", "timestamp", 0),
        ("created_ts", "timestamp", 0),
    ]


def test_values_are_converted_as_they_were():
    assert internals.python_values_to_proto_values([None, "x"], ValueType.STRING) == [Value(), Value(string_val="x")]
    assert internals.extract_text_and_num(Value(int64_val=3), compute_num=False) == ("3", None)


def test_redis_py_has_the_calls_that_batches_go_through():
    assert parameters(redis.connection.AbstractConnection.send_packed_command) == ["self", "command", "check_health"]
    assert callable(redis.ConnectionPool.get_connection)
    assert callable(redis.ConnectionPool.release)
