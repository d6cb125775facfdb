"""Publish: what a snapshot holds, and when there is a new one."""

from datetime import UTC, datetime

import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_engineering.lake import committed, instant_of, new_batch, published, snapshot_path, staged
from data_engineering.publish import content_digest, features, publish
from data_engineering.schema import FEATURES

EDGES = [17, 29, 30, 39, 40, 49, 50, 59, 60, 100]


@pytest.fixture
def people(row):
    """Return a maker of clean rows, one for each age."""
    source = {name: value for name, value in row().items() if name in FEATURES}
    return lambda *ages: [{"person_id": f"p{i}", **source, "age": age} for i, age in enumerate(ages)]


@pytest.fixture
def batch_with(settings, people):
    """Return a maker of a batch whose clean table has one row for each age."""

    def make(*ages):
        batch = new_batch(settings.lake)
        pq.write_table(pa.Table.from_pylist(people(*ages)), staged(settings.lake, batch, "clean.parquet"))
        return batch

    return make


def _digest(rows):
    return content_digest(features(ibis.memtable(pa.Table.from_pylist(rows))))


def test_age_bins_are_those_of_the_article(people):
    ages = list(range(17, 101))
    table = features(ibis.memtable(pa.Table.from_pylist(people(*ages)))).order_by("age").to_pyarrow()
    article = pd.cut(pd.Series(ages), bins=[16, 29, 39, 49, 59, 100], labels=[1, 2, 3, 4, 5])
    assert table["age_bin"].to_pylist() == article.astype("int64").tolist()


def test_the_edges_of_the_age_bins(people):
    table = features(ibis.memtable(pa.Table.from_pylist(people(*EDGES)))).order_by("age").to_pyarrow()
    assert table["age_bin"].to_pylist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_snapshot_holds_the_clean_rows_their_bin_id_and_instants(settings, batch_with, people, rows_of):
    batch = batch_with(30)
    before = datetime.now(UTC)
    snapshot = publish(settings, batch, None)
    (row,) = rows_of(snapshot_path(settings.lake, snapshot))
    assert before <= row.pop("created_timestamp") <= datetime.now(UTC)
    assert row == {**people(30)[0], "age_bin": 2, "snapshot_id": snapshot, "event_timestamp": instant_of(batch)}


def test_a_snapshots_rows_are_ordered_by_person(settings, batch_with, rows_of):
    snapshot = publish(settings, batch_with(30, 20, 50), None)
    assert [row["person_id"] for row in rows_of(snapshot_path(settings.lake, snapshot))] == ["p0", "p1", "p2"]


def test_the_official_snapshot_has_every_person(official, rows_of):
    settings, batch = official
    rows = rows_of(snapshot_path(settings.lake, publish(settings, batch, None)))
    assert len({row["person_id"] for row in rows}) == len(rows) == 32_537


def test_a_snapshot_id_is_batch_and_content(settings, batch_with, people):
    batch = batch_with(30)
    assert publish(settings, batch, None) == f"{batch}-{_digest(people(30))}"


def test_unchanged_content_is_not_published(settings, batch_with):
    first = publish(settings, batch_with(30), None)
    assert publish(settings, batch_with(30), first) is None
    assert published(settings.lake) == [first]


def test_changed_content_is_published(settings, batch_with):
    first = publish(settings, batch_with(30), None)
    second = publish(settings, batch_with(31), first)
    assert published(settings.lake) == [first, second]


def test_force_publishes_unchanged_content_anew(settings, batch_with):
    first = publish(settings, batch_with(30), None)
    batch = batch_with(30)
    assert publish(settings, batch, first, force=True) == f"{batch}-{first.partition('-')[2]}"


def test_a_forced_retry_completes_its_own_snapshot(settings, batch_with):
    first = publish(settings, batch_with(30), None)
    batch = batch_with(30)
    second = publish(settings, batch, first, force=True)
    assert publish(settings, batch, first, force=True) == second
    assert published(settings.lake) == [first, second]


def test_a_retry_finds_the_snapshot_that_it_published(settings, batch_with):
    batch = batch_with(30)
    first = publish(settings, batch, None)
    written = snapshot_path(settings.lake, first).read_bytes()
    assert publish(settings, batch, None) == first
    assert snapshot_path(settings.lake, first).read_bytes() == written


def test_an_unverified_snapshot_of_the_same_content_is_completed(settings, batch_with):
    first = publish(settings, batch_with(30), None)
    assert publish(settings, batch_with(30), None) == first
    assert published(settings.lake) == [first]


def test_content_that_goes_and_comes_back_gives_three_snapshots(settings, batch_with):
    first = publish(settings, batch_with(30), None)
    second = publish(settings, batch_with(31), first)
    third = publish(settings, batch_with(30), second)
    assert published(settings.lake) == [first, second, third]
    assert first.partition("-")[2] == third.partition("-")[2]


def test_verified_content_is_published_anew_after_other_content_stayed_unverified(settings, batch_with):
    verified = publish(settings, batch_with(30), None)
    unverified = publish(settings, batch_with(31), verified)
    again = publish(settings, batch_with(30), verified)
    assert published(settings.lake) == [verified, unverified, again]


def test_a_draft_left_by_a_kill_is_not_published(settings, batch_with):
    batch = batch_with(30)
    path = snapshot_path(settings.lake, f"{batch}-abc")
    with committed(path) as draft:
        draft.write_bytes(b"half")
        left = draft.rename(draft.with_name(f"{draft.name}-kept"))
        draft.touch()
    path.unlink()
    assert left.exists()
    assert published(settings.lake) == []
    assert publish(settings, batch, None) == published(settings.lake)[0]


def test_the_digest_does_not_depend_on_the_order_of_rows(people):
    rows = people(*range(17, 67))
    assert _digest(rows) == _digest(rows[::-1])


@pytest.mark.parametrize("name", ["person_id", *FEATURES])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_digest_depends_on_every_cell(people, name, at):
    rows = people(20, 30, 40)
    changed = [dict(row) for row in rows]
    value = changed[at][name]
    changed[at][name] = value + 1 if isinstance(value, int) else f"{value}x"
    assert _digest(changed) != _digest(rows)


def test_the_digest_depends_on_which_row_has_a_value(people):
    assert _digest(people(20, 30)) != _digest(people(30, 20))


def test_the_digest_depends_on_how_often_a_row_is_there(people):
    assert _digest(people(20) * 2) != _digest(people(20))
