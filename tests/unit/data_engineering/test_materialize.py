"""data_engineering/materialize.py on a real Feast store: DuckDB offline, SQLite online, SQL registry."""

import os
import re
from pathlib import Path

import pandas as pd
import pytest
from feast import FeatureStore

from data_engineering import materialize, registered, steps
from data_engineering.errors import DataError
from data_engineering.lake import instant_of, snapshot_path
from data_engineering.materialize import VerifiedSnapshot
from data_engineering.schema import FEATURES
from data_engineering.warehouse import opened

COLUMNS = [*FEATURES, "age_bin", "snapshot_id"]


def offline(publisher, snapshot_id: str) -> pd.DataFrame:
    """Return what the snapshot's file says, by person: read without Feast."""
    table = pd.read_parquet(snapshot_path(publisher.settings.lake, snapshot_id))
    return table.set_index("person_id")[COLUMNS]


def online(store: FeatureStore, persons: list[str]) -> pd.DataFrame:
    references = [f"census:{name}" for name in COLUMNS]
    rows = store.get_online_features(references, [{"person_id": person} for person in persons])
    return rows.to_df().set_index("person_id").loc[persons, COLUMNS]


def tampered(publisher, snapshot_id: str, person: str, **values: object) -> None:
    """Overwrite a person's values in the online store, and in no other place."""
    row = offline(publisher, snapshot_id).loc[[person]].assign(**values).reset_index()
    at = instant_of(snapshot_id)
    publisher.store.write_to_online_store("census", row.assign(event_timestamp=at, created_timestamp=at))


def with_every_age(lines: list[str], age: int) -> list[str]:
    return [f"{age},{line.partition(',')[2]}" for line in lines]


def test_every_person_reads_the_same_online_and_in_the_snapshot(publisher):
    expected = offline(publisher, publisher.first)
    assert len(expected) == 300
    found = online(publisher.store, list(expected.index))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_a_verified_snapshot_is_visible_with_its_rows(publisher):
    assert materialize.last_verified(publisher.store) == VerifiedSnapshot(publisher.first, 300)


def test_the_mark_says_where_the_snapshot_comes_from(publisher):
    (mark,) = publisher.store.list_saved_datasets(tags={"verified": "true"})
    assert mark.name == f"census_{publisher.first}"
    assert mark.tags == materialize.mark(publisher.settings, publisher.first, rows=300)
    assert mark.tags["event_timestamp"] == instant_of(publisher.first).isoformat()
    assert mark.tags["source_rows"] == "300"
    assert re.fullmatch("[0-9a-f]{64}", mark.tags["source_sha256"])


def test_a_snapshot_that_is_not_verified_is_not_listed(publisher):
    later = publisher.published(publisher.lines[:290])
    assert later > publisher.first
    assert materialize.last_verified(publisher.store) == VerifiedSnapshot(publisher.first, 300)
    materialize.materialize(publisher.store, later)
    assert materialize.last_verified(publisher.store) == VerifiedSnapshot(publisher.first, 300)
    materialize.verify(publisher.store, publisher.settings, later)
    assert materialize.last_verified(publisher.store) == VerifiedSnapshot(later, 290)


def test_a_later_snapshot_replaces_the_values_online(publisher):
    before = offline(publisher, publisher.first)
    later = publisher.verified([line.replace(" >50K", " <=50K") for line in publisher.lines])
    after = online(publisher.store, list(before.index))
    assert set(after["snapshot_id"]) == {later}
    assert (before["income_bracket"] == ">50K").sum() > 10
    assert set(after["income_bracket"]) == {"<=50K"}


def test_materializing_and_verifying_twice_changes_nothing(publisher):
    persons = list(offline(publisher, publisher.first).index)
    rows, marks = online(publisher.store, persons), publisher.store.list_saved_datasets()
    again = materialize.materialize(publisher.store, publisher.first)
    tags = materialize.verify(publisher.store, publisher.settings, again)
    assert [mark.tags for mark in publisher.store.list_saved_datasets()] == [marks[0].tags] == [tags]
    pd.testing.assert_frame_equal(online(publisher.store, persons), rows)


def test_a_value_that_differs_online_is_named_and_leaves_the_snapshot_unverified(publisher):
    later = materialize.materialize(publisher.store, publisher.published(publisher.lines[:290]))
    person = offline(publisher, later).index[7]
    age = int(offline(publisher, later).at[person, "age"])
    tampered(publisher, later, person, age=age + 1)
    message = (
        f"^person {person}: age is {age + 1} online and {age} offline "
        r"\(1 of 290 sampled persons differ\): run publish_features again$"
    )
    with pytest.raises(DataError, match=message):
        materialize.verify(publisher.store, publisher.settings, later)
    assert materialize.last_verified(publisher.store) == VerifiedSnapshot(publisher.first, 300)


def test_a_text_that_differs_online_is_named(publisher):
    person = offline(publisher, publisher.first).index[-1]
    tampered(publisher, publisher.first, person, native_country="Atlantis")
    with pytest.raises(DataError, match=f"^person {person}: native_country is 'Atlantis' online and '"):
        materialize.verify(publisher.store, publisher.settings, publisher.first)


def test_a_snapshot_that_was_never_materialized_is_not_verified(publisher):
    later = publisher.published(with_every_age(publisher.lines, 44))  # 7 are 44 already, so they are online
    with pytest.raises(DataError, match=r"age is nan online and 44 offline \(293 of 300 sampled persons differ\)"):
        materialize.verify(publisher.store, publisher.settings, later)


def test_a_sample_is_compared_and_it_is_another_one_for_another_snapshot(publisher):
    few = publisher.settings.model_copy(update={"verify_sample": 100})
    with opened(few) as tables:
        chosen = materialize.sample(tables, publisher.first, 100)
        again = publisher.published(publisher.lines)
        assert set(chosen) != set(materialize.sample(tables, again, 100))
    assert len(set(chosen)) == 100
    persons = offline(publisher, publisher.first).index
    tampered(publisher, publisher.first, next(person for person in persons if person not in chosen), age=99)
    assert materialize.verify(publisher.store, few, publisher.first)["rows"] == "300"
    tampered(publisher, publisher.first, chosen[7], age=99)
    with pytest.raises(DataError, match=f"person {chosen[7]}: age is 99 online and .* of 100 sampled"):
        materialize.verify(publisher.store, few, publisher.first)


def test_without_feast_apply_the_message_says_to_run_it(publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FEAST_REGISTRY_URI", f"sqlite:///{tmp_path}/registry.db")
    message = "^feature view census is not in the registry of project 'census': run `feast apply` in feature_repo$"
    with pytest.raises(DataError, match=message):
        registered.check(FeatureStore(), publisher.settings)
    with pytest.raises(DataError, match=message):
        steps.materialize(publisher.settings, publisher.first)


def test_with_feast_apply_the_check_passes(publisher):
    assert os.environ["FEAST_REGISTRY_URI"].endswith("registry.db")
    registered.check(publisher.store, publisher.settings)
