"""Prune: what is older than the setting and needed by nobody goes, in an order that leaves nothing half to see."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from feast import FeatureStore

import bulk_engine
from data_engineering.lake import (
    LONGEST_TASK,
    batch_of,
    batches,
    dead_drafts,
    discard,
    empty_trash,
    instant_of,
    remove_dead_drafts,
)
from data_engineering.materialize import KEY, VIEW, apply_mark, last_verified, marked, pinned, unmark
from data_engineering.settings import Settings
from data_engineering.warehouse import Warehouse, opened


def prune(store: FeatureStore, settings: Settings, *, dry_run: bool = False) -> Iterator[str]:
    """Remove what is older than `settings.keep_days` and not needed, and give a line for each thing removed.

    Kept whatever their age: the newest verified snapshot, which is online, and any newer one; snapshots that a model
    has pinned; the stages of a kept snapshot; and the newest batch, at which a run may be at work. A snapshot's mark
    goes first, so that nobody is led to a file that goes next; a second call completes what a stopped one left.
    """
    with opened(settings) as tables:
        yield from _pruned(tables, store, settings, dry_run=dry_run)


def _pruned(tables: Warehouse, store: FeatureStore, settings: Settings, *, dry_run: bool) -> Iterator[str]:
    before = datetime.now(UTC) - timedelta(days=settings.keep_days)
    verified = last_verified(store)
    newest = verified.snapshot_id if verified else ""
    did = "would remove" if dry_run else "removed"
    known = {*tables.published(), *marked(store)}
    kept = {snapshot for snapshot in known if snapshot >= newest or instant_of(snapshot) >= before}
    for snapshot in sorted(known - kept):
        if models := pinned(store).get(snapshot):
            kept.add(snapshot)
            if not dry_run:
                _restore_mark(tables, store, settings, snapshot)
            yield f"kept snapshot {snapshot}: registered versions of {', '.join(sorted(models))} need it"
        elif dry_run or _removed(tables, store, settings, snapshot):
            yield f"{did} snapshot {snapshot}"
        else:
            kept.add(snapshot)
    yield from _stages(tables, settings.lake, {batch_of(snapshot) for snapshot in kept}, before, dry_run=dry_run)
    if newest:
        yield from _absent(tables, store, newest, dry_run=dry_run)


def _stages(tables: Warehouse, lake: Path, needed: set[str], before: datetime, *, dry_run: bool) -> Iterator[str]:
    did = "would remove" if dry_run else "removed"
    newest = max(batches(lake), default="")
    for batch in batches(lake):
        if batch not in {*needed, newest} and instant_of(batch) < before:
            if not dry_run:
                tables.discard(batch)
                discard(lake, batch)
            yield f"{did} stages of batch {batch}"
    for batch in sorted(set(tables.strays()) - set(batches(lake))):
        if datetime.now(UTC) - instant_of(batch) > LONGEST_TASK:
            if not dry_run:
                tables.discard(batch)
            yield f"{did} tables of batch {batch}, which a stopped run left"
    for path in dead_drafts(lake) if dry_run else remove_dead_drafts(lake):
        yield f"{did} leftover {path.relative_to(lake)}"
    if not dry_run:
        empty_trash(lake)


def _removed(tables: Warehouse, store: FeatureStore, settings: Settings, snapshot_id: str) -> bool:
    unmark(store, snapshot_id)
    # Training pins first and then looks whether the mark is still there; we do it the other way round, so that at
    # least one of the two sees the other.
    if snapshot_id in pinned(store):
        _restore_mark(tables, store, settings, snapshot_id)
        return False
    tables.remove(snapshot_id)
    return True


def _restore_mark(tables: Warehouse, store: FeatureStore, settings: Settings, snapshot_id: str) -> None:
    if snapshot_id not in marked(store) and snapshot_id in tables.published():
        apply_mark(store, settings, snapshot_id)


def _absent(tables: Warehouse, store: FeatureStore, newest: str, *, dry_run: bool) -> Iterator[str]:
    """Remove from the online store who is neither in the newest verified snapshot nor in one after it."""
    if not bulk_engine.supported(store):
        yield f"online store {store.config.online_store.type}: absent persons stay, bulk_engine does not know its rows"
        return

    def present() -> Iterator[pa.RecordBatch]:
        # Called once those online are listed: a snapshot published later is materialized later too.
        for name in {newest, *(name for name in tables.published() if name > newest)}:
            yield from tables.answer(tables.snapshot(name).select(KEY)).to_batches()

    count = bulk_engine.remove_absent(store, VIEW, present, dry_run=dry_run)
    if count:
        did = "would remove" if dry_run else "removed"
        yield f"{did} {count:,} persons from the online store: they are not in snapshot {newest}"
