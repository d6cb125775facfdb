"""The warehouse that needs nothing but a folder: Parquet files in the lake, read and written by DuckDB."""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import ibis.expr.types as ir
import pyarrow as pa
from ibis.backends.duckdb import Backend

from data_engineering import lake
from data_engineering.settings import Settings
from data_engineering.warehouse import count
from storage import places

if TYPE_CHECKING:
    from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

    from data_engineering.bigquery_table import SourceTable

KEY = "person_id"
TABLES = ("staging/*/raw.parquet", "staging/*/clean.parquet", "census/[!.]*.parquet", lake.PREDICTIONS)
ROWS_AT_ONCE = 5_000_000  # about 0.7 GB while they are sorted


@dataclass(frozen=True)
class LakeWarehouse:
    """`staging/<batch>/{raw,clean}.parquet` and `census/<snapshot>.parquet` below a folder."""

    settings: Settings
    connection: Backend

    def load(self, batch: str, path: Path) -> None:
        """Move the file into the batch's folder."""
        with lake.committed(self._staged(batch, "raw")) as draft:
            path.rename(draft)

    def copy(self, batch: str, table: "SourceTable") -> None:
        """Stream the table into the batch's folder."""
        from data_engineering import bigquery_client, bigquery_table

        with lake.committed(self._staged(batch, "raw")) as draft:
            bigquery_table.copy(bigquery_client.connect(self.settings), table, draft)

    def repeat(self, former: str, batch: str) -> bool:
        """Give the former file a second name: neither is ever written into. Of an object the store makes a copy."""
        if not self._staged(former, "raw").exists():
            return False
        if not places.is_folder(self.settings.lake):
            places.copied(self._staged(former, "raw"), self._staged(batch, "raw"))
            return True
        with lake.committed(self._staged(batch, "raw")) as draft:
            os.link(self._staged(former, "raw"), draft)
        return True

    def raw(self, batch: str) -> ir.Table:
        """Return the file's rows."""
        return self.connection.read_parquet(self._staged(batch, "raw"))

    def clean(self, batch: str) -> ir.Table:
        """Return the file's rows."""
        return self.connection.read_parquet(self._staged(batch, "clean"))

    def write_clean(self, batch: str, table: ir.Table) -> None:
        """Write the file, ordered by person."""
        with lake.committed(self._staged(batch, "clean")) as draft:
            self.connection.to_parquet(table.order_by(KEY), draft)

    def snapshot(self, snapshot_id: str) -> ir.Table:
        """Return the file's rows."""
        return self.connection.read_parquet(lake.snapshot_path(self.settings.lake, snapshot_id))

    def publish(self, snapshot_id: str, table: ir.Table) -> None:
        """Write the file, ordered by person."""
        with lake.committed(lake.snapshot_path(self.settings.lake, snapshot_id)) as draft:
            self.connection.to_parquet(table.order_by(KEY), draft)

    def published(self) -> list[str]:
        """Return the names of the files."""
        return lake.published(self.settings.lake)

    def answer(self, table: ir.Table) -> pa.Table:
        """Return the result."""
        return self.connection.to_pyarrow(table)

    def parts(self, rows: ir.Table) -> list[ir.Table]:
        """Return the rows by their first digit if they are many: an aggregate of texts cannot spill.

        They are set down once, where they can.
        """
        if count(self, rows) <= ROWS_AT_ONCE:
            return [rows]
        kept = self.connection.create_table(f"rows_{secrets.token_hex(4)}", rows, temp=True)
        return [kept.filter(kept.row.left(1) == digit) for digit in "0123456789abcdef"]

    def remove(self, snapshot_id: str) -> None:
        """Delete the file."""
        lake.snapshot_path(self.settings.lake, snapshot_id).unlink(missing_ok=True)

    def discard(self, batch: str) -> None:
        """Do nothing: the files go with the batch's folder."""

    def stored(self) -> dict[str, Callable[[], ir.Table]]:
        """Return all files of tables by their path below the lake; predictions are among them."""
        root = self.settings.lake
        found = (path for files in TABLES for path in sorted(root.glob(files)))
        return {str(path.relative_to(root)): partial(self.connection.read_parquet, path) for path in found}

    def remove_rows(self, name: str, table: ir.Table, gone: ir.BooleanValue) -> None:
        """Write the file anew."""
        with lake.committed(self.settings.lake / name) as draft:
            self.connection.to_parquet(table.filter(~gone), draft)

    def strays(self) -> list[str]:
        """Return none: a batch without a manifest is swept out of the lake."""
        return []

    def storage(self, snapshot_id: str) -> "SavedDatasetFileStorage":
        """Return the file."""
        from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

        return SavedDatasetFileStorage(path=str(lake.snapshot_path(self.settings.lake, snapshot_id)))

    def _staged(self, batch: str, name: str) -> Path:
        return lake.staged(self.settings.lake, batch, f"{name}.parquet")
