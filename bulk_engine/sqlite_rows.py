"""The online side in SQLite: Feast's own table, one row per entity and feature, a batch of entities per transaction."""

import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import compress
from typing import Any, Self

from feast import FeatureView, RepoConfig

from bulk_engine.changes import SupersededError
from bulk_engine.encode import Rows
from bulk_engine.feast_internals import (
    adapt_datetime_epoch,
    compute_table_id,
    extract_text_and_num,
    sqlite_path,
    to_naive_utc,
)
from bulk_engine.offline import quoted

CACHE_KILOBYTES = 64_000
VALUES_PER_TRANSACTION = 120_000
PAGE_ROWS = 10_000
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
# In the primary key's order, so that a page reads no more than its rows.
PAGE = "SELECT entity_key, max(event_ts) FROM {table} WHERE entity_key > ? GROUP BY entity_key LIMIT ?"
REMOVE = """
DELETE FROM {table} WHERE entity_key = ?1
AND (?2 IS NULL OR (SELECT max(event_ts) FROM {table} WHERE entity_key = ?1) = ?2)
"""
BATCH = "CREATE TEMP TABLE batch (entity_key BLOB PRIMARY KEY, event_ts INTEGER) WITHOUT ROWID"
STATES = "CREATE TABLE IF NOT EXISTS bulk_engine_state (view TEXT PRIMARY KEY, state TEXT)"
# It never fires. SQLite drops it with the table, as `feast apply` does, and with it goes what is known of the rows.
LIFE = "CREATE TRIGGER {name} AFTER DELETE ON {table} WHEN false BEGIN SELECT 1; END"


class SqliteRows:
    """A view's rows in SQLite."""

    instants = "BIGINT"
    in_order = True  # a B-tree takes its keys fastest one after the other

    def __init__(self, config: RepoConfig, store: Any, view: FeatureView, wait_seconds: float) -> None:
        del store  # its connection waits for five seconds only, and is not ours to configure
        self._path, self._wait = sqlite_path(config), wait_seconds
        self._view = compute_table_id(config.project, view, config.registry.enable_online_feature_view_versioning)
        self._table = quoted(self._view)
        self._life = f"bulk_engine_life_of_{self._view}"
        self._left_out, self._running = f"{self._view}:left_out", f"{self._view}:running"
        self._upsert = _upsert(self._table, [field.name for field in view.features])
        # While the pages of a transaction fit into the cache, readers go on until its end.
        self.most_rows = max(1, VALUES_PER_TRANSACTION // max(1, len(view.features)))
        self.rejected = 0

    def __enter__(self) -> Self:
        self._connection = sqlite3.connect(self._path, timeout=self._wait, isolation_level=None)
        self._connection.execute(f"PRAGMA cache_size = -{CACHE_KILOBYTES}")
        self._connection.execute(BATCH)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def write(self, rows: Rows) -> None:
        """Write a batch in one transaction, but for entities that are online with a newer event timestamp.

        Of two in the same second the later writer wins: the seconds are all that Feast keeps.

        Raises:
            SupersededError: Another run has begun since this one; nothing of the batch is written.
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
            if self._name not in self._at_work():
                raise SupersededError
            newer = self._newer_online(zip(keys, until, strict=True))
            entities = compress(zip(*columns, strict=True), [key not in newer for key in keys])
            self._connection.executemany(self._upsert, entities)
        self.rejected += len(newer)

    def flush(self) -> None:
        """Return at once: each batch is committed when it is written."""

    def _newer_online(self, batch: Iterable[tuple[bytes, int]]) -> set[bytes]:
        self._connection.execute("DELETE FROM batch")
        self._connection.executemany("INSERT INTO batch VALUES (?, ?)", batch)
        found = self._connection.execute(NEWER.format(table=self._table))
        return {key for (key,) in found}

    def listed(self) -> Iterator[tuple[bytes, int]]:
        """Give each serialized entity key, and what tells its rows from later ones; no lock is held meanwhile."""
        found = [(b"", 0)]
        page = PAGE.format(table=self._table)
        while found := self._connection.execute(page, (found[-1][0], PAGE_ROWS)).fetchall():
            yield from found

    def remove(self, entities: Iterable[tuple[bytes, int | None]]) -> int:
        """Remove entities in one transaction, as listed or, if None is given, in any state; return how many were."""
        remove, removed = REMOVE.format(table=self._table), 0
        with self._overwriting(), self._transaction():
            for entity in entities:
                removed += self._connection.execute(remove, entity).rowcount > 0
            if removed:
                self._void()
        return removed

    def note(self) -> str:
        """Return the note on what was materialized last, "" if there is none."""
        return self._kept(self._view)

    def left_out(self) -> str:
        """Return the intervals that rows were left out of, "" if there are none."""
        return self._kept(self._left_out)

    def begin(self, note: str, left_out: str, *, again: bool) -> bool:
        """Enter a run and take the note away; return whether it was `note`, and no other run is at work.

        If so, `left_out` is kept from now on, unless it is "". Other runs have to begin again, unless this one does.

        Raises:
            sqlite3.OperationalError: The view has no table, as before `feast apply`.
        """
        self._name, self.rejected = str(uuid.uuid4()), 0
        with self._transaction():
            if not self._alive():
                self._begin_life()
            others = self._at_work()
            known = self.note() == note and not others
            self._keep(self._running, json.dumps([*(others if again else ()), self._name]))
            self._keep(self._view, "")
            if known and left_out:
                self._keep(self._left_out, left_out)
        return known

    def complete(self, note: str) -> None:
        """End the run, and leave the note, "" for none, if no other is at work."""
        with self._transaction():
            running = self._at_work()
            left = [name for name in running if name != self._name]
            self._keep(self._running, json.dumps(left) if left else "")
            if running == [self._name]:
                self._keep(self._view, note)

    def forget(self, *, gone: bool = False) -> None:
        """Take the note away, also from runs at work; and what is known of rows left out, if the rows are `gone`."""
        with self._transaction():
            self._void()
            if gone:
                self._keep(self._left_out, "")

    def _void(self) -> None:
        self._keep(self._view, "")
        if running := self._at_work():
            self._keep(self._running, json.dumps([*running, str(uuid.uuid4())]))

    def _at_work(self) -> list[str]:
        found: list[str] = json.loads(self._kept(self._running) or "[]")
        return found

    def _alive(self) -> bool:
        """Return whether the view's table is the one that what is kept was kept for."""
        names = ("bulk_engine_state", self._life)
        query = "SELECT count(*) FROM sqlite_master WHERE name IN (?, ?)"
        return bool(self._connection.execute(query, names).fetchone() == (2,))

    def _begin_life(self) -> None:
        self._connection.execute(STATES)
        names = (self._view, self._left_out, self._running)
        self._connection.execute("DELETE FROM bulk_engine_state WHERE view IN (?, ?, ?)", names)
        self._connection.execute(LIFE.format(name=quoted(self._life), table=self._table))

    def _kept(self, name: str) -> str:
        if not self._alive():
            return ""
        found = self._connection.execute("SELECT state FROM bulk_engine_state WHERE view = ?", (name,)).fetchone()
        return str(found[0]) if found else ""

    def _keep(self, name: str, text: str) -> None:
        if text:
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
