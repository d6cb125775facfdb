"""One digest for a table's content, the same in whatever order and engine its rows are."""

import ibis
import ibis.expr.types as ir

from data_engineering.warehouse import Warehouse

SEPARATOR, NULL = "\x1f", "\x1e"  # ASCII's separators of units and records: no census value holds them


def whole(tables: Warehouse, table: ir.Table) -> str:
    """Return 64 hexadecimal digits that depend on every value, the order of columns, and not on the order of rows."""
    return str(tables.answer(hashed(table))["digest"][0].as_py())


def hashed(table: ir.Table) -> ir.Table:
    """Return a table's digest as a table of one cell.

    SHA-256 over sorted row hashes, in two levels: no aggregate has to hold the whole table's.
    """
    text = ibis.literal(SEPARATOR).join([table[name].cast("string").fill_null(NULL) for name in table.columns])
    rows = table.select(row=text.hexdigest("sha256"))
    groups = rows.group_by(part=rows.row.left(3)).aggregate(
        digest=rows.row.group_concat("", order_by=rows.row).hexdigest("sha256")
    )
    return groups.aggregate(digest=groups.digest.group_concat("", order_by=groups.part).hexdigest("sha256"))
