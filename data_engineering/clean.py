"""Clean: one Ibis expression from the raw table to the feature columns, keyed by person."""

import logging

import ibis
import ibis.expr.types as ir

from data_engineering.erasures import without_erased
from data_engineering.lake import staged, write_json
from data_engineering.schema import COLUMNS, FEATURES, LABELS, TEXTS
from data_engineering.settings import Settings
from data_engineering.warehouse import Warehouse, count, opened

log = logging.getLogger(__name__)

UNKNOWN = {"workclass", "occupation", "native_country"}
SEPARATOR = "\x1f"  # ASCII's unit separator: no census value holds it, so two rows never join to one text


def clean(settings: Settings, batch: str) -> str:
    """Write the batch's clean table and the counts of what was dropped and why; return the batch."""
    with opened(settings) as tables:
        raw = tables.raw(batch)
        everybody = cleaned(raw, settings.key_column)
        table = without_erased(everybody, settings.lake)
        tables.write_clean(batch, table)
        rows = count(tables, tables.clean(batch))
        found = rows if table is everybody else count(tables, distinct(complete(stripped(raw))))
        counts = dropped(tables, raw, found) | {"erased": found - rows, "rows_out": rows}
    write_json(staged(settings.lake, batch, "clean.json"), counts)
    log.info("cleaned %s", ", ".join(f"{name} {count:,}" for name, count in counts.items()))
    return batch


def cleaned(raw: ir.Table, key_column: str | None = None) -> ir.Table:
    """Return one row per person: `person_id` and the twelve feature columns.

    Rows with a NULL or blank value go, then exact duplicates over all columns; `?` becomes `Unknown` in workclass,
    occupation and native_country. `person_id` is `key_column` where the source has one.
    """
    rows = distinct(complete(stripped(raw)))
    keyed = rows.mutate(person_id=rows[key_column].cast("string")) if key_column else with_derived_key(rows)
    unknown = {name: (keyed[name] == "?").ifelse("Unknown", keyed[name]) for name in UNKNOWN}
    return keyed.mutate(**unknown).select("person_id", *FEATURES)


def stripped(raw: ir.Table) -> ir.Table:
    """Return the table without blanks around strings; a string of blanks alone is NULL."""
    return raw.mutate(**{name: raw[name].strip().nullif("") for name in TEXTS})


def complete(table: ir.Table) -> ir.Table:
    """Return the rows without NULLs."""
    return table.drop_null()


def distinct(table: ir.Table) -> ir.Table:
    """Return the rows without exact duplicates over all columns."""
    return table.distinct()


def with_derived_key(rows: ir.Table) -> ir.Table:
    """Add `person_id`: SHA-256 over a row's values without the label columns, and an occurrence number.

    The census has no key. The labels stay out, so that a person whose income or marital status changes keeps the
    key; rows alike in all else are numbered in the order of their labels, the only columns they can differ in.
    """
    text = ibis.literal(SEPARATOR).join([rows[name].cast("string") for name in COLUMNS if name not in LABELS])
    hashed = rows.mutate(digest=text.hexdigest("sha256"))
    numbered = hashed.mutate(
        number=ibis.row_number().over(group_by=hashed.digest, order_by=[hashed[n] for n in LABELS])
    )
    key = numbered.digest + "-" + (numbered.number + 1).cast("string")
    # select, not drop: Ibis keeps what is dropped as a set, and the text of the SQL would change with every process.
    return numbered.mutate(person_id=key).select(*rows.columns, "person_id")


def dropped(tables: Warehouse, raw: ir.Table, out: int) -> dict[str, int]:
    """Return how many rows came in, went for which reason, and came out, which is `out`."""
    total, kept = (count(tables, table) for table in (raw, complete(stripped(raw))))
    return {"rows_in": total, "with_null": total - kept, "duplicates": kept - out, "rows_out": out}
