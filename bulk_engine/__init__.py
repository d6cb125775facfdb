"""A batch engine for Feast that reads by DuckDB and writes SQLite and Redis in bulk. See docs/bulk-engine.md."""

from bulk_engine.engine import BulkEngine, BulkEngineConfig
from bulk_engine.entities import Key, full_refresh, listed, remove, remove_absent, supported

__all__ = ["BulkEngine", "BulkEngineConfig", "Key", "full_refresh", "listed", "remove", "remove_absent", "supported"]
