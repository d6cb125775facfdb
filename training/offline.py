"""Feast's DuckDB within a limit of memory: what does not fit spills into the workspace."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ibis

from training.settings import Settings

SPILL = ".spill-"


@contextmanager
def limited(settings: Settings) -> Iterator[None]:
    """Have Feast's DuckDB store keep to `settings.memory_limit`.

    Feast asks the default backend of Ibis, which would take up to 80 % of the machine's memory.
    """
    before = ibis.options.default_backend
    with spill_folder(settings.workspace) as folder:
        connection = ibis.duckdb.connect(memory_limit=settings.memory_limit, temp_directory=folder)
        ibis.set_backend(connection)
        try:
            yield
        finally:
            ibis.options.default_backend = before
            connection.disconnect()


@contextmanager
def spill_folder(workspace: Path) -> Iterator[Path]:
    """Give an empty folder, after sweeping out those whose processes were killed: a living one holds a lock on it."""
    workspace.mkdir(parents=True, exist_ok=True)
    for left in workspace.glob(f"{SPILL}*"):
        with suppress(BlockingIOError, FileNotFoundError):
            os.close(_locked(left))
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=SPILL, dir=workspace))
    descriptor = _locked(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _locked(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor
