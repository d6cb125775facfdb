"""Where the tables lie and are worked on: in the lake with DuckDB, or in BigQuery. The stages know this face alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import ibis.expr.types as ir
import pyarrow as pa

from data_engineering.addresses import parts
from data_engineering.session import connected
from data_engineering.settings import Settings
from storage.places import is_folder

if TYPE_CHECKING:
    from data_engineering.bigquery_table import SourceTable  # Google's client takes a second to import


class Warehouse(Protocol):
    """Tables by batch and snapshots by id. Whatever is written appears whole or not at all, and replaces."""

    def load(self, batch: str, path: Path) -> None:
        """Make a Parquet file the batch's raw table; the file may be gone afterwards."""

    def copy(self, batch: str, table: "SourceTable") -> None:
        """Make a table in BigQuery the batch's raw table."""

    def repeat(self, former: str, batch: str) -> bool:
        """Make a former batch's raw table this one's too; return whether it is still there."""

    def raw(self, batch: str) -> ir.Table:
        """Return the batch's raw table."""

    def clean(self, batch: str) -> ir.Table:
        """Return the batch's clean table."""

    def write_clean(self, batch: str, table: ir.Table) -> None:
        """Write the batch's clean table."""

    def snapshot(self, snapshot_id: str) -> ir.Table:
        """Return a published snapshot's rows."""

    def publish(self, snapshot_id: str, table: ir.Table) -> None:
        """Write a snapshot; it is published from the instant on at which this is done."""

    def published(self) -> list[str]:
        """Return the ids of all published snapshots, verified or not, oldest first."""

    def answer(self, table: ir.Table) -> pa.Table:
        """Return an expression's result: an aggregate, or a few rows."""

    def parts(self, rows: ir.Table) -> list[ir.Table]:
        """Return tables that are together what `row_hashes` gives, each of a size to be aggregated as texts."""

    def remove(self, snapshot_id: str) -> None:
        """Take a snapshot away."""

    def discard(self, batch: str) -> None:
        """Take a batch's tables away."""

    def stored(self) -> dict[str, Callable[[], ir.Table]]:
        """Return everything that may hold persons, by a name to tell people: raw tables, and such with `person_id`."""

    def remove_rows(self, name: str, table: ir.Table, gone: ir.BooleanValue) -> None:
        """Take rows out of what is stored under a name, in one step."""

    def strays(self) -> list[str]:
        """Return the batches that have tables outside the lake, where a killed run may have left them."""

    def storage(self, snapshot_id: str) -> Any:
        """Return where Feast finds a snapshot's persons: a SavedDatasetStorage."""


def count(tables: Warehouse, table: ir.Table) -> int:
    """Return a table's number of rows."""
    return int(tables.answer(table.aggregate(rows=table.count()))["rows"][0].as_py())


def place(settings: Settings) -> str:
    """Return what Feast's source of the published snapshots has to read: a folder, objects, or a table's name."""
    if settings.warehouse:
        return ".".join([*parts(settings.warehouse, "project.dataset"), "census"])
    folder = settings.lake / "census"
    return str(folder if is_folder(folder) else folder / "*.parquet")


@contextmanager
def opened(settings: Settings) -> Iterator[Warehouse]:
    """Give the warehouse that the settings name."""
    if settings.warehouse:
        from data_engineering.bigquery_warehouse import BigQueryWarehouse

        yield BigQueryWarehouse.of(settings)
    else:
        from data_engineering.lake_warehouse import LakeWarehouse

        with connected(settings) as connection:
            yield LakeWarehouse(settings, connection)
