"""What the engine takes on, what it leaves to Feast's own, and what it says."""

import logging
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureView, Field, FileSource, PushSource, RepoConfig, ValueType, types
from feast.data_format import ParquetFormat
from feast.infra.common.materialization_job import MaterializationTask
from pydantic import ValidationError

import bulk_engine
from bulk_engine import BulkEngine, engine as engine_module, feast_internals
from bulk_engine.encode import encoded
from bulk_engine.engine import MOST_FEATURES
from bulk_engine.redis_rows import ROWS_PER_CALL
from bulk_engine.sqlite_rows import VALUES_PER_TRANSACTION
from tests.unit.bulk_engine.conftest import END, START, Pair

SOURCE = FileSource(name="files", path="rows.parquet", timestamp_field="event")
PERSON = Entity(name="person", join_keys=["person"], value_type=ValueType.STRING)
KEY, VALUE = Field(name="person", dtype=types.String), Field(name="value", dtype=types.Int64)


def view(**more: Any) -> FeatureView:
    return FeatureView(**{"name": "view", "entities": [PERSON], "schema": [KEY, VALUE], "source": SOURCE} | more)


def source(**more: Any) -> FileSource:
    return FileSource(**{"name": "files", "path": "rows.parquet", "timestamp_field": "event"} | more)


def engine(**more: Any) -> BulkEngine:
    given = {
        "project": "project",
        "provider": "local",
        "registry": "registry.db",
        "offline_store": {"type": "duckdb"},
        "online_store": {"type": "sqlite"},
        "entity_key_serialization_version": 3,
    }
    return BulkEngine(repo_config=RepoConfig(**(given | more)), offline_store=None, online_store=None)


def refusal(a_view: FeatureView, **config: Any) -> str | None:
    return engine(**config).refusal(MaterializationTask("project", a_view, START, END))


def test_a_plain_view_of_parquet_files_is_taken_on():
    assert refusal(view()) is None
    assert refusal(view(source=source(path="folder", file_format=ParquetFormat()))) is None
    assert refusal(view(source=source(path="s3://lake/rows.parquet"))) is None
    assert refusal(view(source=source(path="gs://lake/*.parquet"))) is None


@pytest.mark.parametrize(
    ("a_view", "why"),
    [
        (lambda: view(source=PushSource(name="push", batch_source=SOURCE)), "fed by a stream"),
        (lambda: view(enable_validation=True), "validated"),
        (lambda: view(schema=[KEY, *(Field(name=f"f{n}", dtype=types.Int64) for n in range(1001))]), "more than 1,000"),
        (lambda: view(offline=True), "written offline too"),
        (lambda: view(entities=[]), "without join keys"),
        (
            lambda: view(
                entities=[Entity(name="at", join_keys=["at"], value_type=ValueType.UNIX_TIMESTAMP)],
                schema=[Field(name="at", dtype=types.UnixTimestamp), VALUE],
            ),
            "a join key is a timestamp",
        ),
        (lambda: view(source=source(path="rows.csv")), "its files are not Parquet"),
        (
            lambda: view(source=source(path="abfs://lake/rows.parquet")),
            "its files are remote (abfs://lake/rows.parquet)",
        ),
        (
            lambda: view(source=source(path="s3://lake/rows.parquet", s3_endpoint_override="http://localhost")),
            "behind an endpoint or credentials of their own",
        ),
        (
            lambda: view(schema=[KEY, Field(name="value", dtype=types.Array(types.Float32), vector_index=True)]),
            "a feature is a vector",
        ),
        (lambda: view(source=[view(name="other")], sink_source=SOURCE), "made of other views"),
    ],
)
def test_other_views_are_left_to_feasts_own_engine(a_view, why):
    assert why in refusal(a_view())


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"offline_store": {"type": "dask"}}, "offline store dask"),
        ({"online_store": {"type": "sqlite", "vector_enabled": True}}, "online store option vector_enabled"),
        ({"online_store": {"type": "redis", "redis_type": "redis_cluster"}}, "a Redis Cluster"),
        ({"online_store": {"type": "remote", "path": "http://localhost"}}, "online store remote"),
    ],
)
def test_other_stores_are_left_to_feasts_own_engine(config, why):
    assert refusal(view(), **config) == why


def test_what_is_not_taken_on_is_materialized_by_feast_with_one_line(pair, caplog, monkeypatch):
    pair.clear()
    pair.put("scalars", [{"person": "a", "an_int64": 1, "event": START, "made": START}])
    scalars = pair.ours.store.get_feature_view("scalars")
    monkeypatch.setattr(scalars, "enable_validation", True)
    with caplog.at_level(logging.WARNING, "bulk_engine"):  # as `feast materialize` is set
        (job,) = pair.ours.store._get_provider().batch_engine.materialize(
            pair.ours.store.registry, MaterializationTask("project", scalars, START, END)
        )
    assert job.error() is None
    assert [r.message for r in caplog.records if r.name.startswith("bulk_engine")] == [
        "scalars: validated: Feast's own engine materializes it"
    ]
    rows = pair.ours.store.get_online_features(["scalars:an_int64"], [{"person": "a"}])
    assert rows.to_dict()["an_int64"] == [1]


def test_columns_of_unknown_bytes_are_left_to_feasts_own_engine(pair, caplog):
    pair.clear()
    folder = pair.folder / "mapped"
    folder.mkdir(exist_ok=True)
    row = {
        "PERSON": ["a"],
        "VALUE": pa.array([1.0]),
        "other": ["x"],
        "WHEN": pa.array([START], pa.timestamp("us", "UTC")),
    }
    pq.write_table(pa.table(row), folder / "rows.parquet")
    with caplog.at_level(logging.INFO, "bulk_engine"):
        pair.ours.materialize("mapped")
    assert "mapped: its column value is DOUBLE and shall be Int64: Feast's own engine" in caplog.text
    rows = pair.ours.store.get_online_features(["mapped:value"], [{"person": "a"}])
    assert rows.to_dict()["value"] == [1]


@pytest.mark.parametrize("unit", ["ms", "ns"])
def test_instants_of_other_units_are_read_as_stock_reads_them(pair, unit):
    pair.clear()
    (pair.folder / "mapped").mkdir(exist_ok=True)
    ends = [START, START + timedelta(milliseconds=1), END, END + timedelta(milliseconds=1)]
    columns = {"PERSON": ["a", "a", "b", "c"], "VALUE": [1, 2, 3, 4], "other": ["x"] * 4}
    when = pa.array([at.replace(tzinfo=None) for at in ends], pa.timestamp(unit))
    pq.write_table(pa.table({**columns, "WHEN": when}), pair.folder / "mapped/rows.parquet")
    for online in (pair.stock, pair.ours):
        online.materialize("mapped")
    assert pair.ours.dump() == pair.stock.dump()
    assert set(bulk_engine.listed(pair.ours.store, "mapped")) == {("a",), ("b",)}


@pytest.mark.parametrize("engine_type", ["local", "bulk_engine.BulkEngine"])
def test_an_online_file_that_is_gone_fails_and_does_not_begin_again_for_ever(online_of, tmp_path, engine_type):
    online = online_of("sqlite", tmp_path, 0, {"type": engine_type})
    Pair(online, online, tmp_path).put("scalars", [{"person": "a", "event": START, "made": START}])
    Path(online.store.config.online_store.path).unlink()
    online.store._get_provider().online_store._conn = None
    with pytest.raises(sqlite3.OperationalError, match=r"no such table: .*project_scalars"):
        online.materialize("scalars")


def test_no_files_at_all_fail_as_in_stock(pair):
    pair.clear()
    for online in (pair.stock, pair.ours):
        with pytest.raises(Exception, match=r"(?i)no files found"):
            online.materialize("scalars")


def test_integers_beside_a_null_are_exact_and_empty_bytes_are_not_null(pair):
    pair.clear()
    rows = [{"an_int64": 2**53 + 1, "a_bytes": b""}, {"an_int64": None, "a_bytes": b""}, {"an_int64": -(2**63)}]
    pair.put("scalars", [{"person": str(n), **row, "event": START, "made": START} for n, row in enumerate(rows)])
    pair.ours.materialize("scalars")
    names = ["an_int64", "a_bytes"]
    found = pair.ours.store.get_online_features([f"scalars:{n}" for n in names], [{"person": str(n)} for n in range(3)])
    assert found.to_dict() == {
        "person": ["0", "1", "2"],
        "an_int64": [2**53 + 1, None, -(2**63)],
        "a_bytes": [b"", b"", None],
    }


def test_redis_keys_live_as_long_as_stocks(online_of, tmp_path):
    stock, ours = (
        online_of("redis", tmp_path, n, {"type": kind}, key_ttl_seconds=1000)
        for n, kind in ((5, "local"), (6, "bulk_engine.BulkEngine"))
    )
    for online in (stock, ours):
        Pair(online, online, tmp_path).put("scalars", [{"person": "a", "event": START, "made": START}])
        online.materialize("scalars")
    assert ours.dump() == stock.dump()
    assert [expires for _, expires in ours.dump().values()] == [True]
    stock.clear()
    ours.clear()


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_view_of_the_most_features_each_value_another_is_written_as_stock_writes_it(
    online_of, tmp_path, monkeypatch, kind
):
    names, people = [f"it's {n}" for n in range(MOST_FEATURES)], range(ROWS_PER_CALL + 30)
    columns = {name: [number * len(people) + person for person in people] for number, name in enumerate(names)}
    at = [START] * len(people)
    pq.write_table(pa.table({"person": [str(n) for n in people], **columns, "event": at}), tmp_path / "wide.parquet")
    wide = view(
        name="wide",
        schema=[KEY, *(Field(name=name, dtype=types.Int64) for name in names)],
        source=source(name="wide", path=str(tmp_path / "wide.parquet")),
    )
    batches, dumps = [], []
    monkeypatch.setattr(engine_module, "encoded", lambda batch, view: batches.append(batch) or encoded(batch, view))
    for number, engine_type in ((7, "local"), (8, "bulk_engine.BulkEngine")):
        online = online_of(kind, tmp_path, number, {"type": engine_type})
        online.store.apply([PERSON, wide])
        online.store.config.materialization_config.online_write_batch_size = 1000  # no smaller than a call
        online.materialize("wide")
        dumps.append(online.dump())
        online.clear()
    stock, ours = dumps
    assert ours == stock
    assert sum(map(len, ours.values())) >= len(people)
    if kind == "sqlite":  # whose readers wait for the end of a transaction that its cache cannot hold
        assert max(batch.num_rows for batch in batches) * MOST_FEATURES <= VALUES_PER_TRANSACTION


def test_progress_is_shown_as_feast_shows_it(pair, capsys):
    pair.clear()
    pair.put("scalars", [{"person": str(n), "event": START, "made": START} for n in range(9)])
    pair.ours.store.materialize(START, END, ["scalars"])
    assert "100%" in capsys.readouterr().err


def test_an_unknown_option_is_named():
    with pytest.raises(ValidationError, match="wirte"):
        BulkEngine(repo_config=None, offline_store=None, online_store=None, wirte="changed")


def test_a_feast_that_it_was_not_tested_with_is_refused(monkeypatch):
    monkeypatch.setattr(feast_internals, "version", lambda _: "0.99.0")
    with pytest.raises(RuntimeError, match=r"^bulk_engine was tested with Feast 0.67.0, and 0.99.0 is installed: "):
        engine()
