"""training/features.py: what Feast is asked part by part is what an independent ASOF join says, row by row."""

import itertools
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import ParquetFormat
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.saved_dataset import SavedDataset
from feast.types import Int64, String
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from training import features, offline
from training.settings import Settings

START = datetime(2026, 1, 1, tzinfo=UTC)
WANTED = ["people:income", "people:city"]


@dataclass(frozen=True)
class Snapshot:
    """What is said at one instant of some persons: income and city; `created` decides between equal instants."""

    day: int
    created: int
    people: dict[str, tuple[int, str]]


Pulled = Callable[[list[Snapshot], int], tuple[pa.Table, pa.Table]]


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory, settings_below: Callable[[Path], Settings]) -> Pulled:
    """Return the call that publishes snapshots and pulls one's features, through Feast and by a bare ASOF join."""
    root = tmp_path_factory.mktemp("repo")
    folder, settings = root / "people", settings_below(root)
    store, ids = _store(root, folder), map(str, itertools.count())

    def pull(snapshots: list[Snapshot], chosen: int) -> tuple[pa.Table, pa.Table]:
        paths = [_write(folder, number, snapshot) for number, snapshot in enumerate(snapshots)]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Saving dataset is an experimental", RuntimeWarning)
            snapshot_id = next(ids)  # a registry keeps what it has read of a name
            saved = SavedDataset(
                f"people_{snapshot_id}", [], ["person_id"], SavedDatasetFileStorage(path=str(paths[chosen]))
            )
            saved.min_event_timestamp = saved.max_event_timestamp = START + timedelta(days=snapshots[chosen].day)
            store.registry.apply_saved_dataset(saved, store.project)
        with offline.limited(settings):
            found = features.historical(store, {"view": "people", "snapshot_id": snapshot_id}, WANTED)
        return found, _bare(folder, paths[chosen])

    def fresh(snapshots: list[Snapshot], chosen: int) -> tuple[pa.Table, pa.Table]:
        shutil.rmtree(folder)
        folder.mkdir()
        return pull(snapshots, chosen)

    return fresh


def _store(root: Path, folder: Path) -> FeatureStore:
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
    schema = [
        Field(name="person_id", dtype=String),
        Field(name="income", dtype=Int64),
        Field(name="city", dtype=String),
    ]
    folder.mkdir()
    _write(folder, 0, Snapshot(1, 1, {"a": (1, "Rome")}))
    store.apply([person, FeatureView(name="people", entities=[person], source=source, schema=schema)])
    return store


def _write(folder: Path, number: int, snapshot: Snapshot) -> Path:
    people = snapshot.people
    frame = pd.DataFrame(
        {
            "person_id": list(people),
            "income": pd.array([income for income, _ in people.values()], dtype="int64"),
            "city": [city for _, city in people.values()],
            "event_timestamp": START + timedelta(days=snapshot.day),
            "created_timestamp": START + timedelta(days=snapshot.created),
        }
    )
    path = folder / f"{number}.parquet"
    frame.to_parquet(path)
    return path


def _bare(folder: Path, chosen: Path) -> pa.Table:
    with duckdb.connect() as connection:
        return connection.sql(f"""
            WITH rows AS (SELECT * FROM '{folder}/*.parquet' QUALIFY 1 = row_number() OVER (
                PARTITION BY person_id, event_timestamp ORDER BY created_timestamp DESC))
            SELECT spine.person_id, rows.income, rows.city FROM '{chosen}' spine ASOF LEFT JOIN rows
            ON spine.person_id = rows.person_id AND spine.event_timestamp >= rows.event_timestamp
            ORDER BY spine.person_id""").to_arrow_table()


PEOPLE = st.dictionaries(
    st.sampled_from("abcdefg"), st.tuples(st.integers(0, 99), st.sampled_from(["Rome", "Oslo", "", "?"])), min_size=1
)
SNAPSHOTS = st.lists(
    st.builds(Snapshot, st.integers(1, 4), st.integers(1, 9), PEOPLE),
    min_size=1,
    max_size=5,
    unique_by=lambda snapshot: (snapshot.day, snapshot.created),
)


@hypothesis_settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(snapshots=SNAPSHOTS, data=st.data())
def test_a_training_set_is_what_an_asof_join_says(
    pulled: Pulled, monkeypatch: pytest.MonkeyPatch, snapshots: list[Snapshot], data: st.DataObject
):
    monkeypatch.setattr(features, "PERSONS_AT_ONCE", data.draw(st.integers(2, 8)))
    found, wanted = pulled(snapshots, data.draw(st.integers(0, len(snapshots) - 1)))
    assert found.column_names == wanted.column_names
    assert found.to_pylist() == wanted.to_pylist()
    assert pa.types.is_dictionary(found["city"].type)


def test_of_equal_instants_the_row_created_last_is_learned(pulled: Pulled):
    first, late = Snapshot(2, 9, {"a": (1, "Rome")}), Snapshot(2, 3, {"a": (2, "Oslo"), "b": (3, "Oslo")})
    found, _ = pulled([first, late], 1)
    assert found.to_pylist() == [
        {"person_id": "a", "income": 1, "city": "Rome"},
        {"person_id": "b", "income": 3, "city": "Oslo"},
    ]
