"""A newer value is never replaced by an older one, and a correction is taken, on both online stores."""

import time
from datetime import UTC, datetime, time as clock, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from bulk_engine.offline import Interval, Source, opened
from bulk_engine.online import rows_of
from tests.unit.bulk_engine.conftest import END, SCALARS, START

DAYS = [START + timedelta(days=n) for n in range(5)]


def row(person: str, number: int, event: datetime, made: datetime = START) -> dict[str, Any]:
    return {"person": person, **dict.fromkeys(SCALARS), "an_int64": number, "event": event, "made": made}


def online(pair, *persons: str) -> list[int | None]:
    rows = pair.ours.store.get_online_features(["scalars:an_int64"], [{"person": person} for person in persons])
    return rows.to_dict()["an_int64"]


def materialized(pair, rows: list[dict[str, Any]], start: datetime = START, end: datetime = END) -> None:
    pair.put("scalars", rows)
    pair.ours.materialize("scalars", start=start, end=end)


@pytest.fixture(autouse=True)
def _clear(pair):
    pair.clear()


def test_an_old_window_replaces_nothing_newer_and_adds_what_is_missing(pair):
    rows = [row("a", 1, DAYS[0]), row("b", 2, DAYS[0]), row("a", 3, DAYS[2])]
    materialized(pair, rows, DAYS[2], DAYS[3])
    materialized(pair, rows, DAYS[0], DAYS[1])
    assert online(pair, "a", "b") == [3, 2]


def test_a_correction_with_the_same_event_timestamp_is_taken(pair):
    materialized(pair, [row("a", 1, DAYS[0], DAYS[0])])
    materialized(pair, [row("a", 1, DAYS[0], DAYS[0]), row("a", 2, DAYS[0], DAYS[1])])
    assert online(pair, "a") == [2]


@pytest.mark.parametrize("ended", [True, False])
def test_a_slow_run_does_not_undo_a_correction_that_another_wrote_meanwhile(pair, monkeypatch, ended):
    first, corrected = row("a", 1, DAYS[0], DAYS[0]), row("a", 2, DAYS[0], DAYS[1])
    store = pair.ours.store
    config, view = store.config, store.get_feature_view("scalars")
    online_store = store._get_provider().online_store
    rows_type = type(rows_of(config, online_store, view))
    whole = rows_type.write

    def write(self: Any, rows: Any) -> None:
        monkeypatch.setattr(rows_type, "write", whole)
        pair.put("scalars", [first, corrected])
        if ended:
            pair.ours.materialize("scalars")
        else:  # the other is still at work, and has written it
            with rows_of(config, online_store, view) as others:
                others.begin("", "", again=False)
        whole(self, rows)
        self.flush()

    monkeypatch.setattr(rows_type, "write", write)
    materialized(pair, [first])
    assert online(pair, "a") == [2]


def test_a_file_that_comes_after_the_rows_were_counted_replaces_nothing_newer(pair, monkeypatch):
    read = Source.batches

    def batches(source: Source, *arguments: Any, **options: Any) -> Any:
        pair.put("scalars", [row("a", 1, DAYS[0], DAYS[0]), row("b", 3, DAYS[0], DAYS[0])], "the_later")
        return read(source, *arguments, **options)

    monkeypatch.setattr(Source, "batches", batches)
    materialized(pair, [row("a", 2, DAYS[0], DAYS[1])])
    assert online(pair, "a", "b") == [2, 3]


def test_rows_are_streamed_as_they_lie_where_each_entity_has_one(pair):
    interval, once = Interval(START, END), {}
    for name, rows in {
        "one each": [row("a", 1, DAYS[0]), row("b", 1, DAYS[0])],
        "one without a key": [row("a", 1, DAYS[0]), row(None, 1, DAYS[0])],
        "two of one, one of them outside": [row("a", 1, DAYS[0]), row("a", 1, END + timedelta(days=1))],
        "two of one": [row("a", 1, DAYS[0]), row("a", 1, DAYS[1])],
        "two without a key": [row(None, 1, DAYS[0]), row(None, 1, DAYS[1])],
    }.items():
        pair.put("scalars", rows)
        with opened(pair.ours.store.get_feature_view("scalars"), "512MB") as source:
            once[name] = source._rows_of_each_once(interval)
    assert once == dict(zip(once, [2, 2, 1, 0, 0], strict=True))


def test_the_time_before_1970_counts(pair):
    old, new = datetime(1960, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)
    for earlier, later in [(old, new), (new, START), (START, START + timedelta(seconds=1))]:
        pair.clear()
        rows = [row("a", 1, earlier), row("a", 2, later)]
        materialized(pair, rows, later, later)
        materialized(pair, rows, earlier, earlier)
        assert online(pair, "a") == [2]


@pytest.fixture
def _berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_berlin")
def test_no_newer_row_is_left_where_clocks_are_put_forward(pair):
    day = datetime(2026, 3, 29, tzinfo=UTC)  # Feast's SQLite reads 02:30 UTC as local time, which Berlin has not
    for earlier, later in [("01:59", "02:30"), ("02:30", "03:05"), ("02:59", "03:00"), ("03:59", "04:00")]:
        pair.clear()
        instants = [datetime.combine(day, clock.fromisoformat(at), UTC) for at in (earlier, later)]
        rows = [row("a", n, at) for n, at in enumerate(instants)]
        for at in instants:
            materialized(pair, rows, at, at)
        assert online(pair, "a") == [1]
    pair.clear()
    earlier_hour, later_hour = (day + timedelta(hours=n) for n in (4, 5))
    rows = [row("a", 0, earlier_hour), row("a", 1, later_hour)]
    for at in (later_hour, earlier_hour):
        materialized(pair, rows, at, at)
    assert online(pair, "a") == [1]  # soon after, the newer one stays again


# What is written when: each run adds rows and materializes a window.
RUNS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(DAYS)), max_size=4),
        st.sampled_from(DAYS),
        st.sampled_from(DAYS),
    ),
    max_size=5,
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(runs=RUNS)
def test_after_any_windows_the_newest_row_that_was_in_one_is_online(pair, runs):
    pair.clear()
    rows: list[dict[str, Any]] = []
    expected: dict[str, Any] = {}
    for number, (added, *window) in enumerate(runs):
        rows += [row(person, 10 * number + n, event, START + timedelta(minutes=len(rows) + n))
                 for n, (person, event) in enumerate(added)]  # fmt: skip
        start, end = sorted(window)
        for found in rows:
            best = expected.get(found["person"])
            if start <= found["event"] <= end and not (
                best and (best["event"], best["made"]) > (found["event"], found["made"])
            ):
                expected[found["person"]] = found
        materialized(pair, rows, start, end)
    assert online(pair, "a", "b") == [expected[p]["an_int64"] if p in expected else None for p in "ab"]
