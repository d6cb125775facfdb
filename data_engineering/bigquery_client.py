"""The one way to BigQuery: jobs with labels, a location and a limit of cost, tried again for a while, then one line."""

import logging
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from google.api_core.exceptions import Forbidden
from google.api_core.retry import Retry
from google.auth.credentials import Credentials
from google.cloud import bigquery

from data_engineering.bigquery_errors import explained, explanation, transient
from data_engineering.errors import DataError
from data_engineering.settings import Settings

log = logging.getLogger(__name__)

PATIENCE = 40.0  # seconds of tries: an endpoint that is dead is said to be so within a minute
ANSWER = 30.0  # seconds that one request may take
UPLOAD_RETRIES = 1  # the client's six, each as long, would be minutes
STREAMS = 8  # more would wait in memory for the one Parquet file that they end in
LABELS = {"application": "census_pipelines", "area": "data_engineering"}


def _warn(reason: Exception) -> None:
    log.warning("%s; reading it through REST, which is slower", reason)


@dataclass(frozen=True)
class BigQuery:
    """A signed-in client. `max_bytes_billed` is the most that one query may cost, in bytes."""

    client: bigquery.Client
    credentials: Credentials
    max_bytes_billed: int

    def table(self, name: str) -> bigquery.Table:
        """Return what BigQuery says of the table `project.dataset.table`: schema, rows, bytes, location, last change.

        Raises:
            DataError: it is not there, or must not be looked at.
        """
        with explained(name):
            return self.client.get_table(name, retry=_retry(), timeout=ANSWER)

    def dataset(self, name: str) -> bigquery.Dataset:
        """Return what BigQuery says of the dataset `project.dataset`.

        Raises:
            DataError: it is not there, or must not be looked at.
        """
        with explained(name):
            return self.client.get_dataset(name, retry=_retry(), timeout=ANSWER)

    def tables(self, dataset: str, prefix: str) -> list[str]:
        """Return the names of a dataset's tables that begin with `prefix`, in order."""
        with explained(dataset):
            found = [table.table_id for table in self.client.list_tables(dataset, retry=_retry(), timeout=ANSWER)]
        return sorted(name for name in found if name.startswith(prefix))

    def estimate(self, sql: str, what: str) -> int:
        """Return the bytes that a query would process; it is not run and costs nothing."""
        config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
        with explained(what):
            return int(self._started(sql, config).total_bytes_processed or 0)

    def run(self, sql: str, what: str) -> bigquery.QueryJob:
        """Run a query, whose estimate is logged first, and return its job once it is done.

        Raises:
            DataError: it would process more than `max_bytes_billed`, or BigQuery refuses it.
            Unavailable: BigQuery does not answer.
        """
        size = self.estimate(sql, what)
        limit = self.max_bytes_billed
        log.info("%s: %s bytes to be processed, limit %s", what, f"{size:,}", f"{limit:,}")
        if size > limit:
            raise DataError(
                f"{what}: would process {size:,} bytes, and DATA_MAX_BYTES_BILLED allows {limit:,}: raise it, or read "
                "a smaller table"
            )
        config = bigquery.QueryJobConfig(maximum_bytes_billed=limit)
        with explained(what):
            job = self._started(sql, config)
            job.result(retry=_retry(), job_retry=None)
        log.info("%s: job %s billed %s bytes", what, job.job_id, f"{job.total_bytes_billed or 0:,}")
        return job

    def batches(
        self, job: bigquery.QueryJob, what: str, refused: Callable[[Exception], None] = _warn
    ) -> Generator[pa.RecordBatch, None, None]:
        """Give a job's result as Arrow, in no order: through the Storage Read API, or REST where that is refused.

        `refused` is called with the reason, before it goes on.
        """
        from data_engineering.bigquery_reader import Reader  # gRPC takes its time to import

        with explained(what), Reader(self.credentials, _retry(), ANSWER) as reader:
            batches = self._batches(job, reader)
            try:
                first = next(batches, None)
            except Forbidden as error:
                refused(explanation(what, error))
                first = None
            if first is None:  # refused; or there are no rows, of which REST gives an empty batch
                batches = self._batches(job, None)
            else:
                yield first
            yield from batches

    def rows(self, sql: str, what: str) -> pa.Table:
        """Return a small result."""
        job = self.run(sql, what)
        with explained(what):
            return job.result(retry=_retry(), job_retry=None).to_arrow(create_bqstorage_client=False)

    def load(self, path: Path, table: str, schema: dict[str, str]) -> None:
        """Replace a table by a Parquet file's rows, in one step; `schema` has BigQuery's types."""
        fields = [bigquery.SchemaField(name, kind) for name, kind in schema.items()]
        config = bigquery.LoadJobConfig(
            source_format="PARQUET", write_disposition="WRITE_TRUNCATE", schema=fields, labels=LABELS
        )
        with explained(table), path.open("rb") as file:
            job = self.client.load_table_from_file(
                file, table, job_config=config, num_retries=UPLOAD_RETRIES, timeout=(ANSWER, ANSWER)
            )
            job.result(retry=_retry())

    def drop(self, table: str) -> None:
        """Delete a table, if it is there."""
        with explained(table):
            self.client.delete_table(table, not_found_ok=True, retry=_retry(), timeout=ANSWER)

    def _batches(self, job: bigquery.QueryJob, reader: Any) -> Iterator[pa.RecordBatch]:
        rows = job.result(retry=_retry(), job_retry=None)
        return iter(rows.to_arrow_iterable(bqstorage_client=reader, max_stream_count=STREAMS))

    def _started(self, sql: str, config: bigquery.QueryJobConfig) -> bigquery.QueryJob:
        config.labels = LABELS
        return self.client.query(sql, config, retry=_retry(), job_retry=None, timeout=ANSWER)


def connect(settings: Settings, project: str | None = None) -> BigQuery:
    """Return a client whose jobs run in GOOGLE_CLOUD_PROJECT, or that of the credentials, or `project`.

    It signs in with Application Default Credentials.

    Raises:
        DataError: there are no credentials.
    """
    import google.auth

    with explained("BigQuery"):
        credentials, default = google.auth.default(scopes=bigquery.Client.SCOPE)
        if not (default or project):
            raise DataError("BigQuery: no project to run jobs in: set GOOGLE_CLOUD_PROJECT")
        client = bigquery.Client(
            project=default or project, credentials=credentials, location=settings.bigquery_location
        )
    return BigQuery(client, credentials, settings.max_bytes_billed)


def _retry() -> Retry:
    options: dict[str, Any] = {"initial": 0.5, "maximum": 8.0, "multiplier": 2.0}
    return Retry(predicate=transient, timeout=PATIENCE, **options)
