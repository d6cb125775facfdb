"""The online side in Redis: one hash per entity, written, guarded and removed by scripts that the server runs whole."""

import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureView, RepoConfig
from google.protobuf.timestamp_pb2 import Timestamp

from bulk_engine.changes import SupersededError
from bulk_engine.encode import BYTES, KEY_VERSION, NOTHING, Rows, headed
from bulk_engine.feast_internals import (
    compute_versioned_name,
    deserialize_entity_key,
    redis_client,
    redis_field,
    serialize_entity_key_prefix,
)
from bulk_engine.redis_scripts import BEGIN, COMPLETE, FORGET, REMOVE, SUPERSEDED, WRITE

# The server answers nobody while a script runs: 0.7 milliseconds at most, whatever the number of features.
ROWS_PER_CALL, VALUES_PER_CALL = 100, 1200
KEYS_PER_CALL = 1000


class RedisRows:
    """A view's rows in Redis."""

    instants = "BLOB"
    in_order = False
    most_rows = 2**31  # calls are as large as they may be, whatever the batch

    def __init__(self, config: RepoConfig, store: Any, view: FeatureView, wait_seconds: float) -> None:
        del wait_seconds  # nothing locks
        self._client = redis_client(config, store)
        self._view = compute_versioned_name(view, config.registry.enable_online_feature_view_versioning)
        self._project = config.project.encode()
        self._prefix = serialize_entity_key_prefix(view.join_keys)
        self._instant = f"_ts:{self._view}".encode()
        self._fields = {field.name: redis_field(f"{self._view}:{field.name}") for field in view.features}
        self._ttl = config.online_store.key_ttl_seconds or 0
        self._note = f"bulk_engine:{config.project}:{self._view}"
        self._left_out, self._running = f"{self._note}:left_out", f"{self._note}:running"
        self.rejected = 0

    # One connection for all batches: if the server restarts, what it lost is not passed over in silence.
    def __enter__(self) -> Self:
        self._write = self._client.script_load(WRITE).encode()
        self._connection = self._client.connection_pool.get_connection()
        self._sender = ThreadPoolExecutor(1)  # the next batch is encoded while the server works on this one
        self._sent: Future[None] | None = None
        return self

    def __exit__(self, *_: object) -> None:
        self._sender.shutdown()
        self._connection.disconnect()
        self._client.connection_pool.release(self._connection)

    def write(self, rows: Rows) -> None:
        """Write a batch, but for entities that are online with a newer event timestamp.

        Raises:
            SupersededError: Another run has begun since this one; of this and the last batch rows may be written.
        """
        calls, answers = self._calls(rows)
        self.flush()
        self._sent = self._sender.submit(self._send, calls, answers)

    def flush(self) -> None:
        """Wait until everything written is in the store."""
        if self._sent:
            self._sent.result()

    def _send(self, calls: bytes, answers: int) -> None:
        self._connection.send_packed_command([calls])
        rejected = [self._connection.read_response() for _ in range(answers)]
        if SUPERSEDED in rejected:
            raise SupersededError
        self.rejected += sum(rejected)

    def _calls(self, rows: Rows) -> tuple[bytes, int]:
        """Return script calls in Redis' protocol, which say each distinct value once, and how many they are."""
        columns = [rows.event.map(_timestamp), *(rows.features[name].map(_serialized) for name in self._fields)]
        values = np.array([_bulk(value) for column in columns for value in column.values], dtype=object)
        firsts = np.cumsum([0, *(len(column.values) for column in columns[:-1])])
        table = np.stack([column.codes + first for column, first in zip(columns, firsts, strict=True)], axis=1)
        keys = pc.binary_join_element_wise(rows.keys, pa.scalar(self._project, BYTES), NOTHING)
        keys = pc.binary_join_element_wise(headed(keys, lambda n: b"$%d\r\n" % n), pa.scalar(b"\r\n", BYTES), NOTHING)
        options = [self._name.encode(), b"%d" % self._ttl, b"%d" % len(columns), self._instant, *self._fields.values()]
        running = _bulk(self._running.encode())
        calls: list[bytes | memoryview] = []
        most = max(1, min(ROWS_PER_CALL, VALUES_PER_CALL // len(columns)))
        for start in range(0, len(keys), most):
            distinct, places = np.unique(table[start : start + most], return_inverse=True)
            count = min(most, len(keys) - start)
            words = 4 + count + len(options) + len(distinct) + 1
            calls += [
                b"*%d\r\n$7\r\nEVALSHA\r\n%b%b" % (words, _bulk(self._write), _bulk(b"%d" % (count + 1))),
                _joined(keys, start, count),
                running,
                *map(_bulk, options),
                *values[distinct],
                _bulk(places.astype(">u2").tobytes()),
            ]
        return b"".join(calls), -(-len(keys) // most)

    def listed(self) -> Iterator[tuple[bytes, bytes]]:
        """Give each serialized entity key, and what tells its row from later ones."""
        pattern = b"".join(b"\\" + bytes([c]) if c in b"*?[]\\" else bytes([c]) for c in self._prefix)
        found = self._client.scan_iter(pattern + b"*" + self._project, count=KEYS_PER_CALL)
        while keys := list(islice(found, KEYS_PER_CALL)):
            pipe = self._client.pipeline(transaction=False)
            for key in keys:
                pipe.hget(key, self._instant)
            for key, instant in zip(keys, pipe.execute(), strict=True):
                entity = key.removesuffix(self._project)
                if instant is not None and _is_entity(entity):
                    yield entity, instant

    def remove(self, entities: Iterable[tuple[bytes, bytes | None]]) -> int:
        """Remove entities, each in one step, as listed or, if None is given, in any state; return how many were."""
        script = self._client.register_script(REMOVE)
        names = [b"_ts:", self._instant, *self._fields.values()]
        pending, removed = iter(entities), 0
        while chunk := list(islice(pending, KEYS_PER_CALL)):
            keys = [*(entity + self._project for entity, _ in chunk), self._note, self._running]
            instants = (instant or b"" for _, instant in chunk)
            removed += script(keys=keys, args=[len(names), *names, *instants, str(uuid.uuid4())])
        return removed

    def note(self) -> str:
        """Return the note on what was materialized last, "" if there is none."""
        return (self._client.get(self._note) or b"").decode()

    def left_out(self) -> str:
        """Return the intervals that rows were left out of, "" if there are none."""
        return (self._client.get(self._left_out) or b"").decode()

    def begin(self, note: str, left_out: str, *, again: bool) -> bool:
        """Enter a run and take the note away; return whether it was `note`, and no other run is at work.

        If so, `left_out` is kept from now on, unless it is "". Other runs have to begin again, unless this one does.
        """
        self._name, self.rejected, self._sent = str(uuid.uuid4()), 0, None
        return bool(self._run(BEGIN, [self._name, note, left_out, "again" if again else ""]))

    def complete(self, note: str) -> None:
        """End the run, and leave the note, "" for none, if no other is at work."""
        self._run(COMPLETE, [self._name, note])

    def forget(self, *, gone: bool = False) -> None:
        """Take the note away, also from runs at work; and what is known of rows left out, if the rows are `gone`."""
        self._run(FORGET, [str(uuid.uuid4()), "gone" if gone else ""])

    def _run(self, script: str, arguments: list[Any]) -> Any:
        keys = [self._note, self._left_out, self._running]
        return self._client.register_script(script)(keys=keys, args=arguments)


def _timestamp(at: datetime) -> bytes:
    stamp = Timestamp()
    stamp.FromDatetime(at.astimezone(UTC))
    return bytes(stamp.SerializeToString())


def _serialized(value: Any) -> bytes:
    return bytes(value.SerializeToString())


def _bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def _joined(column: pa.Array, start: int, count: int) -> memoryview:
    """Return neighbouring values as the bytes that Arrow keeps them in."""
    _, offsets, data = column.buffers()
    at = np.frombuffer(offsets, np.int64)
    return memoryview(data)[int(at[start]) : int(at[start + count])]


def _is_entity(key: bytes) -> bool:
    """Return whether this is an entity key: another project's name may end like ours."""
    try:
        deserialize_entity_key(key, KEY_VERSION)
    except ValueError:
        return False
    return True
