"""Folders of this machine for what must not outlive its process: what DuckDB spills, and drafts of objects."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SPILLS = ".spill"


@contextmanager
def spill_folder(below: Path) -> Iterator[Path]:
    """Give an empty folder below another, after sweeping out those whose processes were killed.

    A living process holds a lock on its folder, which ends with the process whatever ends it.
    """
    with _locked(_made(below / SPILLS)) as spills:  # else one process sweeps what another has made and not yet locked
        for left in spills.iterdir():
            _sweep(left)
        folder = _made(spills / secrets.token_hex(4))
        descriptor = _lock(folder, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    try:
        os.close(_lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB))
    except (BlockingIOError, FileNotFoundError):  # in use, or its process has just removed it
        return
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    descriptor = _lock(folder, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        os.close(descriptor)


def _lock(folder: Path, how: int) -> int:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
