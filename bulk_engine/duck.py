"""DuckDB within a limit of memory: the rest spills to a folder that does not outlive its process for long."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

PREFIX = "bulk-engine-"
NEW_SECONDS = 60  # in which a folder may not be locked yet


@contextmanager
def connected(memory_limit: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a database in memory, which spills to a folder in TMPDIR what does not fit into `memory_limit`."""
    with (
        _spill_folder() as folder,
        duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": str(folder)}) as connection,
    ):
        # In a notebook or at a prompt DuckDB shows a bar of its own, between the lines of Feast's.
        connection.execute("SET enable_progress_bar = false")
        yield connection


@contextmanager
def _spill_folder() -> Iterator[Path]:
    """Give a folder of this process, after sweeping out those of processes that were killed.

    A living process holds a lock on its folder, which ends with the process whatever ends it.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # in use, just removed, or another user's
            if left.stat().st_mtime < time.time() - NEW_SECONDS:
                with _locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    with _locked(folder, fcntl.LOCK_EX):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
