"""Ibis expressions as BigQuery's SQL, where Ibis itself writes something else or what BigQuery refuses."""

from typing import Any

import ibis.expr.types as ir
import sqlglot.expressions as sge
from ibis.backends.sql.compilers import BigQueryCompiler


class Compiler(BigQueryCompiler):  # type: ignore[misc]
    """Ibis' compiler, with `hexdigest` as DuckDB knows it."""

    def visit_HexDigest(self, op: Any, *, arg: sge.Expression, how: str) -> sge.Expression:  # noqa: ARG002, N802
        """Return lower-case hexadecimal digits: BigQuery's SHA256 returns bytes."""
        digits: sge.Expression = self.f.to_hex(self.f[how](arg))
        return digits


def compiled(expression: ir.Table) -> str:
    """Return BigQuery's SQL for a table expression."""
    query = Compiler().to_sqlglot(expression)
    # An aggregate's ORDER BY takes no NULLS LAST in BigQuery; no column that we order by has NULLs.
    for ordered in query.find_all(sge.Ordered):
        ordered.set("nulls_first", not ordered.args.get("desc"))
    return str(query.sql(dialect="bigquery", pretty=True))
