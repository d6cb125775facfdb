"""Publish: what a snapshot holds, and when there is a new one."""

from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_engineering import digests, lake_warehouse
from data_engineering.lake import committed, instant_of, new_batch, snapshot_path
from data_engineering.publish import content_digest, features, publish
from data_engineering.schema import FEATURES
from data_engineering.warehouse import opened

LAKES = ["duckdb", "gs", pytest.param("s3", marks=pytest.mark.sweep)]
IN_FILES = pytest.mark.parametrize("on_each", LAKES, indirect=True)
IN_A_FOLDER = pytest.mark.parametrize("on_each", ["duckdb"], indirect=True)
EDGES = [17, 29, 30, 39, 40, 49, 50, 59, 60, 100]


@pytest.fixture
def settings(on_each):
    """Everything here holds on both engines, and on each kind of lake."""
    return on_each


@pytest.fixture
def people(row):
    """Return a maker of clean rows, one for each age."""
    source = {name: value for name, value in row().items() if name in FEATURES}
    return lambda *ages: [{"person_id": f"p{i}", **source, "age": age} for i, age in enumerate(ages)]


@pytest.fixture
def batch_of(settings, tmp_path):
    """Return a maker of a batch with a clean table."""

    def make(rows):
        batch, path = new_batch(settings.lake), tmp_path / "clean.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
        with opened(settings) as tables:
            tables.load(batch, path)
            tables.write_clean(batch, tables.raw(batch))
        return batch

    return make


@pytest.fixture
def batch_with(batch_of, people):
    """Return a maker of a batch whose clean table has one row for each age."""
    return lambda *ages: batch_of(people(*ages))


@pytest.fixture
def digest(settings, batch_of):
    """Return the content's digest of clean rows."""

    def make(rows):
        batch = batch_of(rows)
        with opened(settings) as tables:
            return content_digest(tables, features(tables.clean(batch)))

    return make


@pytest.fixture
def rows_in(settings):
    """Return a reader of a snapshot's rows, ordered by person."""

    def read(snapshot):
        with opened(settings) as tables:
            return tables.answer(tables.snapshot(snapshot).order_by("person_id")).to_pylist()

    return read


@pytest.fixture
def all_published(settings):
    """Return the ids of all snapshots."""

    def read():
        with opened(settings) as tables:
            return tables.published()

    return read


@pytest.fixture
def age_bins(settings, batch_with):
    """Return the bins of ages that are in order."""

    def make(*ages):
        batch = batch_with(*ages)
        with opened(settings) as tables:
            return tables.answer(features(tables.clean(batch)).order_by("age"))["age_bin"].to_pylist()

    return make


def test_age_bins_are_those_of_the_article(age_bins):
    ages = list(range(17, 101))
    article = pd.cut(pd.Series(ages), bins=[16, 29, 39, 49, 59, 100], labels=[1, 2, 3, 4, 5])
    assert age_bins(*ages) == article.astype("int64").tolist()


def test_the_edges_of_the_age_bins(age_bins):
    assert age_bins(*EDGES) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_snapshot_holds_the_clean_rows_their_bin_id_and_instants(settings, batch_with, people, rows_in):
    batch = batch_with(30)
    before = datetime.now(UTC)
    snapshot = publish(settings, batch, None)
    (row,) = rows_in(snapshot)
    assert before <= row.pop("created_timestamp") <= datetime.now(UTC)
    assert row == {**people(30)[0], "age_bin": 2, "snapshot_id": snapshot, "event_timestamp": instant_of(batch)}


@IN_FILES
def test_a_snapshots_rows_are_ordered_by_person(settings, batch_with, rows_in):
    snapshot = publish(settings, batch_with(30, 20, 50), None)
    assert [row["person_id"] for row in rows_in(snapshot)] == ["p0", "p1", "p2"]


def test_the_official_snapshot_has_every_person(official, rows_of):
    settings, batch = official
    rows = rows_of(snapshot_path(settings.lake, publish(settings, batch, None)))
    assert len({row["person_id"] for row in rows}) == len(rows) == 32_537


def test_a_snapshot_id_is_batch_and_content(settings, batch_with, people, digest):
    batch = batch_with(30)
    assert publish(settings, batch, None) == f"{batch}-{digest(people(30))}"


def test_unchanged_content_is_not_published(settings, batch_with, all_published):
    first = publish(settings, batch_with(30), None)
    assert publish(settings, batch_with(30), first) is None
    assert all_published() == [first]


def test_changed_content_is_published(settings, batch_with, all_published):
    first = publish(settings, batch_with(30), None)
    second = publish(settings, batch_with(31), first)
    assert all_published() == [first, second]


def test_force_publishes_unchanged_content_anew(settings, batch_with):
    first = publish(settings, batch_with(30), None)
    batch = batch_with(30)
    assert publish(settings, batch, first, force=True) == f"{batch}-{first.partition('-')[2]}"


def test_a_forced_retry_completes_its_own_snapshot(settings, batch_with, all_published):
    first = publish(settings, batch_with(30), None)
    batch = batch_with(30)
    second = publish(settings, batch, first, force=True)
    assert publish(settings, batch, first, force=True) == second
    assert all_published() == [first, second]


@IN_FILES
def test_a_retry_finds_the_snapshot_that_it_published(settings, batch_with):
    batch = batch_with(30)
    first = publish(settings, batch, None)
    written = snapshot_path(settings.lake, first).read_bytes()
    assert publish(settings, batch, None) == first
    assert snapshot_path(settings.lake, first).read_bytes() == written


def test_an_unverified_snapshot_of_the_same_content_is_completed(settings, batch_with, all_published):
    first = publish(settings, batch_with(30), None)
    assert publish(settings, batch_with(30), None) == first
    assert all_published() == [first]


def test_content_that_goes_and_comes_back_gives_three_snapshots(settings, batch_with, all_published):
    first = publish(settings, batch_with(30), None)
    second = publish(settings, batch_with(31), first)
    third = publish(settings, batch_with(30), second)
    assert all_published() == [first, second, third]
    assert first.partition("-")[2] == third.partition("-")[2]


def test_verified_content_is_published_anew_after_other_content_stayed_unverified(settings, batch_with, all_published):
    verified = publish(settings, batch_with(30), None)
    unverified = publish(settings, batch_with(31), verified)
    again = publish(settings, batch_with(30), verified)
    assert all_published() == [verified, unverified, again]


@IN_A_FOLDER
def test_a_draft_left_by_a_kill_is_not_published(settings, batch_with, all_published):
    batch = batch_with(30)
    path = snapshot_path(settings.lake, f"{batch}-abc")
    with committed(path) as draft:
        draft.write_bytes(b"half")
        left = draft.rename(draft.with_name(f"{draft.name}-kept"))
        draft.touch()
    path.unlink()
    assert left.exists()
    assert all_published() == []
    assert publish(settings, batch, None) == all_published()[0]


def test_the_digest_does_not_depend_on_the_order_of_rows(people, digest):
    rows = people(*range(17, 67))
    assert digest(rows) == digest(rows[::-1])


def test_the_digest_depends_on_every_cell(settings, batch_of, people):
    names = ["person_id", *FEATURES]
    variants = [people(20, 30, 40)]
    for at in range(3):
        for name in names:
            changed = [dict(row) for row in people(20, 30, 40)]
            value = changed[at][name]
            changed[at][name] = value + 1 if isinstance(value, int) else f"{value}x"
            variants.append(changed)
    batch = batch_of([{**row, "variant": i} for i, rows in enumerate(variants) for row in rows])
    with opened(settings) as tables:
        clean = tables.clean(batch)
        found = tables.answer(clean.select("variant", row=digests.row_hash(clean, clean.drop("variant").columns)))
    contents = {
        tuple(sorted(rows)) for rows in found.group_by("variant").aggregate([("row", "list")])["row_list"].to_pylist()
    }
    assert len(contents) == 1 + 3 * len(names)


def test_a_large_tables_digest_is_taken_in_parts(digest, people, monkeypatch):
    rows = people(*range(17, 67))
    at_once = digest(rows)
    monkeypatch.setattr(lake_warehouse, "ROWS_AT_ONCE", 3)
    assert digest(rows) == at_once


def test_the_digest_depends_on_which_row_has_a_value(people, digest):
    assert digest(people(20, 30)) != digest(people(30, 20))


def test_the_digest_depends_on_how_often_a_row_is_there(people, digest):
    assert digest(people(20) * 2) != digest(people(20))
