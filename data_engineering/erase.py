"""Erase one person by key: from the lake's files, and so from Feast's offline store, and from the online store."""

from collections.abc import Iterator
from pathlib import Path

import ibis
import ibis.expr.types as ir
from feast import FeatureStore
from ibis.backends.duckdb import Backend

import bulk_engine
from data_engineering import erasures
from data_engineering.clean import SEPARATOR, complete, distinct, stripped, with_derived_key
from data_engineering.errors import DataError
from data_engineering.lake import PREDICTIONS, committed, empty_trash, read_json, remove_dead_drafts, write_json
from data_engineering.materialize import VIEW, apply_mark, marked
from data_engineering.schema import COLUMNS, TEXTS
from data_engineering.session import connected
from data_engineering.settings import Settings


def erase(store: FeatureStore, settings: Settings, person_id: str, reason: str) -> Iterator[str]:
    """Erase a person, and give a line for each thing done.

    The record with all that is to be done is written first, so a second call completes what a stopped one left.

    Raises:
        DataError: no file holds the person, nor does the online store; or the online store is not supported.
    """
    if settings.warehouse:
        raise DataError(
            f"a person can be erased from the lake's files alone, and the tables are in {settings.warehouse}: "
            "delete the person there with the statements in docs/bigquery.md"
        )
    if not bulk_engine.supported(store):
        raise DataError(
            f"online store {store.config.online_store.type}: a person can be erased from SQLite and Redis: remove the "
            "person there by its own means, or teach bulk_engine its rows"
        )
    record = planned(store, settings, person_id, reason)
    if not record:
        yield "nothing is left of this person: the erasure was recorded before"
        return
    # A stopped run's leftovers may hold the person as well.
    for path in remove_dead_drafts(settings.lake):
        yield f"removed leftover {path.relative_to(settings.lake)}"
    empty_trash(settings.lake)
    verified = marked(store)
    for name, rows in sorted(read_json(record)["pending"].items()):
        path = settings.lake / name
        if path.exists():  # else pruned meanwhile
            rewrite(settings, path, person_id, rows)
            if path.stem in verified:
                apply_mark(store, settings, path.stem)  # it says how many rows there are
            yield f"rewrote {name}"
    removed = bulk_engine.remove(store, VIEW, [(person_id,)])
    yield "removed from the online store" if removed else "not in the online store"
    erasures.completed(record, online=bool(removed))
    yield f"recorded in {record}"


def planned(store: FeatureStore, settings: Settings, person_id: str, reason: str) -> Path | None:
    """Return the record that says what is to be done, a stopped one's if there is one; None if nothing is left to do.

    Raises:
        DataError: there is nobody of this key, and never was.
    """
    lake = settings.lake
    mine = erasures.of_person(lake, person_id)
    with connected(settings) as connection:
        skip = {name for record in mine.values() for name in record["files"]}
        found = holding(connection, lake, person_id, skip_raw=skip)
    if stopped := next((path for path, record in mine.items() if not record["completed_at"]), None):
        erasures.extended(stopped, found)
        return stopped
    if found or (person_id,) in bulk_engine.listed(store, VIEW):
        return erasures.begun(lake, person_id, reason, found)
    if mine:
        return None
    raise DataError(
        f"person {person_id!r} is in no file of {lake} and not online: check the key, the person_id of a snapshot's row"
    )


def holding(connection: Backend, lake: Path, person_id: str, skip_raw: set[str]) -> dict[str, list[str]]:
    """Return the files that hold a person, relative to the lake; for a raw table with digests of the person's rows.

    `skip_raw` names raw tables that an erasure was planned for. There a derived key must not be looked for again: of
    two alike persons the one who stays would take over the other's number.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(lake.glob("staging/*/raw.parquet")):
        name = str(path.relative_to(lake))
        if name not in skip_raw and (rows := raw_rows(connection.read_parquet(path), person_id)):
            found[name] = rows
    keyed = ("staging/*/clean.parquet", "census/[!.]*.parquet", PREDICTIONS)
    for path in sorted(path for files in keyed for path in lake.glob(files)):
        table = connection.read_parquet(path)
        if table.filter(table.person_id == person_id).count().execute():
            found[str(path.relative_to(lake))] = []
    for path in sorted(lake.glob("staging/*/contract.json")):
        samples = [sample for breach in read_json(path)["breaches"] for sample in breach["samples"]]
        if any(_is_of(sample, person_id) for sample in samples):
            found[str(path.relative_to(lake))] = []
    return found


def raw_rows(raw: ir.Table, person_id: str) -> list[str]:
    """Return the digests of a raw table's rows of one person, found by the table's own key or by the derived one."""
    key_column = next((name for name in raw.columns if name not in COLUMNS), None)
    if key_column:
        rows = raw.filter(raw[key_column].cast("string") == person_id)
    else:
        keyed = with_derived_key(distinct(complete(stripped(raw))))
        rows = keyed.filter(keyed.person_id == person_id)
    rows = rows.select(*raw.columns)
    digests = rows.select(digest=row_digest(rows)).distinct()
    return sorted(digests.to_pyarrow()["digest"].to_pylist())


def row_digest(table: ir.Table) -> ir.StringValue:
    """Return SHA-256 over a raw row's values without blanks around them: exact duplicates have the same."""
    values = [table[name].strip() if name in TEXTS else table[name].cast("string") for name in sorted(table.columns)]
    digest: ir.StringValue = ibis.literal(SEPARATOR).join([value.fill_null("") for value in values]).hexdigest("sha256")
    return digest


def rewrite(settings: Settings, path: Path, person_id: str, rows: list[str]) -> None:
    """Replace a file by one without the person, in one step; `rows` are the digests of a raw table's rows."""
    if path.suffix == ".json":
        report = read_json(path)
        for breach in report["breaches"]:
            breach["samples"] = [sample for sample in breach["samples"] if not _is_of(sample, person_id)]
        write_json(path, report)
        return
    with connected(settings) as connection, committed(path) as draft:
        table = connection.read_parquet(path)
        gone = row_digest(table).isin(rows) if path.name == "raw.parquet" else table.person_id == person_id
        connection.to_parquet(table.filter(~gone), draft)


def _is_of(sample: object, person_id: str) -> bool:
    return isinstance(sample, dict) and sample.get("person_id") == person_id
