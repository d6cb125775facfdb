"""The one place that opens DuckDB: within a limit of memory, and spilling to disk what does not fit."""

from collections.abc import Iterator
from contextlib import contextmanager

from ibis.backends.duckdb import Backend

from data_engineering.settings import Settings
from storage import engine


@contextmanager
def connected(settings: Settings) -> Iterator[Backend]:
    """Give a DuckDB connection that keeps to `settings.memory_limit` and spills to a folder that ends with it."""
    with engine.connected(settings.lake, settings.memory_limit) as connection:
        yield connection


@contextmanager
def asked_by_feast(settings: Settings) -> Iterator[None]:
    """Have Feast's DuckDB store read through such a connection."""
    with engine.asked_by_feast(settings.lake, settings.memory_limit):
        yield
