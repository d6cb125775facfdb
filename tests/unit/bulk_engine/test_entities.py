"""Entities are listed and removed whole, on both online stores, and one that is written meanwhile stays."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import redis

import bulk_engine
from bulk_engine import entities, redis_rows, sqlite_rows
from tests.unit.bulk_engine.conftest import START, Pair, sqlite_dump

VIEWS = ("scalars", "arrays", "mapped")
LATER = START + timedelta(days=1)


@pytest.fixture
def store(pair):
    """Return a store with three entities of each view, two of whose views share an entity."""
    pair.clear()
    pair.put("scalars", [{"person": p, "an_int64": 1, "event": START, "made": START} for p in "abc"])
    pair.put("mapped", [{"PERSON": p, "VALUE": 1, "other": "x", "WHEN": START} for p in "abc"])
    at = START.replace(tzinfo=None)
    pair.put("arrays", [{"left": n, "right": "x", "int64s": [n], "event": at, "made": at} for n in range(3)])
    pair.ours.materialize(*VIEWS)
    return pair.ours.store


def ages(store, view_and_feature: str) -> list[int | None]:
    rows = store.get_online_features([view_and_feature], [{"person": p} for p in "abc"]).to_dict()
    return rows[view_and_feature.split(":")[1]]


def test_entities_are_listed_by_their_join_keys_in_the_views_order(store):
    assert set(bulk_engine.listed(store, "scalars")) == {("a",), ("b",), ("c",)}
    assert set(bulk_engine.listed(store, "arrays")) == {(0, "x"), (1, "x"), (2, "x")}


def test_a_removed_entity_is_gone_from_its_view_and_from_no_other(store):
    assert bulk_engine.remove(store, "scalars", [("a",), ("nobody",)]) == 1
    assert bulk_engine.remove(store, "scalars", []) == 0
    assert ages(store, "scalars:an_int64") == [None, 1, 1]
    assert ages(store, "mapped:value") == [1, 1, 1]
    assert bulk_engine.remove(store, "arrays", [(2, "x")]) == 1
    assert set(bulk_engine.listed(store, "arrays")) == {(0, "x"), (1, "x")}


def test_nothing_is_left_of_an_entity_whose_views_are_all_removed(pair, store):
    for view in ("scalars", "mapped"):
        bulk_engine.remove(store, view, [("a",), ("b",), ("c",)])
    bulk_engine.remove_absent(store, "arrays", list)
    left = pair.ours.dump()
    assert (left if isinstance(next(iter(left), b""), bytes) else [row for rows in left.values() for row in rows]) in (
        {},
        [],
    )


def persons(*names: str) -> list[pa.RecordBatch]:
    return pa.table({"person": pa.array(names, pa.string())}).to_batches()


def test_an_entity_that_is_written_between_listing_and_removal_stays(pair, store):
    def present() -> list[pa.RecordBatch]:
        rows = [{"person": p, "an_int64": 2, "event": LATER, "made": LATER} for p in "ab"]
        pair.put("scalars", rows, "later")
        pair.ours.materialize("scalars")
        return persons("b")

    assert bulk_engine.remove_absent(store, "scalars", present) == 1
    assert ages(store, "scalars:an_int64") == [2, 2, None]


def test_a_dry_run_counts_and_removes_nobody(store):
    assert bulk_engine.remove_absent(store, "scalars", lambda: persons("b"), dry_run=True) == 2
    assert ages(store, "scalars:an_int64") == [1, 1, 1]


def test_many_pages_of_entities_are_each_listed_and_removed_once(pair, store, monkeypatch):
    for module, size in ((sqlite_rows, "PAGE_ROWS"), (redis_rows, "KEYS_PER_CALL"), (entities, "BATCH_ROWS")):
        monkeypatch.setattr(module, size, 7)
    names = [f"{n:02}" for n in range(50)]
    pair.put("mapped", [{"PERSON": p, "VALUE": 1, "other": "x", "WHEN": START} for p in names], "many")
    pair.ours.materialize("mapped")
    assert sorted(bulk_engine.listed(store, "mapped")) == [(name,) for name in [*names, *"abc"]]
    assert bulk_engine.remove_absent(store, "mapped", lambda: persons(*names[::2], "a")) == 25 + 2
    assert sorted(bulk_engine.listed(store, "mapped")) == [(name,) for name in [*names[::2], "a"]]


def test_a_failure_to_say_who_is_present_removes_nobody(store):
    with pytest.raises(ZeroDivisionError):
        bulk_engine.remove_absent(store, "scalars", lambda: 1 / 0)
    assert len(set(bulk_engine.listed(store, "scalars"))) == 3


def test_what_is_removed_is_overwritten_in_sqlites_file(online_of, tmp_path):
    online = online_of("sqlite", tmp_path, 0, {"type": "bulk_engine.BulkEngine"})
    Pair(online, online, tmp_path).put("scalars", [{"person": "a person to erase", "event": START, "made": START}])
    online.materialize("scalars")
    file = online.store.config.online_store.path
    assert b"a person to erase" in Path(file).read_bytes()
    bulk_engine.remove(online.store, "scalars", [("a person to erase",)])
    assert b"a person to erase" not in Path(file).read_bytes()
    assert sqlite_dump(file)["project_scalars"] == []


def test_keys_of_a_project_whose_name_ends_alike_are_not_listed(online_of, redis_server, tmp_path):
    online = online_of("redis", tmp_path, 4, {"type": "bulk_engine.BulkEngine"})
    with redis.Redis(port=redis_server.port, db=4) as client:
        for project in (b"my", b"a project like any other "):
            key = b"\x01\0\0\0\x02\0\0\0\x06\0\0\0person\x02\0\0\0\x01\0\0\0a" + project + b"project"
            client.hset(key, "_ts:scalars", b"\x08\x01")
    assert list(bulk_engine.listed(online.store, "scalars")) == []
    online.clear()


def test_an_online_store_that_is_not_known_is_refused(store, monkeypatch):
    monkeypatch.setattr(store.config, "entity_key_serialization_version", 2)
    assert not bulk_engine.supported(store)
    with pytest.raises(NotImplementedError, match=r"^entity_key_serialization_version 2: bulk_engine knows "):
        bulk_engine.remove(store, "scalars", [("a",)])
