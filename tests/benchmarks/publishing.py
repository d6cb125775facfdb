"""Extract, and clean and publish, beside the same in SQL written by hand."""

import secrets
import shutil
from pathlib import Path

import duckdb
import ibis
import pyarrow.parquet as pq
from contest import Inputs, Part, Ready

from data_engineering import clean as cleaning, publish as publishing, source as sources
from data_engineering.lake import batches, snapshot_path, staged
from data_engineering.schema import COLUMNS, FEATURES, LABELS, NUMBERS, TEXTS
from data_engineering.settings import Settings

OWN = ("snapshot_id", "event_timestamp", "created_timestamp")
UNKNOWN = ("workclass", "occupation", "native_country")
US = "chr(31)"


def content(path: Path) -> object:
    """Return the number of rows and a digest that depends on all values but a run's own."""
    rows = f"SELECT COLUMNS(lambda c: c NOT IN {OWN}) FROM '{path}'"
    return duckdb.execute(f"SELECT count(*), sum(hash(r)::HUGEINT) FROM ({rows}) r").fetchone()


def extract_ours(inputs: Inputs) -> Ready:
    """Read the source into the lake."""
    settings = Settings()

    def digest(batch: str) -> object:
        found = content(staged(settings.lake, batch, "raw.parquet"))
        shutil.rmtree(settings.lake / "staging" / batch)
        return found

    return lambda: sources.extract(settings, secrets.token_hex(8), str(inputs.source)), digest


def extract_bare(inputs: Inputs) -> Ready:
    """Copy the source to Parquet, with types that are known."""
    path, types = inputs.folder / "raw.parquet", {n: "BIGINT" if n in NUMBERS else "VARCHAR" for n in COLUMNS}
    sql = f"COPY (FROM read_csv('{inputs.source}', columns = {types}, header = true)) TO '{path}' (FORMAT parquet)"
    return lambda: duckdb.execute(sql), lambda _: content(path)


def publish_ours(_: Inputs) -> Ready:
    """Clean the batch and publish it."""
    settings = Settings()
    batch = batches(settings.lake)[0]
    few = pq.ParquetFile(raw(settings)).schema_arrow.empty_table()
    cleaning.cleaned(ibis.memtable(few)).to_pyarrow()  # warm
    return (
        lambda: publishing.publish(settings, cleaning.clean(settings, batch), None, force=True),
        lambda snapshot: (snapshot.partition("-")[2], content(snapshot_path(settings.lake, snapshot))),
    )


def publish_bare(inputs: Inputs) -> Ready:
    """Do the same in SQL by hand, with the default memory limit: 80 % of the machine's."""
    clean, snapshot = inputs.folder / "clean.parquet", inputs.folder / "snapshot.parquet"
    connection = duckdb.connect()

    def call() -> str:
        for statement in statements(raw(Settings()), clean, snapshot):
            found = connection.execute(statement).fetchone()
        return str(found[0])[:16]

    return call, lambda digest: (digest, content(snapshot))


def raw(settings: Settings) -> Path:
    """Return the raw table that both clean."""
    return staged(settings.lake, batches(settings.lake)[0], "raw.parquet")


def statements(raw: Path, clean: Path, snapshot: Path) -> list[str]:
    """Return the SQL: counts, clean table, snapshot, content digest."""
    strip = ", ".join(f"nullif(trim({n}, E' \\t\\n\\r\\x0b\\x0c'), '') AS {n}" for n in TEXTS)
    whole = " AND ".join(f"{n} IS NOT NULL" for n in COLUMNS)
    text = f" || {US} || ".join(f"{n}::VARCHAR" for n in COLUMNS if n not in LABELS)
    number = f"row_number() OVER (PARTITION BY digest ORDER BY {', '.join(LABELS)})"
    unknown = ", ".join(f"CASE {n} WHEN '?' THEN 'Unknown' ELSE {n} END AS {n}" for n in UNKNOWN)
    ends = " ".join(f"WHEN age <= {end} THEN {i}" for i, end in enumerate(publishing.AGE_BINS, 1))
    row = f" || {US} || ".join(f"{n}::VARCHAR" for n in ("person_id", *FEATURES, "age_bin"))
    return [
        f"CREATE VIEW stripped AS SELECT * REPLACE ({strip}) FROM '{raw}'",
        f"SELECT count(*), count(*) FILTER ({whole}) FROM stripped",
        f"""COPY (SELECT digest || '-' || {number} AS person_id, {", ".join(FEATURES)} FROM
            (SELECT * REPLACE ({unknown}), sha256({text}) AS digest FROM
                (SELECT DISTINCT * FROM stripped WHERE {whole}))
            ORDER BY person_id) TO '{clean}' (FORMAT parquet)""",
        f"CREATE VIEW features AS SELECT *, (CASE {ends} ELSE 5 END)::BIGINT AS age_bin FROM '{clean}'",
        f"""COPY (SELECT *, 'snapshot' AS snapshot_id, now() AS event_timestamp, now() AS created_timestamp
            FROM features ORDER BY person_id) TO '{snapshot}' (FORMAT parquet)""",
        f"""SELECT sha256(string_agg(digest, '' ORDER BY part)) FROM (
            SELECT row[:3] AS part, sha256(string_agg(row, '' ORDER BY row)) AS digest
            FROM (SELECT sha256({row}) AS row FROM features) GROUP BY part)""",
    ]


EXTRACTING = Part(
    "extracting", "extract: CSV to raw snapshot", {"ours": extract_ours, "bare": extract_bare}, ratio=3, memory=2
)
PUBLISHING = Part(
    "publishing",
    "clean and publish",
    {"ours": publish_ours, "bare": publish_bare},
    ratio=1.3,
    memory=2,
    most={"bare": 100},
)
