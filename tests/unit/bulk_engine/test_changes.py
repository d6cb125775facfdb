"""`write: changed`: only rows whose values changed are written, and online equals offline whatever comes between."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType, types
from feast.repo_contents import RepoContents
from feast.repo_operations import apply_total_with_repo_instance
from hypothesis import HealthCheck, given, settings, strategies as st

import bulk_engine
from bulk_engine import BulkEngine
from bulk_engine.changes import Changes
from bulk_engine.online import rows_of
from tests.unit.bulk_engine.conftest import START, Online, Pair

FIRST, SECOND, THIRD, FOURTH = (START + timedelta(days=n) for n in range(4))
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


def rows_of_scalars(changed: Pair) -> Any:
    store = changed.ours.store
    return rows_of(store.config, store._get_provider().online_store, store.get_feature_view("scalars"))


def rows_type(changed: Pair) -> Any:
    return type(rows_of_scalars(changed))


def rows_left_out(changed: Pair) -> str:
    with rows_of_scalars(changed) as rows:
        return str(rows.left_out())


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
    assert written(changed.ours, THIRD) == 5
    assert values(changed.ours) == [0] * 40


@pytest.mark.parametrize("remove", [bulk_engine.remove, bulk_engine.remove_absent])
def test_who_was_removed_and_comes_back_unchanged_is_written(changed, remove):
    for at, persons in ((FIRST, PERSONS), (SECOND, PERSONS[5:]), (THIRD, PERSONS)):
        snapshot(changed, at, persons)
    run(changed, FIRST)
    present = pa.table({"person": PERSONS[5:]}).to_batches()  # of the second, which is not online yet
    given = [(person,) for person in PERSONS[:5]] if remove is bulk_engine.remove else lambda: present
    assert remove(changed.ours.store, "scalars", given) == 5
    run(changed, THIRD)
    assert values(changed.ours) == [0] * 40


def test_a_prune_that_removes_nobody_changes_nothing(changed):
    snapshot(changed, FIRST, PERSONS)
    snapshot(changed, SECOND, PERSONS, set(PERSONS[:10]))
    run(changed, FIRST)
    assert (
        bulk_engine.remove_absent(changed.ours.store, "scalars", lambda: pa.table({"person": PERSONS}).to_batches())
        == 0
    )
    assert run(changed, SECOND) == 10


def test_a_full_refresh_writes_every_row(changed):
    snapshot(changed, FIRST, PERSONS)
    snapshot(changed, SECOND, PERSONS)
    run(changed, FIRST)
    bulk_engine.full_refresh(changed.ours.store, "scalars")
    assert run(changed, SECOND) == 40


@pytest.mark.parametrize("forget", ["update", "teardown_infra"])
def test_what_feast_tells_the_engine_is_gone_is_written_whole(changed, forget):
    snapshot(changed, FIRST, PERSONS)
    snapshot(changed, SECOND, PERSONS)
    run(changed, FIRST)
    store = changed.ours.store
    engine, views = store._get_provider().batch_engine, [store.get_feature_view("scalars")]
    getattr(engine, forget)("project", views, *([[], [], []] if forget == "update" else [[]]))
    assert run(changed, SECOND) == 40


def applied(store: FeatureStore, views: list[FeatureView]) -> None:
    """Apply what `feast apply` finds in a repository of these views, which deletes all others."""
    kinds = {kind: [] for kind in RepoContents._fields}
    repo = RepoContents(**kinds | {"feature_views": views, "entities": store.list_entities()})
    apply_total_with_repo_instance(store, store.project, store.registry, repo, skip_source_validation=True)


@pytest.mark.parametrize("next_run", [SECOND, THIRD])
def test_a_view_that_was_not_in_the_definitions_for_a_while_is_written_whole(changed, next_run):
    for at in (FIRST, SECOND, THIRD):
        snapshot(changed, at, PERSONS)
    run(changed, FIRST)
    run(changed, THIRD)  # leaves all out, so that the second is older than what is online
    store = changed.ours.store
    views = store.list_feature_views()
    applied(store, [view for view in views if view.name != "scalars"])
    applied(store, views)
    run(changed, next_run)
    assert values(changed.ours) == [0] * 40


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
    rows = rows_type(changed)
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

    def overtaken(self, interval, **options):
        query = whole(self, interval, **options)
        if interval.start == THIRD and self._known:
            monkeypatch.setattr(Changes, "begun", whole)
            changed.ours.materialize("scalars", start=SECOND, end=SECOND)
        return query

    monkeypatch.setattr(Changes, "begun", overtaken)
    changed.ours.materialize("scalars", start=THIRD, end=THIRD)
    changed.ours.materialize("scalars", start=THIRD, end=THIRD)
    assert values(changed.ours) == [0] * 40


def during(monkeypatch: pytest.MonkeyPatch, rows: Any, batch: int, other: Callable[[], Any]) -> None:
    """Let something else happen before a batch of the next run is written, counted from 0."""
    whole, batches = rows.write, count()

    def write(self: Any, given: Any) -> None:
        if next(batches) == batch:
            monkeypatch.setattr(rows, "write", whole)
            other()
        whole(self, given)

    monkeypatch.setattr(rows, "write", write)


@pytest.mark.parametrize("batch", [0, 5, 9])
@pytest.mark.parametrize("options", [{"write": "all"}, {}])
def test_runs_at_the_same_time_leave_no_note_that_is_not_true(changed, monkeypatch, batch, options):
    for at in (FIRST, SECOND, THIRD, FOURTH):
        snapshot(changed, at, PERSONS, set(PERSONS) if at == THIRD else set())
    run(changed, FIRST)
    engine = changed.ours.store._get_provider().batch_engine
    usual = engine.options

    def other() -> None:
        monkeypatch.setattr(engine, "options", usual)
        run(changed, SECOND)
        run(changed, SECOND)

    monkeypatch.setattr(engine, "options", usual.model_copy(update=options))
    during(monkeypatch, rows_type(changed), batch, other)
    run(changed, THIRD)
    assert values(changed.ours) == [THIRD.day] * 40
    run(changed, FOURTH)
    assert values(changed.ours) == [0] * 40


@pytest.mark.parametrize("change", ["refreshed", "removed", "run"])
def test_a_run_that_is_killed_after_something_else_happened_leaves_no_trace_that_is_not_true(
    changed, monkeypatch, change
):
    for at in (FIRST, SECOND, THIRD, FOURTH):
        snapshot(changed, at, PERSONS, set(PERSONS) if at == THIRD else set())
    run(changed, FIRST)
    store = changed.ours.store
    does = {
        "refreshed": lambda: bulk_engine.full_refresh(store, "scalars"),
        "removed": lambda: bulk_engine.remove(store, "scalars", [(PERSONS[39],)]),
        "run": lambda: run(changed, FIRST),
    }

    def other() -> None:
        does[change]()
        run(changed, SECOND)
        during(monkeypatch, rows_type(changed), 5, lambda: 1 / 0)

    during(monkeypatch, rows_type(changed), 2, other)
    with pytest.raises(ZeroDivisionError):
        run(changed, THIRD)
    run(changed, FOURTH)
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


@pytest.mark.parametrize("left", ["known", "refreshed", "pruned", "killed"])
def test_an_earlier_interval_replaces_nothing_whose_newer_row_was_left_out(changed, left, monkeypatch):
    for at, different in ((FIRST, set()), (SECOND, set(PERSONS[:5])), (THIRD, set())):
        snapshot(changed, at, PERSONS if at != THIRD else PERSONS[1:], different)
    snapshot(changed, FOURTH, PERSONS[1:], an_int64=SECOND.day)
    run(changed, FIRST)
    assert run(changed, THIRD) == 0  # all are online with the instant of the first
    store = changed.ours.store
    if left == "refreshed":
        bulk_engine.full_refresh(store, "scalars")
    elif left == "pruned":
        assert bulk_engine.remove(store, "scalars", [(PERSONS[39],)]) == 1
    elif left == "killed":
        with monkeypatch.context() as patch:
            patch.setattr(rows_type(changed), "write", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                run(changed, FOURTH)
    run(changed, SECOND)
    expected = [SECOND.day, *[0] * 39]  # the first person has no row in the third
    assert values(changed.ours) == (expected if left != "pruned" else [*expected[:-1], None])
    run(changed, FOURTH)
    assert values(changed.ours) == [SECOND.day] * 40  # of the second nothing was noted as being online


def test_what_was_left_out_goes_with_its_view(changed):
    for at in (FIRST, SECOND, THIRD):
        snapshot(changed, at, PERSONS)
    run(changed, FIRST)
    run(changed, THIRD)
    store = changed.ours.store
    store._get_provider().batch_engine.teardown_infra("project", [store.get_feature_view("scalars")], [])
    assert run(changed, SECOND) == 40


def test_intervals_that_meet_are_kept_as_one(changed):
    for at, end in pairwise([FIRST, SECOND, THIRD, FOURTH]):
        snapshot(changed, end, PERSONS)
        changed.ours.materialize("scalars", start=at, end=end)
    assert json.loads(rows_left_out(changed)) == [[SECOND.isoformat(), FOURTH.isoformat()]]


SNAPSHOTS = st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 1)), min_size=5, max_size=5)
WINDOWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted), max_size=5)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(snapshots=SNAPSHOTS, windows=WINDOWS)
def test_after_any_windows_the_newest_row_that_was_in_one_is_online(changed, snapshots, windows):
    changed.clear()
    rows = [
        {"person": p, "an_int64": n, "event": START + timedelta(days=day), "made": START}
        for day, persons in enumerate(snapshots)
        for p, n in persons.items()
    ]
    changed.put("scalars", rows)
    newest: dict[str, int] = {}
    for first, last in windows:
        changed.ours.materialize("scalars", start=START + timedelta(days=first), end=START + timedelta(days=last))
        for day in range(first, last + 1):
            newest |= {p: max(day, newest.get(p, 0)) for p in snapshots[day]}
        found = changed.ours.store.get_online_features(["scalars:an_int64"], [{"person": p} for p in "abc"]).to_dict()
        assert found["an_int64"] == [snapshots[newest[p]][p] if p in newest else None for p in "abc"]


def view(store: FeatureStore, folder: Path, key: Any, value: Any) -> FeatureView:
    kind = {types.Int32: ValueType.INT32, types.Int64: ValueType.INT64}[key]
    source = FileSource(name="typed", path=f"{folder}/*.parquet", timestamp_field="event")
    entity = Entity(name="number", join_keys=["number"], value_type=kind)
    schema = [Field(name="number", dtype=key), Field(name="value", dtype=value)]
    found = FeatureView(name="typed", entities=[entity], schema=schema, source=source)
    store.apply([entity, found])
    return found


@pytest.mark.parametrize(("key", "value"), [(types.Int32, types.Int64), (types.Int64, types.Float64)])
def test_a_changed_feast_type_makes_the_next_run_write_every_row(changed, tmp_path, key, value):
    store = changed.ours.store
    for at in (FIRST, SECOND):
        table = pa.table({"number": [1, 2], "value": [10, 20], "event": pa.array([at] * 2, pa.timestamp("us", "UTC"))})
        pq.write_table(table, tmp_path / f"{at.date()}.parquet")
    view(store, tmp_path, types.Int64, types.Int64)
    changed.ours.materialize("typed", start=FIRST, end=FIRST)
    view(store, tmp_path, key, value)
    changed.ours.materialize("typed", start=SECOND, end=SECOND)
    proto = store.get_online_features(["typed:value"], [{"number": 1}, {"number": 2}]).proto
    kind = "double_val" if value == types.Float64 else "int64_val"
    found = proto.results[list(proto.metadata.feature_names.val).index("value")].values
    assert [(value.WhichOneof("val"), getattr(value, kind)) for value in found] == [(kind, 10), (kind, 20)]


def test_what_feasts_own_engine_wrote_is_not_taken_for_ours(changed, monkeypatch):
    for at in (FIRST, SECOND, THIRD):
        snapshot(changed, at, PERSONS, set(PERSONS) if at == SECOND else set())
    run(changed, FIRST)
    with monkeypatch.context() as patch:
        patch.setattr(BulkEngine, "refusal", lambda *_: "not for us")
        assert run(changed, SECOND) == 40
    assert run(changed, THIRD) == 40  # though the values are those of the first
    assert values(changed.ours) == [0] * 40
