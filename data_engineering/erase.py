"""Erase one person by key: from the lake's files and BigQuery's tables, and so from Feast's stores."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
from feast import FeatureStore

import bulk_engine
from data_engineering import erasures
from data_engineering.clean import SEPARATOR, complete, distinct, stripped, with_derived_key
from data_engineering.errors import DataError
from data_engineering.lake import empty_trash, read_json, remove_dead_drafts, write_json
from data_engineering.materialize import VIEW, apply_mark, marked
from data_engineering.schema import COLUMNS, TEXTS
from data_engineering.settings import Settings
from data_engineering.warehouse import Warehouse, count, opened


def erase(store: FeatureStore, settings: Settings, person_id: str, reason: str) -> Iterator[str]:
    """Erase a person, and give a line for each thing done.

    The record with all that is to be done is written first, so a second call completes what a stopped one left.

    Raises:
        DataError: no file or table holds the person, nor does the online store; or the online store is not supported.
    """
    if not bulk_engine.supported(store):
        raise DataError(
            f"online store {store.config.online_store.type}: a person can be erased from SQLite and Redis: remove the "
            "person there by its own means, or teach bulk_engine its rows"
        )
    with _warehouses(settings) as warehouses:
        record = planned(store, settings, warehouses, person_id, reason)
        if not record:
            yield "nothing is left of this person: the erasure was recorded before"
            return
        # A stopped run's leftovers may hold the person as well.
        for path in remove_dead_drafts(settings.lake):
            yield f"removed leftover {path.relative_to(settings.lake)}"
        empty_trash(settings.lake)
        stored = {name: (tables, read) for tables in warehouses for name, read in tables.stored().items()}
        for name, rows in sorted(read_json(record)["pending"].items()):
            if name in stored:
                rewrite(*stored[name], name, person_id, rows)
            elif not rewrite_report(settings.lake / name, person_id):
                continue  # pruned meanwhile
            yield f"rewrote {name}"
        for snapshot_id in sorted(marked(store) & {*warehouses[-1].published()}):
            apply_mark(store, settings, snapshot_id)  # it says how many rows there are
    removed = bulk_engine.remove(store, VIEW, [(person_id,)])
    yield "removed from the online store" if removed else "not in the online store"
    erasures.completed(record, online=bool(removed))
    yield f"recorded in {record}"


@contextmanager
def _warehouses(settings: Settings) -> Iterator[list[Warehouse]]:
    """Give the lake, which has the predictions in any case, and last the warehouse, if it is another place."""
    with ExitStack() as stack:
        lake = stack.enter_context(opened(settings.model_copy(update={"warehouse": None})))
        yield [lake, stack.enter_context(opened(settings))] if settings.warehouse else [lake]


def planned(
    store: FeatureStore, settings: Settings, warehouses: list[Warehouse], person_id: str, reason: str
) -> Path | None:
    """Return the record that says what is to be done, a stopped one's if there is one; None if nothing is left to do.

    Raises:
        DataError: there is nobody of this key, and never was; or the stopped one was of another warehouse.
    """
    lake = settings.lake
    mine = erasures.of_person(lake, person_id)
    skip = {name for record in mine.values() for name in record["files"]}
    found = holding(warehouses, lake, person_id, skip_raw=skip)
    if stopped := next((path for path, record in mine.items() if not record["completed_at"]), None):
        _check_same_warehouse(mine[stopped], settings)
        erasures.extended(stopped, found)
        return stopped
    if found or (person_id,) in bulk_engine.listed(store, VIEW):
        return erasures.begun(lake, person_id, reason, settings.warehouse, found)
    if mine:
        return None
    tables = f", in no table of {settings.warehouse}" if settings.warehouse else ""
    raise DataError(
        f"person {person_id!r} is in no file of {lake}{tables} and not online: check the key, the person_id of a "
        "snapshot's row"
    )


def _check_same_warehouse(record: dict[str, Any], settings: Settings) -> None:
    """Raise DataError if tables of a stopped erasure are out of sight: they would be taken for pruned ones."""
    begun = record["warehouse"]
    if begun != settings.warehouse:
        right = f"set DATA_WAREHOUSE={begun}" if begun else "unset DATA_WAREHOUSE"
        raise DataError(
            f"this person's erasure was begun with {begun or 'the lake'} as warehouse and stopped, and it is "
            f"{settings.warehouse or 'the lake'} now: {right} and call again"
        )


def holding(warehouses: list[Warehouse], lake: Path, person_id: str, skip_raw: set[str]) -> dict[str, list[str]]:
    """Return what holds a person, by name; for a raw table with digests of the person's rows.

    `skip_raw` names raw tables that an erasure was planned for. There a derived key must not be looked for again: of
    two alike persons the one who stays would take over the other's number.
    """
    found: dict[str, list[str]] = {}
    for tables, name, read in ((of, *stored) for of in warehouses for stored in of.stored().items()):
        table = read()
        if _is_raw(table):
            if name not in skip_raw and (rows := raw_rows(tables, table, person_id)):
                found[name] = rows
        elif count(tables, table.filter(table.person_id == person_id)):
            found[name] = []
    for path in sorted(lake.glob("staging/*/contract.json")):
        samples = [sample for breach in read_json(path)["breaches"] for sample in breach["samples"]]
        if any(_is_of(sample, person_id) for sample in samples):
            found[str(path.relative_to(lake))] = []
    return found


def raw_rows(tables: Warehouse, raw: ir.Table, person_id: str) -> list[str]:
    """Return the digests of a raw table's rows of one person, found by the table's own key or by the derived one."""
    key_column = next((name for name in raw.columns if name not in COLUMNS), None)
    if key_column:
        rows = raw.filter(raw[key_column].cast("string") == person_id)
    else:
        keyed = with_derived_key(distinct(complete(stripped(raw))))
        rows = keyed.filter(keyed.person_id == person_id)
    rows = rows.select(*raw.columns)
    digests = rows.select(digest=row_digest(rows)).distinct()
    return sorted(tables.answer(digests)["digest"].to_pylist())


def row_digest(table: ir.Table) -> ir.StringValue:
    """Return SHA-256 over a raw row's values without blanks around them: exact duplicates have the same."""
    values = [table[name].strip() if name in TEXTS else table[name].cast("string") for name in sorted(table.columns)]
    digest: ir.StringValue = ibis.literal(SEPARATOR).join([value.fill_null("") for value in values]).hexdigest("sha256")
    return digest


def rewrite(tables: Warehouse, read: Callable[[], ir.Table], name: str, person_id: str, rows: list[str]) -> None:
    """Take the person out of a table in one step; `rows` are the digests of a raw table's rows."""
    table = read()
    gone = row_digest(table).isin(rows) if _is_raw(table) else table.person_id == person_id
    tables.remove_rows(name, table, gone)


def rewrite_report(path: Path, person_id: str) -> bool:
    """Take the person out of a report's samples; return whether the report is there."""
    if not path.exists():
        return False
    report = read_json(path)
    for breach in report["breaches"]:
        breach["samples"] = [sample for sample in breach["samples"] if not _is_of(sample, person_id)]
    write_json(path, report)
    return True


def _is_raw(table: ir.Table) -> bool:
    return {*COLUMNS} <= {*table.columns}


def _is_of(sample: object, person_id: str) -> bool:
    return isinstance(sample, dict) and sample.get("person_id") == person_id
