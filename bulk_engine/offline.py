"""The offline side: DuckDB reads a view's Parquet files and keeps the newest row of each entity."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import duckdb
import fsspec
import pyarrow as pa
from feast import FeatureView

from bulk_engine.duck import connected

DRIVERS = {"s3": "s3fs", "gs": "gcsfs"}
INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
INSTANTS = {"TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"}
# The types of Parquet columns, as DuckDB says them, from which a Feast type's bytes are known to equal stock's.
TYPES = {
    "BOOL": {"BOOLEAN"},
    "BYTES": {"BLOB"},
    "DECIMAL": {"VARCHAR"},
    "DOUBLE": {"DOUBLE", "BIGINT"},
    "FLOAT": INTEGERS | {"FLOAT", "DOUBLE"},
    "IMAGE_BYTES": {"BLOB"},
    "INT32": INTEGERS,
    "INT64": INTEGERS,
    "JSON": {"VARCHAR"},
    "PDF_BYTES": {"BLOB"},
    "STRING": {"VARCHAR"},
    "TIME_UUID": {"VARCHAR"},
    "UNIX_TIMESTAMP": INSTANTS,
    "UUID": {"VARCHAR"},
    "BOOL_LIST": {"BOOLEAN[]"},
    "BYTES_LIST": {"BLOB[]"},
    "DOUBLE_LIST": {"DOUBLE[]"},
    "FLOAT_LIST": {"FLOAT[]", "DOUBLE[]"},
    "INT32_LIST": {"INTEGER[]"},
    "INT64_LIST": {"BIGINT[]"},
    "STRING_LIST": {"VARCHAR[]"},
    "UNIX_TIMESTAMP_LIST": {f"{kind}[]" for kind in INSTANTS},
}


@dataclass(frozen=True, order=True)
class Interval:
    """A closed interval of event time, as Feast materializes it."""

    start: datetime
    end: datetime


class Source:
    """The rows behind one feature view."""

    def __init__(self, view: FeatureView, connection: duckdb.DuckDBPyConnection) -> None:
        self.view = view
        self.connection = connection
        source = view.batch_source
        mapped = {new: old for old, new in (source.field_mapping or {}).items()}
        self.fields = [*view.entity_columns, *view.features]
        self.keys: list[str] = list(view.join_keys)
        self.features = [field.name for field in view.features]
        self.event, self.created = source.timestamp_field, source.created_timestamp_column or None
        self.columns = list(dict.fromkeys([*self.keys, *self.features, *self.instants]))
        self._read = f"read_parquet([{text(source.path)}])"
        self._names = {name: mapped.get(name, name) for name in self.columns}
        self.types: dict[str, str] = {
            name: kind for name, kind, *_ in connection.sql(f"DESCRIBE FROM {self._read}").fetchall()
        }

    @property
    def instants(self) -> list[str]:
        """Return the timestamp columns: the event's, and that of the row's creation if the source has one."""
        return [self.event, self.created] if self.created else [self.event]

    def refusal(self) -> str | None:
        """Return why these columns are not for this package, or None."""
        if missing := [old for old in self._names.values() if old not in self.types]:
            return f"its files have no column {missing[0]}"
        for name in self.instants:
            if self.kind(name) not in INSTANTS:
                return f"its column {name} is {self.kind(name)} and no timestamp"
        for field in self.fields:
            if self.kind(field.name) not in TYPES.get(field.dtype.to_value_type().name, ()):
                return f"its column {field.name} is {self.kind(field.name)} and shall be {field.dtype}"
        return None

    def kind(self, name: str) -> str:
        """Return the type of one of the view's columns, as DuckDB says it."""
        return self.types[self._names[name]]

    def count(self, interval: Interval) -> int:
        """Return the number of rows in an interval, those that a newer one of the same entity replaces included."""
        return int(self.asked(f"SELECT count(*) FROM {self._read} WHERE {self._within(interval)}")[0])  # noqa: S608

    def asked(self, query: str) -> tuple[Any, ...]:
        """Return the one row of a query."""
        ((*found,),) = self.connection.execute(query).fetchall()
        return tuple(found)

    def newest(self, interval: Interval, others: Collection[Interval] = ()) -> str:
        """Return the query for the newest row of each entity in an interval: by event time, then by creation.

        Without the entities that have a newer one in `others`.
        """
        order = ", ".join(f"{quoted(self._names[name])} DESC NULLS LAST" for name in self.instants)
        return (
            f"{self._selected(interval, *others)} QUALIFY {self._within(interval)} "
            f"AND row_number() OVER (PARTITION BY {self._key} ORDER BY {order}) = 1"
        )

    def rows(self, query: str, interval: Interval, size: int, *, in_order: bool) -> Iterator[pa.RecordBatch]:
        """Stream the rows of a query for an interval, at most `size` at a time.

        Where order is no matter, the search for the newest rows is left out if no entity has two: it takes memory for
        all rows and gives the first one last. Should files come meanwhile, an entity's newest row comes last.
        """
        if not in_order and query == self.newest(interval) and (once := self._rows_of_each_once(interval)):
            read = 0
            for batch in self.batches(self._selected(interval), size, in_order=False):
                read += batch.num_rows
                yield batch
            if read == once:
                return
            # Files came meanwhile, and with them perhaps a second row of an entity: the newest one is written again.
        yield from self.batches(query, size, in_order=in_order)

    def _rows_of_each_once(self, interval: Interval) -> int:
        """Return the number of rows in an interval, 0 if an entity has two, or if two keys have the same hash."""
        counts = f"count(*), count(DISTINCT hash({self._key}))"
        rows, entities = self.asked(f"SELECT {counts} FROM {self._read} WHERE {self._within(interval)}")  # noqa: S608
        return int(rows) if rows == entities else 0

    @property
    def _key(self) -> str:
        return ", ".join(quoted(self._names[name]) for name in self.keys)

    def _selected(self, *intervals: Interval) -> str:
        columns = ", ".join(f"{quoted(self._names[name])} AS {quoted(name)}" for name in self.columns)
        return f"SELECT {columns} FROM {self._read} WHERE {' OR '.join(map(self._within, intervals))}"  # noqa: S608

    def batches(self, query: str, rows: int, *, in_order: bool) -> Iterator[pa.RecordBatch]:
        """Stream a query's rows, at most `rows` at a time, in the order of their keys if asked for."""
        if in_order:
            query = f"SELECT * FROM ({query}) ORDER BY {', '.join(map(quoted, self.keys))}"  # noqa: S608
        # Not `execute(query)`: that holds the whole result in memory before the first batch.
        for batch in self.connection.sql(query).to_arrow_reader(rows):
            if batch.num_rows:
                yield batch

    def _within(self, interval: Interval) -> str:
        column, kind = quoted(self._names[self.event]), self.kind(self.event)
        if kind not in {"TIMESTAMP", "TIMESTAMP WITH TIME ZONE"}:
            column, kind = f"{column}::TIMESTAMP", "TIMESTAMP"
        # Compared in the column's own type, so that DuckDB skips files and row groups by their statistics.
        start, end = (f"{kind} '{at.astimezone(UTC).isoformat(' ')}'" for at in (interval.start, interval.end))
        return f"{column} BETWEEN {start} AND {end}"


@contextmanager
def opened(view: FeatureView, memory_limit: str) -> Iterator[Source]:
    """Give the source of a view; DuckDB spills to a temporary folder what does not fit into `memory_limit`."""
    with connected(memory_limit) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET preserve_insertion_order = false")
        if (scheme := view.batch_source.path.partition("://")[0]) in DRIVERS:
            connection.register_filesystem(filesystem(scheme))
        yield Source(view, connection)


def filesystem(scheme: str) -> Any:
    """Return the object store of a scheme as DuckDB reads it: nothing ahead, and no listing of before."""
    size = {"s3": "default_block_size", "gs": "block_size"}[scheme]
    found = fsspec.filesystem(scheme, use_listings_cache=False, **{size: 5 * 2**20})
    if scheme == "gs":  # it else reads ahead in the background, and DuckDB closes no file
        found.__dict__.setdefault("open", partial(found.open, cache_type="readahead"))
    return found


def quoted(name: str) -> str:
    """Return a column's name as SQL wants it."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """Return a text as SQL wants it."""
    return "'" + value.replace("'", "''") + "'"
