"""Reading through BigQuery beside the bare client, on its emulator.

The emulator's own work is in the seconds by the clock of both sides alike; the processor's are this process's alone.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from measure import console, interleaved, quiet, save
from rich.table import Table

ROOT = Path(__file__).parents[2]
ROUNDS = 5


def run() -> None:
    """Measure, in a process whose environment leads to an emulator of its own."""
    from tests.bigquery.demo import cloud
    from tests.conftest import _environment

    with TemporaryDirectory(prefix="bench-") as folder, cloud(Path(folder)) as settings:
        environment = _environment(Path(folder) / "var", **settings)
        apply = ["feast", "--chdir", "feature_repo", "apply"]
        subprocess.run(apply, cwd=ROOT, env=environment, check=True, capture_output=True)
        subprocess.run([sys.executable, "-W", "ignore", __file__], cwd=ROOT, env=environment, check=True)


def measure() -> None:
    """Measure, print and save."""
    import warnings

    warnings.simplefilter("ignore")
    with console.status("reading from BigQuery's emulator"), quiet():
        figures = {"read": read(), "training set": pulled()}
    table = Table("way", "rows", "wall, s", "CPU s of this process", "rows/s")
    for ways in figures.values():
        for way, found in ways.items():
            shown = f"{found['rows']:,}", f"{found['wall']:.2f}", f"{found['cpu']:.2f}"
            table.add_row(way, *shown, f"{found['rows'] / found['wall']:,.0f}")
        table.add_section()
    console.print(table)
    save("bigquery", figures)


def read() -> dict[str, dict[str, float]]:
    """Return what it takes to copy the census table into a Parquet file, and to have it in memory."""
    from data_engineering import bigquery_client, bigquery_table
    from data_engineering.settings import Settings

    settings = Settings()
    service = bigquery_client.connect(settings)
    table = bigquery_table.find(service, settings.source, None)
    ways = {
        "copied into a Parquet file": lambda: bigquery_table.copy(service, table, settings.lake / "read.parquet"),
        "the client's to_arrow": lambda: service.client.query(table.query).to_arrow(),
    }
    return raced(table.rows, ways)


def pulled() -> dict[str, dict[str, float]]:
    """Return what it takes to pull a training set, and to run Feast's job for it with the spine at hand."""
    from feast import FeatureStore

    from data_engineering import materialize, steps
    from data_engineering.settings import Settings
    from training import dataset, features
    from training.models import never_married

    settings, store = Settings(), FeatureStore()
    batch = steps.clean(settings, steps.extract(settings, "bench", None))
    materialize.apply_mark(store, settings, steps.publish(settings, steps.validate(settings, batch), force=False) or "")
    persons = features.persons(store, features.snapshot(store))
    service = store.get_feature_service(never_married.training_service)
    ways = {
        "a training set": lambda: dataset.pull(never_married, store),
        "Feast's job": lambda: store.get_historical_features(persons.copy(), service).to_arrow(),
    }
    return raced(len(persons), ways)


def raced(rows: int, ways: dict[str, Callable[[], Any]]) -> dict[str, dict[str, float]]:
    """Return the medians of ways that take turns."""
    _, seconds = interleaved(ways, ROUNDS)
    return {name: {"rows": rows, **asdict(taken)} for name, taken in seconds.items()}


if __name__ == "__main__":
    os.chdir(ROOT)
    measure()
