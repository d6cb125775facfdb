"""Puts the bundled census file where Google has it, and creates the feature table, as `docs/bigquery.md` says."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from google.cloud import bigquery

from data_engineering import bigquery_client
from data_engineering.addresses import parts
from data_engineering.bigquery_warehouse import BigQueryWarehouse
from data_engineering.schema import COLUMNS
from data_engineering.settings import BUNDLED_SOURCE, Settings
from data_engineering.source import extract
from data_engineering.warehouse import opened


def main() -> int:
    """Load the source that the settings name from the bundled file, and create what they name as warehouse."""
    with TemporaryDirectory() as folder:
        settings = Settings(lake=Path(folder))
        project, dataset, table = parts(settings.source, "project.dataset.table")
        service = bigquery_client.connect(settings)
        for name in (f"{project}.{dataset}", settings.warehouse.removeprefix("bigquery://")):
            service.client.create_dataset(bigquery.Dataset(name), exists_ok=True)
        local = settings.model_copy(update={"warehouse": None})
        batch = extract(local, "load", str(BUNDLED_SOURCE))
        raw = settings.lake / "staging" / batch / "raw.parquet"
        kinds = {name: "INT64" if kind is int else "STRING" for name, kind in COLUMNS.items()}
        service.load(raw, f"{project}.{dataset}.{table}", kinds)
        with opened(settings) as tables:
            assert isinstance(tables, BigQueryWarehouse)
            tables.create()
    return 0


if __name__ == "__main__":
    sys.exit(main())
