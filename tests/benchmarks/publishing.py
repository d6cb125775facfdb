"""Clean and publish beside the same SQL in bare DuckDB."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import duckdb
import ibis
import pyarrow.parquet as pq
from measure import console, interleaved, save, verdict
from rich.table import Table

from data_engineering import clean as cleaning, publish as publishing
from data_engineering.lake import snapshot_path, staged
from data_engineering.settings import Settings

ROUNDS = 9
SNAPSHOT = "20260101T000000.000000Z-0000000000000000"


def run(settings: Settings, batch: str) -> None:
    """Measure, print and save; `batch` is one whose raw table is in the lake."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        statements = same_sql(staged(settings.lake, batch, "raw.parquet"), Path(folder))
        calls = {"bare": lambda: bare(statements), "ours": lambda: ours(settings, batch)}
        interleaved(calls, 1)  # warm
        results, seconds = interleaved(calls, ROUNDS)
        check(settings, batch, results, Path(folder))
    table = Table(f"(c) clean and publish, median of {ROUNDS}", "wall s", "CPU s")
    for name, text in {"bare": "the same SQL in bare DuckDB", "ours": "ours"}.items():
        table.add_row(text, f"{seconds[name].wall:.3f}", f"{seconds[name].cpu:.3f}")
    console.print(table)
    figures = {part: getattr(seconds["ours"], part) / getattr(seconds["bare"], part) for part in ("wall", "cpu")}
    for part, found in figures.items():
        console.print(f"  ours to bare   {part} {verdict(found, 1.5)}")
    save("publishing", figures | {name: asdict(taken) for name, taken in seconds.items()})


def ours(settings: Settings, batch: str) -> str:
    """Return the snapshot that cleaning and publishing commit."""
    snapshot_id = publishing.publish(settings, cleaning.clean(settings, batch), None, force=True)
    assert snapshot_id
    return snapshot_id


def same_sql(raw: Path, folder: Path) -> list[str]:
    """Return what our expressions compile to, with the files that they read and write."""
    connection = ibis.duckdb.connect()
    source = connection.read_parquet(raw, table_name="raw")
    whole = cleaning.complete(cleaning.stripped(source))
    table = cleaning.cleaned(source).order_by("person_id")
    clean, snapshot = folder / "clean.parquet", folder / "snapshot.parquet"
    connection.to_parquet(table, clean)
    features = publishing.features(connection.read_parquet(clean, table_name="clean"))
    return [
        f"CREATE VIEW raw AS FROM read_parquet('{raw}')",
        *(f"SELECT count(*) FROM ({ibis.to_sql(t)})" for t in (source, whole, cleaning.distinct(whole))),
        f"COPY ({ibis.to_sql(table)}) TO '{clean}' (FORMAT PARQUET)",
        f"CREATE VIEW clean AS FROM read_parquet('{clean}')",
        f"COPY ({ibis.to_sql(publishing.stamped(features, SNAPSHOT))}) TO '{snapshot}' (FORMAT PARQUET)",
        str(ibis.to_sql(publishing.hashed(features))),
    ]


def bare(statements: list[str]) -> str:
    """Return the content digest, the last statement's answer."""
    with duckdb.connect() as connection:
        for statement in statements:
            found = connection.execute(statement).fetchone()
    assert found
    return str(found[0])


def check(settings: Settings, batch: str, results: dict[str, str], folder: Path) -> None:
    """Hold both ways' files and digests against each other."""
    assert results["bare"].startswith(results["ours"].partition("-")[2])
    own = ["snapshot_id", "created_timestamp", "event_timestamp"]
    ours_, bare_ = snapshot_path(settings.lake, results["ours"]), folder / "snapshot.parquet"
    assert pq.read_table(ours_).drop(own).equals(pq.read_table(bare_).drop(own))
    clean = staged(settings.lake, batch, "clean.parquet")
    assert pq.read_table(clean).equals(pq.read_table(folder / "clean.parquet"))
