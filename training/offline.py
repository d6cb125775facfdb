"""Feast's DuckDB within a limit of memory: what does not fit spills into the workspace."""

from collections.abc import Iterator
from contextlib import contextmanager

from storage import engine
from training.settings import Settings


@contextmanager
def limited(settings: Settings) -> Iterator[None]:
    """Have Feast's DuckDB store keep to `settings.memory_limit`, and find objects where the lake's files are."""
    with engine.asked_by_feast(settings.workspace, settings.memory_limit):
        yield
