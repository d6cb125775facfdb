"""Publish: the clean table becomes a snapshot in the offline store, in one step."""

import hashlib
import logging
import secrets
from datetime import UTC, datetime

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from data_engineering.erasures import without_erased
from data_engineering.lake import alone_in, batch_of, committed, instant_of, published, snapshot_path, staged
from data_engineering.schema import COLUMNS, FEATURES
from data_engineering.session import connected
from data_engineering.settings import Settings

log = logging.getLogger(__name__)

# Upper ends, inclusive, of the article's age bins 1 to 5.
AGE_BINS = (29, 39, 49, 59)
ROWS_AT_ONCE = 5_000_000  # about 0.7 GB while they are sorted


def publish(settings: Settings, batch: str, last_verified: str | None, *, force: bool = False) -> str | None:
    """Return the id of the snapshot that now holds the batch's content, or None if it is the last verified one's.

    A snapshot is `<batch>-<content digest>`, one Parquet file whose rows share one event timestamp, the instant at
    which the source was read. A newest snapshot of the same content that a stopped run left unverified is taken up
    instead of written again, and so is this batch's own on a retry. After one of other content that was left
    unverified, even the last verified content is published anew: the online store may hold a part of that other one.
    `force` publishes equal content anew.
    """
    with alone_in(settings.lake / "census"), connected(settings) as connection:
        return _publish(connection, settings, batch, last_verified, force=force)


def _publish(
    connection: Backend, settings: Settings, batch: str, last_verified: str | None, *, force: bool
) -> str | None:
    clean = connection.read_parquet(staged(settings.lake, batch, "clean.parquet"))
    table = features(without_erased(clean, settings.lake))  # again: the erasure may be younger than the clean table
    digest = content_digest(table)
    newest = max(published(settings.lake), default="")
    same = newest.endswith(f"-{digest}")
    if same and newest != last_verified and (not force or batch_of(newest) == batch):
        log.info("snapshot %s holds this content and was not verified yet: completing it", newest)
        return newest
    if same and newest == last_verified and not force:
        log.info("unchanged: the content equals that of verified snapshot %s", last_verified)
        return None
    snapshot_id = f"{batch}-{digest}"
    with committed(snapshot_path(settings.lake, snapshot_id)) as draft:
        connection.to_parquet(stamped(table, snapshot_id), draft)
    log.info("published snapshot %s", snapshot_id)
    return snapshot_id


def columns() -> dict[str, str]:
    """Return the type of each column that Feast reads from a snapshot, timestamps apart, as Ibis names it."""
    clean = {"person_id": "string"} | {name: "string" if COLUMNS[name] is str else "int64" for name in FEATURES}
    return {name: str(kind) for name, kind in features(ibis.table(clean)).schema().items()} | {"snapshot_id": "string"}


def features(clean: ir.Table) -> ir.Table:
    """Return `person_id`, the clean columns and `age_bin`: (16,29], (29,39], (39,49], (49,59], (59,100] are 1 to 5."""
    bins = ibis.cases(*((clean.age <= upper, i) for i, upper in enumerate(AGE_BINS, 1)), else_=len(AGE_BINS) + 1)
    return clean.mutate(age_bin=bins.cast("int64"))


def content_digest(table: ir.Table) -> str:
    """Return 16 hexadecimal digits that depend on every value and not on the order of rows.

    SHA-256 over sorted row hashes, in two levels: by the first three digits, then over all. An aggregate of texts
    cannot spill, so a large table's row hashes are set down, where they can, and taken by their first digit.
    """
    rows, digest = row_hashes(table), hashlib.sha256()
    parts = [rows]
    if table.count().execute() > ROWS_AT_ONCE:
        kept = rows.get_backend().create_table(f"rows_{secrets.token_hex(4)}", rows, temp=True)
        parts = [kept.filter(kept.row.left(1) == digit) for digit in "0123456789abcdef"]
    for part in parts:
        for group in group_digests(part).to_pyarrow()["digest"]:
            digest.update(group.as_py().encode())
    return digest.hexdigest()[:16]


def row_hashes(table: ir.Table) -> ir.Table:
    """Return each row's hash, SHA-256 over its values, as column `row`."""
    text = ibis.literal("\x1f").join([table[name].cast("string") for name in ("person_id", *FEATURES, "age_bin")])
    return table.select(row=text.hexdigest("sha256"))


def group_digests(rows: ir.Table) -> ir.Table:
    """Return the digest of the sorted row hashes that begin alike, in the order of their beginnings."""
    return (
        rows.group_by(part=rows.row.left(3))
        .aggregate(digest=rows.row.group_concat("", order_by=rows.row).hexdigest("sha256"))
        .order_by("part")
    )


def stamped(table: ir.Table, snapshot_id: str) -> ir.Table:
    """Return the table as Feast reads it: with snapshot id, event timestamp and created timestamp."""
    return table.mutate(
        snapshot_id=ibis.literal(snapshot_id),
        event_timestamp=ibis.literal(instant_of(snapshot_id), "timestamp('UTC')"),
        created_timestamp=ibis.literal(datetime.now(UTC), "timestamp('UTC')"),
    ).order_by("person_id")
