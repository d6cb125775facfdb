"""A place is a folder's path or, for `s3://` and `gs://`, what universal-pathlib gives, which is used like one.

Objects appear whole or not at all, and are read as they are: what a listing said before is not kept.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Annotated, Any, cast
from urllib.parse import urlsplit

from pydantic import PlainValidator

from storage.scratch import spill_folder

DRIVERS = {"s3": "s3fs", "gs": "gcsfs"}
# Bytes read ahead, the least that S3 takes. DuckDB asks for what it wants, and s3fs would fetch 50 MB more each time.
BLOCK = 5 * 2**20
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"use_listings_cache": False, "default_block_size": BLOCK},
    "gs": {"use_listings_cache": False, "block_size": BLOCK},
}


def place(address: str | Path) -> Path:
    """Return the place at a folder's path or an address; a place is one already.

    Raises:
        ValueError: no store of this kind is known, its driver is not installed, or the address names no bucket.
    """
    if not isinstance(address, str):
        return address
    scheme, _, rest = address.partition("://")
    if "://" not in address or scheme == "file":
        return Path(rest or address)
    if scheme not in DRIVERS:
        raise ValueError(f"{address}: write a folder, s3://bucket/prefix or gs://bucket/prefix")
    if not urlsplit(address).netloc:
        raise ValueError(f"{address}: it names no bucket: write {scheme}://bucket/prefix")
    if not find_spec(DRIVERS[scheme]):
        raise ValueError(f"{address}: {DRIVERS[scheme]} is not installed: add this project's extra {scheme!r}")
    from upath import UPath

    return cast("Path", UPath(address.rstrip("/"), **OPTIONS[scheme]))


Place = Annotated[Path, PlainValidator(place)]


def is_folder(where: Path) -> bool:
    """Return whether a place is a folder of this machine."""
    return isinstance(where, Path)


def address(where: Path) -> str:
    """Return a place's address: a folder's is of scheme `file`."""
    return where.absolute().as_uri() if is_folder(where) else str(where)


def filesystem(where: Path) -> Any:
    """Return the fsspec filesystem of a place in an object store."""
    return cast("Any", where).fs


def local(where: Path) -> Path:
    """Return a folder of this machine for what is no result: drafts of objects, and what DuckDB spills.

    That is the place itself if it is a folder, else one of this user's below TMPDIR.

    Raises:
        PermissionError: somebody else made the folder.
    """
    if is_folder(where):
        return where
    folder = Path(tempfile.gettempdir()) / f"census-pipelines-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} is somebody else's: set TMPDIR to a folder of your own")
    return folder


@contextmanager
def uploaded(where: Path) -> Iterator[Path]:
    """Give the path of a draft on this machine that becomes the object at `where` in one step, or not at all."""
    with spill_folder(local(where)) as folder:
        draft = folder / where.name
        yield draft
        with _said_of(where):
            filesystem(where).put_file(str(draft), _key(where))


def found(where: Path, pattern: str) -> list[Path]:
    """Return what below a place matches a pattern, in order."""
    with _said_of(where):
        return sorted(where.glob(pattern))


def claimed(where: Path) -> bool:
    """Return whether this call, and of all that ask at once no other, has made the empty object at `where`."""
    try:
        with _said_of(where):
            filesystem(where).pipe_file(_key(where), b"", mode="create")
    except FileExistsError:
        return False
    return True


def copied(source: Path, target: Path) -> None:
    """Have the store copy an object, in one step and without reading it here."""
    filesystem(target).cp_file(_key(source), _key(target))


def remove_below(where: Path) -> None:
    """Delete all objects below a place; it may have none."""
    if keys := filesystem(where).find(_key(where)):
        filesystem(where).rm(keys)


@contextmanager
def readable(where: Path) -> Iterator[IO[bytes] | str]:
    """Give what pyarrow reads a file from: a folder's file by name, for that is mapped, an object as a stream."""
    if is_folder(where):
        yield str(where)
    else:
        with where.open("rb") as file:
            yield file


@contextmanager
def _said_of(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_folder(where) or isinstance(error, FileExistsError):
            raise
        raise OSError(
            f"{where}: {error}: check that the bucket is there, and that you may read and write in it"
        ) from error


def _key(where: Path) -> str:
    return str(cast("Any", where).path)
