"""A batch engine for Feast: DuckDB reads, Arrow streams, SQLite and Redis are written in bulk. See docs/bulk-engine.md."""

from bulk_engine.engine import BulkEngine, BulkEngineConfig
from bulk_engine.entities import Key, full_refresh, listed, remove, remove_absent, supported

__all__ = ["BulkEngine", "BulkEngineConfig", "Key", "full_refresh", "listed", "remove", "remove_absent", "supported"]
