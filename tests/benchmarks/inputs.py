"""Makes a contest's inputs: a source file, and a feature store with its snapshots; kept for the next time."""

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
from contest import ROOT, Inputs, child
from feast import FeatureStore
from generated import write

from data_engineering import clean as cleaning, materialize, publish as publishing, source as sources
from data_engineering.lake import INSTANT, instant_of, snapshot_path
from data_engineering.settings import Settings

READY = "ready"


def prepared(below: Path, copies: int, snapshots: int) -> Inputs:
    """Return inputs of a size, made if they are not there."""
    inputs = Inputs(copies, snapshots, below / f"{copies}x{snapshots}")
    if not (inputs.folder / READY).exists():
        shutil.rmtree(inputs.folder, ignore_errors=True)
        inputs.folder.mkdir(parents=True)
        child([__file__], inputs)
        (inputs.folder / READY).touch()
    return inputs


def make(inputs: Inputs) -> None:
    """Write the source and publish it; older snapshots have the same persons with other ages."""
    write(inputs.source, inputs.copies)
    settings = Settings()
    subprocess.run(["feast", "-c", str(ROOT / "feature_repo"), "apply"], check=True, stdout=subprocess.DEVNULL)
    batch = cleaning.clean(settings, sources.extract(settings, "bench", str(inputs.source)))
    newest = publishing.publish(settings, batch, None, force=True)
    assert newest
    for number in range(1, inputs.snapshots):
        _older(settings.lake, newest, number)
    materialize.apply_mark(FeatureStore(), settings, newest)


def _older(lake: Path, newest: str, number: int) -> None:
    at = instant_of(newest).replace(year=instant_of(newest).year - 1, microsecond=number)
    snapshot = f"{at.strftime(INSTANT)}-{number:016x}"
    changed = (
        f"(age + hash(person_id, {number}) % 3)::BIGINT AS age, '{snapshot}' AS snapshot_id, "
        f"'{at.isoformat()}'::TIMESTAMPTZ AS event_timestamp, '{at.isoformat()}'::TIMESTAMPTZ AS created_timestamp"
    )
    with duckdb.connect(config={"memory_limit": "2GB", "temp_directory": str(lake)}) as connection:
        rows = f"SELECT * REPLACE ({changed}) FROM '{snapshot_path(lake, newest)}'"
        connection.execute(f"COPY ({rows}) TO '{snapshot_path(lake, snapshot)}' (FORMAT parquet)")


if __name__ == "__main__":
    make(Inputs(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
