"""`write: changed`: only rows whose values changed are written, and online equals offline whatever comes between."""

from datetime import datetime, timedelta
from typing import Any

import pytest

import bulk_engine
from bulk_engine.changes import Changes
from bulk_engine.online import rows_of
from tests.unit.bulk_engine.conftest import START, Online, Pair

FIRST, SECOND, THIRD = (START + timedelta(days=n) for n in range(3))
PERSONS = [str(number) for number in range(40)]


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def changed(request, online_of, tmp_path_factory) -> Pair:
    """Return a project with `write: changed`; there is no other to compare with."""
    engine = {"type": "bulk_engine.BulkEngine", "write": "changed", "ignore": ["a_string"]}
    folder = tmp_path_factory.mktemp("files")
    online = online_of(request.param, folder, 3, engine)
    return Pair(online, online, folder)


@pytest.fixture(autouse=True)
def _clear(changed):
    changed.clear()


def snapshot(changed: Pair, at: datetime, persons: list[str], different: set[str] = frozenset(), **more: Any) -> None:
    """Publish a snapshot in which the values of `different` persons are its own."""
    rows = [
        {"person": p, "an_int64": at.day if p in different else 0, "event": at, "made": at, **more} for p in persons
    ]
    changed.put("scalars", rows, at.date().isoformat())


def written(online: Online, at: datetime) -> int:
    """Return the number of persons who are online with an instant."""
    proto = online.store.get_online_features(["scalars:an_int64"], [{"person": p} for p in PERSONS]).proto
    place = list(proto.metadata.feature_names.val).index("an_int64")
    return sum(stamp.seconds == int(at.timestamp()) for stamp in proto.results[place].event_timestamps)


def values(online: Online) -> list[int | None]:
    return online.store.get_online_features(["scalars:an_int64"], [{"person": p} for p in PERSONS]).to_dict()[
        "an_int64"
    ]


def run(changed: Pair, at: datetime) -> int:
    changed.ours.materialize("scalars", start=at, end=at)
    return written(changed.ours, at)


def test_ten_changed_rows_are_ten_rows_written(changed):
    snapshot(changed, FIRST, PERSONS)
    snapshot(changed, SECOND, PERSONS, set(PERSONS[:10]), a_string="changed, and ignored")
    assert run(changed, FIRST) == 40
    assert run(changed, SECOND) == 10
    assert values(changed.ours) == [SECOND.day] * 10 + [0] * 30


def test_who_is_new_or_back_again_is_written(changed):
    for at, persons in ((FIRST, PERSONS), (SECOND, PERSONS[5:]), (THIRD, PERSONS)):
        snapshot(changed, at, persons)
        changed.ours.materialize("scalars", start=at, end=at)
        present = {(person,) for person in persons}
        bulk_engine.remove_absent(changed.ours.store, "scalars", lambda present=present: present)
    assert written(changed.ours, THIRD) == 5
    assert values(changed.ours) == [0] * 40


def test_a_full_refresh_writes_every_row(changed):
    snapshot(changed, FIRST, PERSONS)
    snapshot(changed, SECOND, PERSONS)
    run(changed, FIRST)
    bulk_engine.full_refresh(changed.ours.store, "scalars")
    assert run(changed, SECOND) == 40


def test_a_view_that_feast_deletes_and_makes_anew_is_written_whole(changed):
    snapshot(changed, FIRST, PERSONS)
    snapshot(changed, SECOND, PERSONS)
    run(changed, FIRST)
    store = changed.ours.store
    for forget in ("update", "teardown_infra"):
        engine, views = store._get_provider().batch_engine, [store.get_feature_view("scalars")]
        getattr(engine, forget)("project", views, *([[], [], []] if forget == "update" else [[]]))
        assert run(changed, SECOND) == 40


def test_a_file_that_was_changed_since_makes_the_next_run_write_every_row(changed):
    snapshot(changed, FIRST, PERSONS)
    run(changed, FIRST)
    snapshot(changed, FIRST, PERSONS, {PERSONS[3]})  # in place of what was materialized
    snapshot(changed, SECOND, PERSONS, {PERSONS[3]})
    assert run(changed, SECOND) == 40


def test_after_a_run_that_was_stopped_every_row_is_written(changed, monkeypatch):
    for at in (FIRST, SECOND, THIRD):
        snapshot(changed, at, PERSONS, set(PERSONS) if at == SECOND else set())
    run(changed, FIRST)
    store = changed.ours.store
    rows = type(rows_of(store.config, store._get_provider().online_store, store.get_feature_view("scalars")))
    with monkeypatch.context() as patch:
        calls = iter(range(3))
        whole = rows.write
        patch.setattr(rows, "write", lambda self, batch: whole(self, batch) if next(calls, None) is not None else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(changed, SECOND)
    assert run(changed, THIRD) == 40  # though the values are those of the first
    assert values(changed.ours) == [0] * 40


def test_a_run_that_another_one_overtook_leaves_no_note(changed, monkeypatch):
    snapshot(changed, FIRST, PERSONS)
    snapshot(changed, SECOND, PERSONS, set(PERSONS))
    snapshot(changed, THIRD, PERSONS)
    run(changed, FIRST)
    whole = Changes.begun

    def overtaken(self, interval):
        query = whole(self, interval)
        if interval.start == THIRD and self._rows.state().startswith("running"):
            monkeypatch.setattr(Changes, "begun", whole)
            changed.ours.materialize("scalars", start=SECOND, end=SECOND)
        return query

    monkeypatch.setattr(Changes, "begun", overtaken)
    changed.ours.materialize("scalars", start=THIRD, end=THIRD)
    changed.ours.materialize("scalars", start=THIRD, end=THIRD)
    assert values(changed.ours) == [0] * 40


def test_rows_that_were_newer_online_leave_no_note(changed):
    snapshot(changed, FIRST, PERSONS)
    snapshot(changed, SECOND, PERSONS, set(PERSONS))
    snapshot(changed, THIRD, PERSONS)
    run(changed, SECOND)
    bulk_engine.full_refresh(changed.ours.store, "scalars")
    run(changed, FIRST)  # what is online stays
    assert run(changed, THIRD) == 40


def test_rows_that_expire_are_written_changed_or_not(changed):
    for at in (FIRST, SECOND):
        changed.put(
            "mapped", [{"PERSON": p, "VALUE": 1, "other": "x", "WHEN": at} for p in PERSONS], at.date().isoformat()
        )
        changed.ours.materialize("mapped", start=at, end=at)
    proto = changed.ours.store.get_online_features(["mapped:value"], [{"person": p} for p in PERSONS]).proto
    assert {stamp.seconds for stamp in proto.results[1].event_timestamps} == {int(SECOND.timestamp())}
