"""BigQuery as source and warehouse, on the emulator with the real client: the answers are those of DuckDB."""

import json
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.cloud import bigquery

from data_engineering import bigquery_client
from data_engineering.__main__ import main
from data_engineering.addresses import parts
from data_engineering.bigquery_warehouse import BigQueryWarehouse
from data_engineering.clean import clean
from data_engineering.contract import validate
from data_engineering.erase import erase
from data_engineering.errors import DataError
from data_engineering.lake import read_json, snapshot_path, staged
from data_engineering.materialize import apply_mark, sample
from data_engineering.publish import publish
from data_engineering.registered import check
from data_engineering.schema import COLUMNS
from data_engineering.settings import Settings
from data_engineering.source import extract
from data_engineering.warehouse import opened

KINDS = {name: "INT64" if kind is int else "STRING" for name, kind in COLUMNS.items()}


@pytest.fixture(scope="module")
def census(emulator, official):
    """Return the address of the official table in the emulator, under Google's name for it."""
    settings, batch = official
    service = bigquery_client.connect(settings)
    service.client.create_dataset("bigquery-public-data.ml_datasets", exists_ok=True)
    name = "bigquery-public-data.ml_datasets.census_adult_income"
    service.load(staged(settings.lake, batch, "raw.parquet"), name, KINDS)
    return f"bigquery://{name}"


def content(settings, snapshot):
    """Return the clean table's columns and the age bins, as a snapshot has them."""
    with opened(settings) as tables:
        rows = tables.snapshot(snapshot).drop("event_timestamp", "created_timestamp", "snapshot_id")
        return tables.answer(rows.order_by("person_id"))


def test_the_official_table_gives_the_same_clean_table_and_snapshot_as_on_duckdb(official, census, dataset, tmp_path):
    duckdb, batch = official
    settings = Settings(lake=tmp_path / "lake", source=census, warehouse=dataset)
    mine = validate(settings, clean(settings, extract(settings, "run")), 32_537)
    assert read_json(staged(settings.lake, mine, "clean.json")) == read_json(staged(duckdb.lake, batch, "clean.json"))
    ids = publish(settings, mine, None), publish(duckdb, batch, None)
    assert ids[0].partition("-")[2] == ids[1].partition("-")[2]
    there, here = content(settings, ids[0]), content(duckdb, ids[1])
    assert there.schema.names == here.schema.names
    assert there.to_pylist() == here.to_pylist()
    with opened(settings) as tables:
        assert len(set(sample(tables, ids[0], 500))) == 500


def test_the_official_table_streams_into_the_lake_as_the_file_does(official, census, tmp_path, caplog):
    caplog.set_level("INFO")
    settings = Settings(lake=tmp_path / "lake", source=census)
    batch = extract(settings, "run")
    manifest = read_json(staged(settings.lake, batch, "manifest.json"))
    assert (manifest["rows"], manifest["source"], len(manifest["sha256"])) == (32_561, census, 64)
    there = pq.read_table(staged(settings.lake, batch, "raw.parquet"))
    here = pq.read_table(staged(official[0].lake, official[1], "raw.parquet"))
    assert there.schema.names == here.schema.names
    assert sorted(map(str, there.to_pylist())) == sorted(map(str, here.to_pylist()))
    assert f"{census}: 32,561 of 32,561 rows read" in caplog.text
    assert f"{census}: 0 bytes to be processed, limit 1,073,741,824" in caplog.text


@pytest.fixture
def small(on_both, dataset, row):
    """Return settings on either warehouse, and a writer of rows into their source table."""
    project, name = parts(dataset, "project.dataset")
    table = f"{project}.{name}.source"
    client = bigquery.Client()

    def write(*rows):
        columns = ", ".join(f"{column} {kind}" for column, kind in KINDS.items())
        values = ", ".join(str(tuple(line.values())) for line in rows)
        client.query(f"CREATE OR REPLACE TABLE `{table}` ({columns})").result()
        client.query(f"INSERT INTO `{table}` VALUES {values}").result()

    write(row(), row(age=40))
    return on_both.model_copy(update={"source": f"bigquery://{table}"}), write


def test_a_table_that_has_not_changed_is_not_read_again(small, caplog):
    caplog.set_level("INFO")
    settings, _ = small
    first, second = extract(settings, "run 1"), extract(settings, "run 2")
    assert first < second
    assert f"the rows are batch {first}'s" in caplog.text
    manifests = [read_json(staged(settings.lake, batch, "manifest.json")) for batch in (first, second)]
    for manifest in manifests:
        del manifest["run"], manifest["read_at"]
    assert manifests[0] == manifests[1]
    published = publish(settings, clean(settings, first), None)
    assert publish(settings, clean(settings, second), published) is None
    forced = publish(settings, second, published, force=True)
    assert forced == f"{second}-{published.partition('-')[2]}"


def test_a_table_that_has_changed_is_read_again(small, row):
    settings, write = small
    first = extract(settings, "run 1")
    write(row(), row(age=41), row(age=42))
    second = extract(settings, "run 2")
    rows = [read_json(staged(settings.lake, batch, "manifest.json"))["rows"] for batch in (first, second)]
    assert rows == [2, 3]


def test_a_table_whose_former_rows_are_gone_is_read_again(small):
    settings, _ = small
    first = extract(settings, "run 1")
    with opened(settings) as tables:
        tables.discard(first)
        staged(settings.lake, first, "raw.parquet").unlink(missing_ok=True)
    assert read_json(staged(settings.lake, extract(settings, "run 2"), "manifest.json"))["rows"] == 2


def test_a_retry_of_the_same_run_reads_nothing(small):
    settings, _ = small
    assert extract(settings, "run") == extract(settings, "run")


def test_a_table_without_rows_is_refused(small, row):
    settings, _ = small
    bigquery.Client().query(f"DELETE FROM `{settings.source.removeprefix('bigquery://')}` WHERE TRUE").result()
    with pytest.raises(ValueError, match=r"source: no rows: check that it is the whole census table$"):
        extract(settings, "run")


@pytest.fixture
def warehouse(dataset, tmp_path):
    """Return a warehouse in BigQuery."""
    return BigQueryWarehouse.of(Settings(lake=tmp_path / "lake", warehouse=dataset))


@pytest.mark.parametrize("on_both", ["bigquery"], indirect=True)
def test_publishing_again_replaces_and_never_appends(small, warehouse):
    settings, _ = small
    settings = settings.model_copy(update={"warehouse": f"bigquery://{warehouse.project}.{warehouse.dataset}"})
    first = publish(settings, clean(settings, extract(settings, "run")), None)
    rows = warehouse.answer(warehouse.snapshot(first).order_by("person_id"))
    warehouse.publish(first, warehouse.snapshot(first))
    assert warehouse.answer(warehouse.snapshot(first).order_by("person_id")) == rows
    second = publish(settings, clean(settings, extract(settings, "run 2")), first, force=True)
    assert warehouse.published() == [first, second]
    assert warehouse.answer(warehouse.snapshot(first).order_by("person_id")) == rows
    warehouse.remove(first)
    assert warehouse.published() == [second]


def test_the_feature_table_is_created_once(warehouse):
    """How it is partitioned is in `golden/create.sql`: the emulator keeps nothing of that."""
    warehouse.create()
    warehouse.create()
    assert warehouse.published() == []


def test_check_says_what_is_in_order(census, dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DATA_LAKE", str(tmp_path))
    monkeypatch.setenv("DATA_SOURCE", census)
    monkeypatch.setenv("DATA_WAREHOUSE", dataset)
    assert main(["create-table"]) == 0
    assert main(["check-bigquery"]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = dataset.removeprefix("bigquery://")
    assert lines[:2] == [f"{place}.census is there", "signed in: jobs run in project emulated"]
    assert lines[2].startswith(f"{census}: columns as expected, 32,561 rows, last changed 2")
    assert lines[3] == f"{census}: a read processes 0 bytes of the 1,073,741,824 allowed"
    assert lines[4] == f"{census}: 1 row read through the Storage Read API"
    assert lines[5].startswith(f"{place}: lies in ")
    assert lines[6] == f"{place}: a table was created and dropped"
    assert lines[7:] == [f"{place}: read through the Storage Read API, as Feast does"]
    assert "check" not in json.dumps([table.table_id for table in bigquery.Client().list_tables(place)])


def test_check_ends_with_what_is_not_in_order(emulator, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DATA_LAKE", str(tmp_path))
    monkeypatch.setenv("DATA_SOURCE", "bigquery://emulated.nowhere.census")
    assert main(["check-bigquery"]) == 1
    assert capsys.readouterr().err.startswith("error: emulated.nowhere.census: Not found: ")


@pytest.fixture
def in_bigquery(publisher, dataset):
    """Return settings, and a verified snapshot in BigQuery of a few persons of the census.

    Two persons are alike in all but the labels. Online is what the publisher's store holds.
    """
    lines = publisher.lines[:20]
    twin = lines[0].replace("Never-married", "Widowed")
    settings = publisher.settings.model_copy(update={"warehouse": dataset})
    source = settings.lake.parent / "source.csv"
    source.write_text("".join([*lines, twin]))
    snapshot = publish(settings, clean(settings, extract(settings, "first", str(source))), None)
    apply_mark(publisher.store, settings, snapshot)
    predictions = settings.lake / "predictions/one/census.parquet"
    predictions.parent.mkdir(parents=True)
    shutil.copy(snapshot_path(settings.lake, publisher.first), predictions)
    return settings, snapshot


def contents(settings):
    """Return all rows that BigQuery holds, by table."""
    with opened(settings) as tables:
        stored = tables.stored()
        return {name.rpartition(".")[2]: tables.answer(read()).to_pylist() for name, read in stored.items()}


def persons(settings, snapshot):
    with opened(settings) as tables:
        return tables.answer(tables.snapshot(snapshot).order_by("person_id"))["person_id"].to_pylist()


def check_erased(publisher, settings, snapshot, person, before):
    """Check that a person is nowhere, and that every other row is where it was."""
    after = contents(settings)
    for name, rows in before.items():
        if name.startswith("raw"):
            gone = [row for row in rows if row not in after[name]]
            assert [(row["age"], row["marital_status"].strip()) for row in gone] == [(39, "Never-married")]
        else:
            assert sorted(map(str, after[name])) == sorted(str(row) for row in rows if row["person_id"] != person)
    assert pq.read_table(settings.lake / "predictions/one/census.parquet")["person_id"].to_pylist().count(person) == 0
    online = publisher.store.get_online_features(["census:age"], [{"person_id": person}])
    assert online.to_dict()["age"] == [None]
    (mark,) = publisher.store.list_saved_datasets(tags={"snapshot_id": snapshot, "verified": "true"})
    assert mark.tags["rows"] == "20"


def test_a_person_is_erased_from_every_table_and_no_other_is(publisher, in_bigquery):
    settings, snapshot = in_bigquery
    before = contents(settings)
    person = next(name for name in persons(settings, snapshot) if name.endswith("-2")).replace("-2", "-1")
    said = list(erase(publisher.store, settings, person, "asked for it"))
    check_erased(publisher, settings, snapshot, person, before)
    assert {line.rpartition(".")[2].partition("_")[0] for line in said if "emulated." in line} == {
        "raw",
        "clean",
        "census",
    }
    again = list(erase(publisher.store, settings, person, "asked for it"))
    assert again == ["nothing is left of this person: the erasure was recorded before"]
    batch = clean(settings, extract(settings, "third", str(settings.lake.parent / "source.csv")))
    assert person not in persons(settings, publish(settings, batch, None))
    with pytest.raises(DataError, match=rf"in no file of .*, in no table of {settings.warehouse} and not online"):
        list(erase(publisher.store, settings, "nobody", "asked for it"))


def test_an_erasure_that_was_stopped_between_two_tables_is_completed(publisher, in_bigquery, monkeypatch):
    settings, snapshot = in_bigquery
    before = contents(settings)
    person = next(name for name in persons(settings, snapshot) if name.endswith("-2")).replace("-2", "-1")
    done = []

    def dying(self, name, *rows):
        if done:
            raise KeyboardInterrupt
        done.append(name)
        remove_rows(self, name, *rows)

    remove_rows = BigQueryWarehouse.remove_rows
    with monkeypatch.context() as patch:
        patch.setattr(BigQueryWarehouse, "remove_rows", dying)
        with pytest.raises(KeyboardInterrupt):
            list(erase(publisher.store, settings, person, "asked for it"))
    stopped = contents(settings)
    assert stopped != before
    elsewhere = settings.model_copy(update={"warehouse": None})
    with pytest.raises(DataError, match=rf"begun with {settings.warehouse} as .*lake now: set DATA_WAREHOUSE=bigquery"):
        list(erase(publisher.store, elsewhere, person, "asked for it"))
    assert contents(settings) == stopped
    list(erase(publisher.store, settings, person, "asked for it"))
    check_erased(publisher, settings, snapshot, person, before)
    (record,) = map(read_json, (settings.lake / "erasures").glob("*.json"))
    assert record["completed_at"]
    assert len([name for name in record["files"] if name.startswith("emulated.")]) == 3


def test_tables_of_a_killed_run_are_found_and_no_others(warehouse, row, tmp_path):
    path, batch = tmp_path / "raw.parquet", "20260102T030405.678901Z"
    pq.write_table(pa.Table.from_pylist([row()]), path)
    warehouse.load(batch, path)
    warehouse.write_clean(batch, warehouse.raw(batch))
    warehouse.create()
    somebodys = f"{warehouse.project}.{warehouse.dataset}.raw_2024_sales"
    warehouse.service.run(f"CREATE OR REPLACE TABLE `{somebodys}` AS SELECT 1 AS one", "somebody's table")
    assert warehouse.strays() == [batch]
    warehouse.discard(batch)
    assert warehouse.strays() == []


@pytest.mark.parametrize(
    ("warehouse", "kind"), [("", "FileSource"), ("bigquery://my-project.census", "BigQuerySource")]
)
def test_the_definitions_read_what_the_settings_publish(tmp_path, monkeypatch, warehouse, kind):
    monkeypatch.setenv("DATA_LAKE", str(tmp_path))
    monkeypatch.setenv("DATA_WAREHOUSE", warehouse)
    definitions = runpy.run_path(str(Path(__file__).parents[3] / "feature_repo/census.py"))
    view = definitions["census"]
    assert type(view.batch_source).__name__ == kind
    other = Settings(lake=tmp_path, warehouse="bigquery://another.dataset")
    registry = SimpleNamespace(project="census", list_feature_views=lambda: [view])
    check(registry, Settings())
    with pytest.raises(
        DataError, match=r"reads .*census, and another\.dataset\.census is published: run `feast apply`"
    ):
        check(registry, other)
