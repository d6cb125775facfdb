"""The warehouse in BigQuery: `raw_<batch>`, `clean_<batch>` and the one feature table `census` in a dataset."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from data_engineering import publish
from data_engineering.addresses import parts
from data_engineering.bigquery_client import BigQuery, connect
from data_engineering.bigquery_sql import compiled
from data_engineering.bigquery_table import SourceTable
from data_engineering.lake import instant_of
from data_engineering.settings import Settings

if TYPE_CHECKING:
    from feast.infra.offline_stores.bigquery_source import SavedDatasetBigQueryStorage

KEY = "person_id"
TYPES = {"int64": "INT64", "string": "STRING", "timestamp('UTC')": "TIMESTAMP"}
OURS = re.compile(r"(?:raw|clean)_(\d{8}T\d{6}_\d{6}Z)")  # others may keep tables in the dataset, too


@dataclass(frozen=True)
class BigQueryWarehouse:
    """Tables of one dataset. Each write is one statement, which BigQuery makes appear whole or not at all."""

    service: BigQuery
    project: str
    dataset: str

    @classmethod
    def of(cls, settings: Settings) -> "BigQueryWarehouse":
        """Return the warehouse at `settings.warehouse`, signed in."""
        project, dataset = parts(settings.warehouse or "", "project.dataset")
        return cls(connect(settings, project), project, dataset)

    def load(self, batch: str, path: Path) -> None:
        """Upload the file by a load job."""
        kinds = {field.name: str(field.type) for field in pq.read_schema(path)}
        self.service.load(path, self._name("raw", batch), {name: TYPES[kind] for name, kind in kinds.items()})

    def copy(self, batch: str, table: SourceTable) -> None:
        """Copy the table by a query, inside BigQuery."""
        self._create(self._name("raw", batch), table.query)

    def repeat(self, former: str, batch: str) -> bool:
        """Clone the former table: nothing is read, and what stays equal is stored once."""
        if not self.service.tables(f"{self.project}.{self.dataset}", self._name("raw", former).split(".")[2]):
            return False
        sql = f"CREATE OR REPLACE TABLE `{self._name('raw', batch)}` CLONE `{self._name('raw', former)}`"
        self.service.run(sql, f"cloning the raw table of batch {former}")
        return True

    def raw(self, batch: str) -> ir.Table:
        """Return the table."""
        return self._existing(self._name("raw", batch).split(".")[2])

    def clean(self, batch: str) -> ir.Table:
        """Return the table."""
        return self._existing(self._name("clean", batch).split(".")[2])

    def write_clean(self, batch: str, table: ir.Table) -> None:
        """Write the table, clustered by person."""
        self._create(self._name("clean", batch), compiled(table), f"CLUSTER BY {KEY}")

    def snapshot(self, snapshot_id: str) -> ir.Table:
        """Return the snapshot's rows of the feature table; its partition alone is read."""
        table = self._published()
        at = ibis.literal(instant_of(snapshot_id), "timestamp('UTC')")
        return table.filter(table.event_timestamp == at, table.snapshot_id == snapshot_id)

    def publish(self, snapshot_id: str, table: ir.Table) -> None:
        """Replace the snapshot's rows of the feature table in one statement."""
        self.create()
        self.service.run(self.publication(snapshot_id, table), f"publishing {snapshot_id}")

    def publication(self, snapshot_id: str, table: ir.Table) -> str:
        """Return the statement that replaces a snapshot's rows.

        https://cloud.google.com/bigquery/docs/reference/standard-sql/dml-syntax#merge_statement, constant false
        predicate: it deletes and inserts, in one step.
        """
        names = ", ".join(f"`{name}`" for name in table.columns)
        return (
            f"MERGE INTO `{self.features}` AS old USING (\n{compiled(table)}\n) AS new ON FALSE\n"  # noqa: S608  ours
            f"WHEN NOT MATCHED BY SOURCE AND old.event_timestamp = TIMESTAMP '{instant_of(snapshot_id).isoformat()}' "
            f"AND old.snapshot_id = '{snapshot_id}' THEN DELETE\n"
            f"WHEN NOT MATCHED BY TARGET THEN INSERT ({names}) VALUES ({names})"
        )

    def create(self) -> None:
        """Create the feature table, partitioned by day and clustered by person, unless it is there."""
        self.service.run(self.creation(), f"creating {self.features}")

    def creation(self) -> str:
        """Return the statement that creates the feature table."""
        columns = ", ".join(f"`{name}` {TYPES[kind]}" for name, kind in publish.snapshot_columns().items())
        return (
            f"CREATE TABLE IF NOT EXISTS `{self.features}` ({columns}) "
            f"PARTITION BY DATE(event_timestamp) CLUSTER BY {KEY}"
        )

    def published(self) -> list[str]:
        """Return the ids in the feature table."""
        if "census" not in self.service.tables(f"{self.project}.{self.dataset}", "census"):
            return []
        ids = self._published().select("snapshot_id").distinct()
        return sorted(self.answer(ids)["snapshot_id"].to_pylist())

    def answer(self, table: ir.Table) -> pa.Table:
        """Return the result; nothing else of a table leaves BigQuery."""
        return self.service.rows(compiled(table), f"{self.project}.{self.dataset}")

    def parts(self, rows: ir.Table) -> list[ir.Table]:
        """Return the rows: a group's texts alone have to fit one worker's memory."""
        return [rows]

    def remove(self, snapshot_id: str) -> None:
        """Delete the snapshot's rows."""
        rows = f"event_timestamp = TIMESTAMP '{instant_of(snapshot_id).isoformat()}' AND snapshot_id = '{snapshot_id}'"
        self.service.run(f"DELETE FROM `{self.features}` WHERE {rows}", f"removing {snapshot_id}")  # noqa: S608  ours

    def discard(self, batch: str) -> None:
        """Drop the batch's tables."""
        for kind in ("raw", "clean"):
            self.service.drop(self._name(kind, batch))

    def stored(self) -> dict[str, Callable[[], ir.Table]]:
        """Return the tables of all batches, and the feature table, by their full names."""
        names = self.service.tables(f"{self.project}.{self.dataset}", "")
        ours = [name for name in names if OURS.fullmatch(name) or name == "census"]
        return {f"{self.project}.{self.dataset}.{name}": partial(self._existing, name) for name in ours}

    def remove_rows(self, name: str, table: ir.Table, gone: ir.BooleanValue) -> None:
        """Delete the rows by one statement."""
        self.service.run(self.removal(name, table, gone), f"erasing from {name}")

    def removal(self, name: str, table: ir.Table, gone: ir.BooleanValue) -> str:
        """Return the statement that deletes rows' persons; a table without persons, a raw one, is made anew."""
        if KEY in table.columns:
            persons = compiled(table.filter(gone).select(KEY))
            return f"DELETE FROM `{name}` WHERE {KEY} IN (\n{persons}\n)"  # noqa: S608  ours
        return f"CREATE OR REPLACE TABLE `{name}` AS\n{compiled(table.filter(~gone))}"

    def strays(self) -> list[str]:
        """Return the batches that have a table."""
        names = map(OURS.fullmatch, self.service.tables(f"{self.project}.{self.dataset}", ""))
        return sorted({found[1].replace("_", ".") for found in names if found})

    def storage(self, snapshot_id: str) -> "SavedDatasetBigQueryStorage":  # noqa: ARG002
        """Return the feature table: Feast reads of it what has the snapshot's event timestamp."""
        from feast.infra.offline_stores.bigquery_source import SavedDatasetBigQueryStorage

        return SavedDatasetBigQueryStorage(table=self.features)

    @property
    def features(self) -> str:
        """Return the feature table's name."""
        return f"{self.project}.{self.dataset}.census"

    def location(self) -> str | None:
        """Return where the dataset lies."""
        where: str | None = self.service.dataset(f"{self.project}.{self.dataset}").location
        return where

    def _create(self, name: str, query: str, options: str = "") -> None:
        self.service.run(f"CREATE OR REPLACE TABLE `{name}` {options} AS\n{query}", f"writing {name}")

    def _name(self, kind: str, batch: str) -> str:
        return f"{self.project}.{self.dataset}.{kind}_{batch.replace('.', '_')}"

    def _existing(self, name: str) -> ir.Table:
        fields = self.service.table(f"{self.project}.{self.dataset}.{name}").schema
        names = {"INTEGER": "int64", "INT64": "int64", "STRING": "string"}
        schema = {field.name: names.get(field.field_type, field.field_type.lower()) for field in fields}
        return ibis.table(schema, name=name, database=self.dataset, catalog=self.project)

    def _published(self) -> ir.Table:
        return ibis.table(publish.snapshot_columns(), name="census", database=self.dataset, catalog=self.project)
