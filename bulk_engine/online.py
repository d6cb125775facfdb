"""The online stores whose bytes this package knows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feast import FeatureView, RepoConfig

from bulk_engine.encode import KEY_VERSION
from bulk_engine.feast_internals import sqlite_path
from bulk_engine.sqlite_rows import SqliteRows

WAIT_SECONDS = 60.0


def refusal(config: RepoConfig) -> str | None:
    """Return why rows in this online store are not for this package, or None."""
    store = config.online_store
    kind = store.type if store else "none"
    if kind.endswith("SqliteOnlineStore"):
        kind = "sqlite"
    if kind not in {"sqlite", "redis"}:
        return f"online store {kind}"
    if config.entity_key_serialization_version != KEY_VERSION:
        return f"entity_key_serialization_version {config.entity_key_serialization_version}"
    if kind == "redis" and store.redis_type == "redis_cluster":
        return "a Redis Cluster"
    for option in ("vector_enabled", "text_search_enabled", "enable_openai_compatible_store"):
        if getattr(store, option, False):
            return f"online store option {option}"
    return None


def rows_of(config: RepoConfig, store: Any, view: FeatureView, wait_seconds: float = WAIT_SECONDS) -> Any:
    """Return a view's rows in an online store that is not refused: SqliteRows or RedisRows, alike in their methods."""
    if config.online_store.type == "redis":
        from bulk_engine.redis_rows import RedisRows  # redis-py is an extra of Feast's

        return RedisRows(config, store, view, wait_seconds)
    return SqliteRows(config, store, view, wait_seconds)


@contextmanager
def other_run(config: RepoConfig, store: Any, view: FeatureView, wait_seconds: float) -> Iterator[None]:
    """Let a run of another engine take part in what is kept beside the rows, so that no note is left over its rows."""
    if not (_kept(config) and view.online):
        yield
        return
    with rows_of(config, store, view, wait_seconds) as rows:
        rows.begin("", "", again=False)
        try:
            yield
        finally:
            rows.complete("")


def forget(config: RepoConfig, store: Any, view: FeatureView, wait_seconds: float) -> None:
    """Take away what is kept beside a view's rows that are gone, if there is anything."""
    if _kept(config):
        with rows_of(config, store, view, wait_seconds) as rows:
            rows.forget(gone=True)


def _kept(config: RepoConfig) -> bool:
    """Return whether the online store is there, and of a kind that something is kept in beside the rows."""
    return not refusal(config) and (config.online_store.type == "redis" or Path(sqlite_path(config)).exists())
