"""A census table in BigQuery, streamed as Arrow into a Parquet file or copied inside BigQuery."""

import logging
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow.parquet as pq
from google.cloud import bigquery

from data_engineering.addresses import parts
from data_engineering.bigquery_client import BigQuery
from data_engineering.columns import check_names
from data_engineering.errors import DataError
from data_engineering.schema import COLUMNS

log = logging.getLogger(__name__)

TYPES = {"INTEGER": int, "INT64": int, "STRING": str}


@dataclass(frozen=True)
class SourceTable:
    """A table that was looked at: its address, the query that reads it, and when it last changed.

    `last_modified` is None where BigQuery cannot say it: of a view, and of a table into which rows are streamed.
    """

    address: str
    query: str
    rows: int
    last_modified: str | None


def find(service: BigQuery, source: str, key_column: str | None) -> SourceTable:
    """Return the table at `bigquery://project.dataset.table`, after a look at its columns; no data is read.

    Raises:
        DataError: it is not there, a column is missing or unknown, or has another type.
    """
    name = ".".join(parts(source, "project.dataset.table"))
    table = service.table(name)
    fields = {field.name: field for field in table.schema}
    names = check_names(list(fields), source, key_column)
    columns = [_column(fields[column], source) for column in names]
    known = table.table_type == "TABLE" and table.streaming_buffer is None
    return SourceTable(
        address=source,
        query=f"SELECT {', '.join(columns)} FROM `{name}`",  # noqa: S608  names that BigQuery itself has given
        rows=int(table.num_rows or 0),
        last_modified=table.modified.isoformat() if known else None,
    )


def _column(field: bigquery.SchemaField, source: str) -> str:
    if field.name not in COLUMNS:  # the key, whatever its type
        return f"CAST(`{field.name}` AS STRING) AS `{field.name}`"
    wanted = COLUMNS[field.name]
    if TYPES.get(field.field_type) is not wanted or field.mode == "REPEATED":
        found = f"{field.mode} {field.field_type}" if field.mode == "REPEATED" else field.field_type
        right = "INT64" if wanted is int else "STRING"
        raise DataError(
            f"{source}: column {field.name} has type {found}, not {right}: cast it in a view, or correct the table"
        )
    return f"`{field.name}`"


def copy(service: BigQuery, table: SourceTable, path: Path) -> None:
    """Stream the table's rows into a Parquet file, a batch at a time; say in the log how far it is.

    Raises:
        DataError: it costs more than allowed, or BigQuery refuses.
        Unavailable: the connection was lost.
    """
    done = told = 0
    # Closed here whatever happens: else the client's threads wait for ever for somebody to take their rows.
    with closing(service.batches(service.run(table.query, table.address), table.address)) as batches:
        first = next(batches)  # BigQuery's client gives one of no rows too
        with pq.ParquetWriter(path, first.schema) as file:
            for batch in chain([first], batches):
                file.write_batch(batch)
                done += batch.num_rows
                tenths = 10 * done // max(table.rows, 1)
                if tenths > told:
                    log.info("%s: %s of %s rows read", table.address, f"{done:,}", f"{table.rows:,}")
                    told = tenths
