"""Whether BigQuery lets this area do its work, found out step by step before the first run."""

import secrets
from collections.abc import Iterator
from contextlib import closing

from google.cloud.bigquery import QueryJob

from data_engineering.addresses import SCHEME, parts
from data_engineering.bigquery_client import BigQuery, connect
from data_engineering.bigquery_table import find
from data_engineering.bigquery_warehouse import BigQueryWarehouse
from data_engineering.errors import DataError
from data_engineering.settings import Settings


def check(settings: Settings) -> Iterator[str]:
    """Give a line for each thing that is in order: credentials, source, cost, a read, and the warehouse's dataset.

    A line of what will do, but could be better, begins with `warning`. It is billed one read of the source, since
    BigQuery bills a row like a table, and leaves nothing behind.

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
    job = service.run(f"{table.query} LIMIT 1", table.address)
    rows, refusal = _read(service, job, table.address)
    yield f"{table.address}: {rows} row read through {'REST' if refusal else 'the Storage Read API'}"
    if refusal:
        yield f"warning: {refusal}; a read into the lake goes through REST, which is slower"


def _warehouse(settings: Settings) -> Iterator[str]:
    tables = BigQueryWarehouse.of(settings)
    place = f"{tables.project}.{tables.dataset}"
    yield f"{place}: lies in {tables.location() or 'an unknown location'}, {len(tables.published())} snapshots"
    trial = f"{place}.check_{secrets.token_hex(8)}"
    tables.service.run(f"CREATE TABLE `{trial}` AS SELECT 1 AS one", f"writing {trial}")
    try:
        job = tables.service.run(f"SELECT one FROM `{trial}`", f"reading {trial}")  # noqa: S608  ours
    finally:
        tables.service.drop(trial)
    yield f"{place}: a table was created and dropped"
    _, refusal = _read(tables.service, job, place)
    if refusal:
        raise DataError(f"{refusal}: Feast reads through the Storage Read API and in no other way")
    yield f"{place}: read through the Storage Read API, as Feast does"


def _read(service: BigQuery, job: QueryJob, what: str) -> tuple[int, Exception | None]:
    """Return how many rows a read gives, and why they did not come through the Storage Read API, if so."""
    refusals: list[Exception] = []
    with closing(service.batches(job, what, refusals.append)) as batches:
        rows = sum(batch.num_rows for batch in batches)
    return rows, next(iter(refusals), None)
