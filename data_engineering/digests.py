"""One digest for a table's content, the same in whatever order and engine its rows are."""

import hashlib
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from data_engineering.warehouse import Warehouse

SEPARATOR, NULL = "\x1f", "\x1e"  # ASCII's separators of units and records: no census value holds them


def whole(tables: Warehouse, table: ir.Table) -> str:
    """Return 64 hexadecimal digits that depend on every value, the order of columns, and not on the order of rows.

    SHA-256 over sorted row hashes, in two levels: by the first three digits, then over all.
    """
    groups = [row for part in tables.parts(row_hashes(table)) for row in tables.answer(group_digests(part)).to_pylist()]
    text = "".join(group["digest"] for group in sorted(groups, key=lambda group: str(group["part"])))
    return hashlib.sha256(text.encode()).hexdigest()


def row_hashes(table: ir.Table) -> ir.Table:
    """Return each row's hash, SHA-256 over its values, as column `row`."""
    return table.select(row=row_hash(table, table.columns))


def row_hash(table: ir.Table, columns: Sequence[str]) -> ir.StringValue:
    """Return the hash of some of a row's values."""
    values = [table[name].cast("string").fill_null(NULL) for name in columns]
    digits: ir.StringValue = ibis.literal(SEPARATOR).join(values).hexdigest("sha256")
    return digits


def group_digests(rows: ir.Table) -> ir.Table:
    """Return the digests of the sorted row hashes that begin alike; `part` has their beginning."""
    return rows.group_by(part=rows.row.left(3)).aggregate(
        digest=rows.row.group_concat("", order_by=rows.row).hexdigest("sha256")
    )
