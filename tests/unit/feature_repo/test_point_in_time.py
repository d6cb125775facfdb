"""What training relies on in Feast: values as of an instant, from a folder of Parquet files like the lake's."""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import ParquetFormat
from feast.types import Int64, String
from hypothesis import HealthCheck, given, settings, strategies as st

START = datetime(2026, 1, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


@dataclass(frozen=True)
class Row:
    """What one snapshot says of one person; `created` decides between rows of one event time."""

    person: str
    event: float
    created: float
    income: int


AsOf = Callable[[list[list[Row]], list[tuple[str, float]]], list[float | None]]


@pytest.fixture(scope="module")
def as_of(tmp_path_factory: pytest.TempPathFactory) -> AsOf:
    """Return the call that publishes snapshots, a file each, and gives Feast's income of persons as of days."""
    root = tmp_path_factory.mktemp("repo")
    folder = root / "people"
    folder.mkdir()
    config = RepoConfig(
        project="people",
        provider="local",
        registry=str(root / "registry.db"),
        offline_store={"type": "duckdb"},
        online_store={"type": "sqlite", "path": str(root / "online.db")},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    person = Entity(name="person", join_keys=["person_id"], value_type=ValueType.STRING)
    source = FileSource(
        path=str(folder),
        file_format=ParquetFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    schema = [Field(name="person_id", dtype=String), Field(name="income", dtype=Int64)]
    _write(folder, [[Row("p", 1, 1, 0)]])
    store.apply([person, FeatureView(name="people", entities=[person], source=source, schema=schema)])

    def incomes(snapshots: list[list[Row]], wanted: list[tuple[str, float]]) -> list[float | None]:
        _write(folder, snapshots)
        spine = pd.DataFrame(
            {
                "person_id": [p for p, _ in wanted],
                "event_timestamp": [day(d) for _, d in wanted],
                "at": range(len(wanted)),
            }
        )
        found = store.get_historical_features(spine, ["people:income"]).to_df().sort_values("at")
        assert list(found["person_id"]) == list(spine["person_id"])
        return [None if math.isnan(value) else int(value) for value in found["income"]]

    return incomes


def _write(folder: Path, snapshots: list[list[Row]]) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    for number, rows in enumerate(snapshots):
        frame = pd.DataFrame(
            {
                "person_id": [row.person for row in rows],
                "income": pd.array([row.income for row in rows], dtype="int64"),
                "event_timestamp": [day(row.event) for row in rows],
                "created_timestamp": [day(row.created) for row in rows],
            }
        )
        frame.to_parquet(folder / f"{number}.parquet")


def plain(snapshots: list[list[Row]], person: str, at: float) -> int | None:
    """Return the income as of `at`, computed without Feast: the newest event not later, of that the newest created."""
    seen = [row for rows in snapshots for row in rows if row.person == person and row.event <= at]
    return max(seen, key=lambda row: (row.event, row.created)).income if seen else None


def test_before_at_and_after_an_event(as_of: AsOf):
    snapshots = [[Row("p", 10, 10, 100)], [Row("p", 20, 20, 200)]]
    instants = [("p", 9.999), ("p", 10), ("p", 15), ("p", 19.999), ("p", 20), ("p", 99)]
    assert as_of(snapshots, instants) == [None, 100, 100, 100, 200, 200]


def test_a_microsecond_decides(as_of: AsOf):
    instants = [("p", 10 - 1e-6 / 86_400), ("p", 10)]
    assert day(instants[0][1]) == day(10) - timedelta(microseconds=1)
    assert as_of([[Row("p", 10, 10, 100)]], instants) == [None, 100]


def test_of_one_event_time_the_row_created_last_wins(as_of: AsOf):
    late_correction = [[Row("p", 10, 30, 111)], [Row("p", 10, 10, 100)]]
    assert as_of(late_correction, [("p", 10), ("p", 40)]) == [111, 111]
    assert as_of(late_correction[::-1], [("p", 10), ("p", 40)]) == [111, 111]


def test_a_correction_with_a_newer_event_time_is_invisible_before_it(as_of: AsOf):
    snapshots = [[Row("p", 10, 10, 100)], [Row("p", 30, 30, 111)]]
    assert as_of(snapshots, [("p", 29), ("p", 30)]) == [100, 111]


def test_a_row_created_later_does_not_beat_a_newer_event(as_of: AsOf):
    assert as_of([[Row("p", 10, 99, 100)], [Row("p", 20, 20, 200)]], [("p", 50)]) == [200]


def test_a_person_absent_from_a_later_snapshot_keeps_the_last_value(as_of: AsOf):
    snapshots = [[Row("p", 10, 10, 100), Row("q", 10, 10, 500)], [Row("q", 20, 20, 600)]]
    assert as_of(snapshots, [("p", 25), ("q", 25), ("stranger", 25)]) == [100, 600, None]


def test_each_row_of_a_spine_gets_its_own_instant(as_of: AsOf):
    snapshots = [[Row("p", 10, 10, 100), Row("q", 10, 10, 500)], [Row("p", 20, 20, 200)]]
    assert as_of(snapshots, [("q", 20), ("p", 20), ("p", 10), ("q", 9)]) == [500, 200, 100, None]


PERSONS, DAYS = st.sampled_from("pqr"), st.integers(1, 6)
ROWS = st.lists(
    st.builds(Row, PERSONS, DAYS, DAYS, st.integers(0, 99)),
    min_size=1,
    max_size=8,
    unique_by=lambda row: (row.person, row.event, row.created),
)


@settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=ROWS, cut=st.integers(0, 8), instants=st.lists(st.tuples(PERSONS, st.integers(0, 7)), min_size=1, max_size=6)
)
def test_feast_answers_as_plain_python_does(as_of: AsOf, rows: list[Row], cut: int, instants: list[tuple[str, float]]):
    snapshots = [part for part in (rows[:cut], rows[cut:]) if part]
    wanted = list(dict.fromkeys(instants))
    assert as_of(snapshots, wanted) == [plain(snapshots, person, at) for person, at in wanted]
