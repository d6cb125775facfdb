"""The online side in SQLite: Feast's own table, one row per entity and feature, a batch of entities per transaction."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import compress
from typing import Any, Self

from feast import FeatureView, RepoConfig
from feast.utils import to_naive_utc

from bulk_engine.encode import Rows
from bulk_engine.feast_internals import adapt_datetime_epoch, compute_table_id, extract_text_and_num, sqlite_path
from bulk_engine.offline import quoted

CACHE_KILOBYTES = 64_000
UPSERT = """
INSERT INTO {table} (entity_key, feature_name, value, value_text, event_ts, created_ts) VALUES {rows}
ON CONFLICT (entity_key, feature_name) DO UPDATE SET
    value = excluded.value, value_text = excluded.value_text,
    event_ts = excluded.event_ts, created_ts = excluded.created_ts
"""
NEWER = """
SELECT entity_key FROM batch b WHERE EXISTS (
    SELECT * FROM {table} o WHERE o.entity_key = b.entity_key AND o.event_ts > b.event_ts
)
"""
STATES = "CREATE TABLE IF NOT EXISTS bulk_engine_state (view TEXT PRIMARY KEY, state TEXT)"


class SqliteRows:
    """A view's rows in SQLite."""

    in_order = True  # a B-tree takes its keys fastest one after the other

    def __init__(self, config: RepoConfig, store: Any, view: FeatureView, wait_seconds: float) -> None:
        del store  # its connection waits for five seconds only, and is not ours to configure
        self._path, self._wait = sqlite_path(config), wait_seconds
        self._view = compute_table_id(config.project, view, config.registry.enable_online_feature_view_versioning)
        self._table = quoted(self._view)
        self._upsert = _upsert(self._table, [field.name for field in view.features])
        self.rejected = 0

    def __enter__(self) -> Self:
        self._connection = sqlite3.connect(self._path, timeout=self._wait, isolation_level=None)
        self._connection.execute(f"PRAGMA cache_size = -{CACHE_KILOBYTES}")
        self._connection.execute(
            "CREATE TEMP TABLE batch (entity_key BLOB PRIMARY KEY, event_ts INTEGER) WITHOUT ROWID"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def write(self, rows: Rows) -> None:
        """Write a batch in one transaction, but for entities that are online with a newer event timestamp.

        Of two in the same second the later writer wins: the seconds are all that Feast keeps.
        """
        event, created = rows.event.map(_seconds).rows(), rows.created.map(_seconds).rows()
        until = rows.event.map(_not_newer).rows()
        keys = rows.keys.to_pylist()
        columns = [
            part
            for column in rows.features.values()
            for part in (keys, column.map(_serialized).rows(), column.map(_text).rows(), event, created)
        ]
        with self._transaction():
            newer = self._newer_online(list(zip(keys, until, strict=True)))
            entities = compress(zip(*columns, strict=True), [key not in newer for key in keys])
            self._connection.executemany(self._upsert, entities)
        self.rejected += len(newer)

    def flush(self) -> None:
        """Return at once: each batch is committed when it is written."""

    def _newer_online(self, batch: list[tuple[bytes, int | None]]) -> set[bytes]:
        self._connection.execute("DELETE FROM batch")
        self._connection.executemany("INSERT INTO batch VALUES (?, ?)", batch)
        found = self._connection.execute(NEWER.format(table=self._table))
        return {key for (key,) in found}

    def listed(self) -> Iterator[bytes]:
        """Give each serialized entity key."""
        for (key,) in self._connection.execute(f"SELECT DISTINCT entity_key FROM {self._table}"):  # noqa: S608
            yield key

    def remove(self, entities: Iterable[bytes]) -> int:
        """Remove entities in one transaction; return how many were there."""
        with self._overwriting(), self._transaction():
            return self._removed(entities)

    def remove_chosen(self, chosen: Callable[[Iterator[bytes]], Iterable[bytes]]) -> int:
        """Remove the entities that `chosen` picks of those listed; nobody writes between listing and removal."""
        with self._overwriting(), self._transaction():
            return self._removed(list(chosen(self.listed())))

    def _removed(self, entities: Iterable[bytes]) -> int:
        """Remove entities, and the note with the first."""
        delete = f"DELETE FROM {self._table} WHERE entity_key = ?"  # noqa: S608
        removed = sum([self._connection.execute(delete, (key,)).rowcount > 0 for key in entities])
        if removed:
            self._keep(self._view, "")
        return removed

    def state(self) -> str:
        """Return the note that is kept beside the rows, "" if there is none."""
        return self._kept(self._view)

    def left_out(self) -> str:
        """Return the intervals that rows were left out of, "" if there are none."""
        return self._kept(f"{self._view}:left_out")

    def set_state(self, new: str, expected: str | None = None, left_out: str | None = None) -> bool:
        """Replace the note, "" for none, if it is the `expected` one or None is given; return whether it was.

        With it `left_out` is replaced, if given.
        """
        with self._transaction():
            if expected is not None and self.state() != expected:
                return False
            self._keep(self._view, new)
            if left_out is not None:
                self._keep(f"{self._view}:left_out", left_out)
            return True

    def _kept(self, name: str) -> str:
        if not self._connection.execute("SELECT * FROM sqlite_master WHERE name = 'bulk_engine_state'").fetchone():
            return ""
        found = self._connection.execute("SELECT state FROM bulk_engine_state WHERE view = ?", (name,)).fetchone()
        return str(found[0]) if found else ""

    def _keep(self, name: str, text: str) -> None:
        if text:
            self._connection.execute(STATES)
            self._connection.execute("REPLACE INTO bulk_engine_state VALUES (?, ?)", (name, text))
        elif self._kept(name):
            self._connection.execute("DELETE FROM bulk_engine_state WHERE view = ?", (name,))

    @contextmanager
    def _overwriting(self) -> Iterator[None]:
        """Let the file keep nothing of what is removed."""
        self._connection.execute("PRAGMA secure_delete = ON")
        yield
        self._connection.execute("PRAGMA secure_delete = OFF")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # a full disk has ended it
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else adapt_datetime_epoch(to_naive_utc(at))


def _not_newer(at: datetime) -> int:
    """Return the greatest seconds under which Feast may keep an instant that is not newer.

    Where clocks are put forward, it keeps instants of the hour before under the seconds of the hour after.
    """
    naive, hour = to_naive_utc(at), timedelta(hours=1)
    before = adapt_datetime_epoch(naive.replace(microsecond=0) - hour) + hour // timedelta(seconds=1)
    return int(max(adapt_datetime_epoch(naive), before))


def _upsert(table: str, features: list[str]) -> str:
    """Return the statement that writes an entity's row of each feature: one call of SQLite's in place of many."""
    rows = ", ".join(f"(?, {_literal(name)}, ?, ?, ?, ?)" for name in features)
    return UPSERT.format(table=table, rows=rows)


def _literal(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))


def _serialized(value: Any) -> bytes:
    return bytes(value.SerializeToString())


def _text(value: Any) -> str | None:
    text: str | None = extract_text_and_num(value, compute_num=False)[0]
    return text
