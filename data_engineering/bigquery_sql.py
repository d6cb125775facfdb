"""Ibis expressions as BigQuery's SQL, where Ibis itself writes something else or what BigQuery refuses."""

from typing import Any

import ibis.expr.types as ir
import sqlglot.expressions as sge
from ibis.backends.sql.compilers import BigQueryCompiler


class Compiler(BigQueryCompiler):  # type: ignore[misc]
    """Ibis' compiler, with `hexdigest` as DuckDB knows it, and aggregates in an order that BigQuery takes."""

    def visit_HexDigest(self, op: Any, *, arg: sge.Expression, how: str) -> sge.Expression:  # noqa: ARG002, N802
        """Return lower-case hexadecimal digits: BigQuery's SHA256 returns bytes."""
        digits: sge.Expression = self.f.to_hex(self.f[how](arg))
        return digits

    def visit_GroupConcat(self, op: Any, *, order_by: Any, **given: Any) -> sge.Expression:  # noqa: N802
        """Leave NULLS LAST out, which BigQuery refuses inside an aggregate (ibis-project/ibis#10499)."""
        for key in order_by:
            key.set("nulls_first", not key.args.get("desc"))  # what BigQuery does if nothing is said
        aggregate: sge.Expression = super().visit_GroupConcat(op, order_by=order_by, **given)
        return aggregate


def compiled(expression: ir.Table) -> str:
    """Return BigQuery's SQL for a table expression."""
    return str(Compiler().to_sqlglot(expression).sql(dialect="bigquery", pretty=True))
