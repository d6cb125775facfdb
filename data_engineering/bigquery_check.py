"""Whether BigQuery lets this area do its work, found out step by step before the first run."""

from collections.abc import Iterator

from data_engineering.addresses import SCHEME, parts
from data_engineering.bigquery_client import BigQuery, connect
from data_engineering.bigquery_table import find
from data_engineering.bigquery_warehouse import BigQueryWarehouse
from data_engineering.settings import Settings


def check(settings: Settings) -> Iterator[str]:
    """Give a line for each thing that is in order: credentials, source, cost, a read, and the warehouse's dataset.

    It processes the bytes of one row's read, and leaves nothing behind.

    Raises:
        DataError: something is not in order; the message says what to do.
        Unavailable: BigQuery does not answer.
    """
    service = connect(settings, parts(settings.warehouse, "project.dataset")[0] if settings.warehouse else None)
    yield f"signed in: jobs run in project {service.client.project}"
    if settings.source.startswith(SCHEME):
        yield from _source(service, settings)
    if settings.warehouse:
        yield from _warehouse(settings)


def _source(service: BigQuery, settings: Settings) -> Iterator[str]:
    table = find(service, settings.source, settings.key_column)
    yield f"{table.address}: columns as expected, {table.rows:,} rows, last changed {table.last_modified or 'unknown'}"
    size = service.estimate(table.query, table.address)
    yield f"{table.address}: a read processes {size:,} bytes of the {settings.max_bytes_billed:,} allowed"
    read = service.rows(f"{table.query} LIMIT 1", table.address)
    yield f"{table.address}: {read.num_rows} row read"


def _warehouse(settings: Settings) -> Iterator[str]:
    tables = BigQueryWarehouse.of(settings)
    place = f"{tables.project}.{tables.dataset}"
    yield f"{place}: lies in {tables.location() or 'an unknown location'}, {len(tables.published())} snapshots"
    trial = f"{place}.check"
    tables.service.run(f"CREATE OR REPLACE TABLE `{trial}` AS SELECT 1 AS one", f"writing {trial}")
    tables.service.drop(trial)
    yield f"{place}: a table was created and dropped"
