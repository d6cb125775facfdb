"""Census tables of a few rows, and the official one extracted and cleaned once."""

import csv
import io
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1.services.big_query_read import transports

from data_engineering.clean import clean
from data_engineering.schema import COLUMNS
from data_engineering.settings import Settings
from data_engineering.source import extract
from storage.places import readable
from tests.bigquery import service
from tests.bigquery.storage_api.sitecustomize import redirect

Row = dict[str, Any]

ROW: Row = {
    "age": 39,
    "workclass": "State-gov",
    "functional_weight": 77516,
    "education": "Bachelors",
    "education_num": 13,
    "marital_status": "Never-married",
    "occupation": "Adm-clerical",
    "relationship": "Not-in-family",
    "race": "White",
    "sex": "Male",
    "capital_gain": 2174,
    "capital_loss": 0,
    "hours_per_week": 40,
    "native_country": "United-States",
    "income_bracket": "<=50K",
}


def _row(**changes: object) -> Row:
    return {**ROW, **changes}


def _csv_text(rows: list[Row], *, columns: list[str] | None = None, header: bool = True, end: str = "\n") -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=end)
    names = columns or list(COLUMNS)
    writer.writerows([*([names] if header else []), *([row[name] for name in names] for row in rows)])
    return out.getvalue()


def _rows_of(path: Path) -> list[Row]:
    with readable(path) as file:
        return list(pq.read_table(file).to_pylist())


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DATA_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings on a lake of their own."""
    return Settings(lake=tmp_path / "lake")


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run the BigQuery emulator and let the client libraries of this process find it."""
    with service.running(tmp_path_factory.mktemp("bigquery")) as environment, pytest.MonkeyPatch.context() as patch:
        for name in ("BIGQUERY_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT", "GOOGLE_APPLICATION_CREDENTIALS"):
            patch.setenv(name, environment[name])
        patch.setattr(*redirect(transports.grpc, environment["BIGQUERY_STORAGE_EMULATOR"]))
        yield environment


@pytest.fixture
def dataset(emulator: dict[str, str]) -> str:
    """Return the address of a new dataset in the emulator."""
    name = f"test_{secrets.token_hex(6)}"
    bigquery.Client().create_dataset(name)
    return f"bigquery://{service.PROJECT}.{name}"


@pytest.fixture(params=["duckdb", "bigquery"])
def on_both(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Return settings on a warehouse of their own: in the lake, then in BigQuery."""
    warehouse = request.getfixturevalue("dataset") if request.param == "bigquery" else None
    return Settings(lake=tmp_path / "lake", warehouse=warehouse)


@pytest.fixture(params=["duckdb", "bigquery", "gs", pytest.param("s3", marks=pytest.mark.sweep)])
def on_each(request: pytest.FixtureRequest, tmp_path: Path, lake_on: Callable[[str], str]) -> Settings:
    """Return settings on a warehouse of their own: in a folder, in BigQuery, and in each object store.

    S3's emulator is a slow one.
    """
    if request.param in {"s3", "gs"}:
        return Settings(lake=lake_on(request.param))
    warehouse = request.getfixturevalue("dataset") if request.param == "bigquery" else None
    return Settings(lake=tmp_path / "lake", warehouse=warehouse)


@pytest.fixture(scope="session")
def row() -> Callable[..., Row]:
    """Return a maker of valid source rows with changes."""
    return _row


@pytest.fixture(scope="session")
def csv_text() -> Callable[..., str]:
    """Return a writer of rows as CSV text."""
    return _csv_text


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Path], list[Row]]:
    """Return a reader of a Parquet file's rows."""
    return _rows_of


@pytest.fixture
def source_file(tmp_path: Path) -> Callable[..., str]:
    """Return a writer of bytes or text as a source file, which returns its path."""

    def write(content: bytes | str, name: str = "census.csv") -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str]:
    """Return settings and the batch of the official table, extracted and cleaned; only read it."""
    settings = Settings(lake=tmp_path_factory.mktemp("official"))
    return settings, clean(settings, extract(settings, "official"))
