"""Publish: the clean table becomes a snapshot in the offline store, in one step."""

import logging
from datetime import UTC, datetime

import ibis
import ibis.expr.types as ir

from data_engineering import digests
from data_engineering.erasures import without_erased
from data_engineering.lake import alone_in, batch_of, instant_of
from data_engineering.schema import COLUMNS, FEATURES
from data_engineering.settings import Settings
from data_engineering.warehouse import Warehouse, opened

log = logging.getLogger(__name__)

# Upper ends, inclusive, of the article's age bins 1 to 5.
AGE_BINS = (29, 39, 49, 59)


def publish(settings: Settings, batch: str, last_verified: str | None, *, force: bool = False) -> str | None:
    """Return the id of the snapshot that now holds the batch's content, or None if it is the last verified one's.

    A snapshot is `<batch>-<content digest>`: rows that share one event timestamp, the instant at which the source
    was read, and that appear in one step. A newest snapshot of the same content that a stopped run left
    unverified is taken up instead of written again, and so is this batch's own on a retry. After one of other content
    that was left unverified, even the last verified content is published anew: the online store may hold a part of
    that other one.
    `force` publishes equal content anew.
    """
    with alone_in(settings.lake / "census"), opened(settings) as tables:
        return _publish(tables, settings, batch, last_verified, force=force)


def _publish(
    tables: Warehouse, settings: Settings, batch: str, last_verified: str | None, *, force: bool
) -> str | None:
    clean = without_erased(tables.clean(batch), settings.lake)  # again: the erasure may be younger than the clean table
    table = features(clean)
    digest = content_digest(tables, table)
    newest = max(tables.published(), default="")
    same = newest.endswith(f"-{digest}")
    if same and newest != last_verified and (not force or batch_of(newest) == batch):
        log.info("snapshot %s holds this content and was not verified yet: completing it", newest)
        return newest
    if same and newest == last_verified and not force:
        log.info("unchanged: the content equals that of verified snapshot %s", last_verified)
        return None
    snapshot_id = f"{batch}-{digest}"
    tables.publish(snapshot_id, stamped(table, snapshot_id))
    log.info("published snapshot %s", snapshot_id)
    return snapshot_id


def columns() -> dict[str, str]:
    """Return the type of each column that Feast reads from a snapshot, timestamps apart, as Ibis names it."""
    clean = {"person_id": "string"} | {name: "string" if COLUMNS[name] is str else "int64" for name in FEATURES}
    return {name: str(kind) for name, kind in features(ibis.table(clean)).schema().items()} | {"snapshot_id": "string"}


def snapshot_columns() -> dict[str, str]:
    """Return the type of each of a snapshot's columns, timestamps too, as Ibis names it."""
    return columns() | dict.fromkeys(("event_timestamp", "created_timestamp"), "timestamp('UTC')")


def features(clean: ir.Table) -> ir.Table:
    """Return `person_id`, the clean columns and `age_bin`: (16,29], (29,39], (39,49], (49,59], (59,100] are 1 to 5."""
    bins = ibis.cases(*((clean.age <= upper, i) for i, upper in enumerate(AGE_BINS, 1)), else_=len(AGE_BINS) + 1)
    return clean.mutate(age_bin=bins.cast("int64"))


def content_digest(tables: Warehouse, table: ir.Table) -> str:
    """Return 16 hexadecimal digits that depend on every value and not on the order of rows."""
    return digests.whole(tables, table.select("person_id", *FEATURES, "age_bin"))[:16]


def stamped(table: ir.Table, snapshot_id: str) -> ir.Table:
    """Return the table as Feast reads it: with snapshot id, event timestamp and created timestamp."""
    return table.mutate(
        snapshot_id=ibis.literal(snapshot_id),
        event_timestamp=ibis.literal(instant_of(snapshot_id), "timestamp('UTC')"),
        created_timestamp=ibis.literal(datetime.now(UTC), "timestamp('UTC')"),
    )
