"""Extract: one read of the source into an immutable raw snapshot with a manifest."""

import codecs
import gzip
import hashlib
import logging
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow.parquet as pq

from data_engineering import csv_table, digests, parquet_table
from data_engineering.addresses import SCHEME, parts
from data_engineering.errors import DataError
from data_engineering.lake import MANIFEST, alone_in, instant_of, manifests, new_batch, staged, write_json
from data_engineering.session import connected
from data_engineering.settings import BUNDLED_SOURCE, Settings
from data_engineering.warehouse import Warehouse, count, opened
from storage.places import local

log = logging.getLogger(__name__)

# SHA-256 of the unpacked official file; doi:10.24432/C5XW20
BUNDLED_SHA256 = "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d"


def extract(settings: Settings, run: str, source: str | None = None) -> str:
    """Return the batch that holds the raw table of `source`, read once per run.

    `run` names the pipeline run: a retry of a run whose manifest is committed reads nothing again. The raw table
    keeps the source's columns and blanks; numbers are 64-bit integers. The manifest has the source, its SHA-256
    (of a file's unpacked bytes; of a BigQuery table's rows), the row count and the instant of the read.

    Raises:
        DataError: the source cannot be read as a census table.
        Unavailable: BigQuery does not answer.
    """
    source = source or settings.source
    for batch, manifest in manifests(settings.lake).items():
        if manifest["run"] == run:
            log.info("run %s read its source before: batch %s", run, batch)
            return batch
    with alone_in(settings.lake / "staging"), opened(settings) as tables:
        read = _read_table if source.startswith(SCHEME) else _read_file
        batch, facts = read(tables, settings, source)
        at = instant_of(batch).isoformat()
        manifest = {"run": run, "source": source, **facts, "read_at": at}
        write_json(staged(settings.lake, batch, MANIFEST), manifest)
    log.info("%s rows of %s are batch %s", f"{manifest['rows']:,}", source, batch)
    return batch


def _read_table(tables: Warehouse, settings: Settings, source: str) -> tuple[str, dict[str, Any]]:
    """Read a table in BigQuery, unless it has not changed since it was read before."""
    from data_engineering import bigquery_client, bigquery_table  # Google's client takes a second to import

    parts(source, "project.dataset.table")  # an address of another shape is said before anybody signs in
    found = bigquery_table.find(bigquery_client.connect(settings), source, settings.key_column)
    read = {"query": found.query, "last_modified": found.last_modified}
    batch = new_batch(settings.lake, tables.published())
    for former, known in reversed(manifests(settings.lake).items()) if found.last_modified else []:
        if read.items() <= known.items() and tables.repeat(former, batch):
            log.info("%s is unchanged since %s: the rows are batch %s's", source, found.last_modified, former)
            return batch, {"sha256": known["sha256"], "rows": known["rows"], **read}
    tables.copy(batch, found)
    raw = tables.raw(batch)
    rows = count(tables, raw)
    if not rows:
        raise DataError(f"{source}: no rows: check that it is the whole census table")
    return batch, {"sha256": digests.whole(tables, raw.select(*sorted(raw.columns))), "rows": rows, **read}


def _read_file(tables: Warehouse, settings: Settings, source: str) -> tuple[str, dict[str, Any]]:
    with connected(settings) as connection, unpacked(source, local(settings.lake / "staging")) as (path, sha256):
        if source == str(BUNDLED_SOURCE) and sha256 != BUNDLED_SHA256:
            raise DataError(
                f"{source}: SHA-256 is {sha256}, the official file's is {BUNDLED_SHA256}: "
                "restore it from version control"
            )
        reader = parquet_table if parquet_table.is_parquet(path) else csv_table
        draft = path.with_name("raw.parquet")
        reader.copy(connection, path, source, settings.key_column, draft)
        rows = pq.read_metadata(draft).num_rows
        if not rows:
            raise DataError(f"{source}: no rows: check that the file is the whole census table")
        batch = new_batch(settings.lake, tables.published())
        tables.load(batch, draft)
    return batch, {"sha256": sha256, "rows": rows}


@contextmanager
def unpacked(source: str, below: Path) -> Iterator[tuple[Path, str]]:
    """Give a copy of `source` below a folder, gunzipped if it was gzipped, and the SHA-256 of its bytes.

    What is parsed is what was hashed, even when the source is being replaced meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix=".extract-", dir=below) as folder:
        fetched, copy = Path(folder) / "fetched", Path(folder) / "source"
        digest = hashlib.sha256()
        try:
            # One stream from start to end: not every server answers requests for a part of a file.
            stream = {"block_size": 0} if source.startswith("http") else {}
            with fsspec.open(source, "rb", **stream) as file, fetched.open("wb") as out:
                shutil.copyfileobj(file, out)
            with fetched.open("rb") as packed, copy.open("wb") as out:
                for chunk in _text_checked(_gunzipped(packed), source):
                    digest.update(chunk)
                    out.write(chunk)
        except (FileNotFoundError, IsADirectoryError) as error:
            if source.startswith("http"):  # fsspec says "not found" of every failed request: another try may do
                raise ConnectionError(f"{source}: no such file, or the server cannot be reached") from error
            raise DataError(
                f"{source}: no such file: set DATA_SOURCE, or the run's `source`, to a CSV or Parquet file"
            ) from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{source}: the gzip data is damaged ({error}): fetch the file again") from None
        if not copy.stat().st_size:
            raise DataError(f"{source}: the file is empty: fetch it again, or correct DATA_SOURCE")
        fetched.unlink()
        yield copy, digest.hexdigest()


def _gunzipped(file: BinaryIO) -> Iterator[bytes]:
    zipped = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    stream = gzip.GzipFile(fileobj=file) if zipped else file
    while chunk := stream.read(1 << 20):
        yield chunk


def _text_checked(chunks: Iterator[bytes], source: str) -> Iterator[bytes]:
    """Pass `chunks` on; refuse text that is no UTF-8 or has NUL bytes. Parquet passes as it is."""
    decoder, offset, text = codecs.getincrementaldecoder("utf-8")(), 0, True
    for chunk in chunks:
        text = text and not (offset == 0 and chunk.startswith(parquet_table.MAGIC))
        if text and (nul := chunk.find(b"\0")) >= 0:
            raise DataError(f"{source}: NUL byte at byte {offset + nul}: export the table again, as UTF-8 text")
        if text:
            _decode(decoder, chunk, offset, source)
        offset += len(chunk)
        yield chunk
    if text:
        _decode(decoder, b"", offset, source, final=True)


def _decode(decoder: codecs.IncrementalDecoder, chunk: bytes, offset: int, source: str, *, final: bool = False) -> None:
    pending = len(decoder.getstate()[0])
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError as error:
        where, value = offset - pending + error.start, error.object[error.start : error.start + 1]
        raise DataError(f"{source}: byte {where} is {value!r}, which is not UTF-8: convert the file to UTF-8") from None
