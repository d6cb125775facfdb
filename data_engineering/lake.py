"""Where the stages leave their tables: immutable files whose appearance is the commit.

`staging/<batch>/` holds what one extraction produced (manifest, raw and clean table, contract report);
`census/<batch>-<digest>.parquet` is a published snapshot, so a snapshot id leads to its stages;
`erasures/<instant>.json` records a person's erasure; `predictions/<model>/*.parquet` is what models said of persons,
written by the other area and looked at here for persons to erase alone.

In an object store an upload is the commit, and no process can wait for another: a batch is claimed by an object that
one alone can make, and what a killed run left half done goes once no task can be at work on it any more.
"""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from storage import places

INSTANT = "%Y%m%dT%H%M%S.%fZ"
TRASH = ".trash"
PREDICTIONS = "predictions/*/[!.]*.parquet"
LONGEST_TASK = timedelta(hours=1)
MANIFEST = "manifest.json"
CLAIM = ".claim"


@contextmanager
def committed(path: Path) -> Iterator[Path]:
    """Give a temporary path on this machine whose file becomes that of `path` in one step, or not at all."""
    if not places.is_folder(path):
        with places.uploaded(path) as draft:
            yield draft
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink()  # by an earlier try of the same task, killed while it wrote
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
        _sync(path.parent)  # else a power cut may undo the appearance of a file that a later step relies on
    finally:
        draft.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Write in `folder` while no other process does, after sweeping out what a killed one left half done.

    Half done are drafts, and batches of the staging folder without a manifest. The lock ends with its process.
    An object store has no such lock: batches without a manifest go there when they are old.
    """
    if not places.is_folder(folder):
        _sweep(folder)
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in folder.iterdir():
            if left.is_dir() and (left.name.startswith(".") or not (left / MANIFEST).exists()):
                shutil.rmtree(left)
            elif left.is_file() and left.name.startswith("."):
                left.unlink()
        yield
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    oldest = datetime.now(UTC) - LONGEST_TASK
    for left in places.found(folder, "*Z"):
        if instant_of(left.name) < oldest and not (left / MANIFEST).exists():
            places.remove_below(left)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Commit `value` as a JSON file."""
    with committed(path) as draft:
        draft.write_text(json.dumps(value, indent=2))


def read_json(path: Path) -> dict[str, Any]:
    """Return what `write_json` committed."""
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def staged(lake: Path, batch: str, name: str) -> Path:
    """Return the path of one stage's file of one batch."""
    return lake / "staging" / batch / name


def snapshot_path(lake: Path, snapshot_id: str) -> Path:
    """Return the path of a published snapshot."""
    return lake / "census" / f"{snapshot_id}.parquet"


def published(lake: Path) -> list[str]:
    """Return the ids of all published snapshots, verified or not, oldest first."""
    return [path.stem for path in places.found(lake / "census", "[!.]*Z-*.parquet")]


def batches(lake: Path) -> list[str]:
    """Return the names of all batches, oldest first."""
    return [path.name for path in places.found(lake / "staging", "[!.]*Z")]


def manifests(lake: Path) -> dict[str, dict[str, Any]]:
    """Return the manifests of all whole batches by the batch's name, oldest first."""
    return {path.parent.name: read_json(path) for path in places.found(lake, f"staging/*/{MANIFEST}")}


def discard(lake: Path, batch: str) -> None:
    """Take a batch's stages away, seen as one step; `empty_trash` frees their room.

    Of objects the manifest goes first: without it nobody takes the others for a batch, and they are swept.
    """
    if not places.is_folder(lake):
        staged(lake, batch, MANIFEST).unlink(missing_ok=True)
        places.remove_below(lake / "staging" / batch)
        return
    (lake / TRASH).mkdir(exist_ok=True)
    (lake / "staging" / batch).rename(lake / TRASH / batch)


def empty_trash(lake: Path) -> None:
    """Delete what was discarded, by this run or by one that was stopped."""
    if places.is_folder(lake):
        shutil.rmtree(lake / TRASH, ignore_errors=True)


def dead_drafts(lake: Path) -> list[Path]:
    """Return the drafts that killed runs left: no task is at work for so long. No object is a draft."""
    if not places.is_folder(lake):
        return []
    oldest = (datetime.now(UTC) - LONGEST_TASK).timestamp()
    drafts = [
        path for folder in ("census", "staging/*", "erasures", "predictions/*") for path in lake.glob(f"{folder}/.*")
    ]
    return sorted(path for path in drafts if path.is_file() and path.stat().st_mtime < oldest)


def remove_dead_drafts(lake: Path) -> Iterator[Path]:
    """Delete the drafts that killed runs left, and give the path of each."""
    for path in dead_drafts(lake):
        path.unlink(missing_ok=True)
        yield path


def batch_of(snapshot_id: str) -> str:
    """Return the batch that a snapshot was made from."""
    return snapshot_id.partition("-")[0]


def instant_of(name: str) -> datetime:
    """Return the instant at which the source of a batch or snapshot was read (UTC, microseconds)."""
    return datetime.strptime(batch_of(name), INSTANT).replace(tzinfo=UTC)


def new_batch(lake: Path, snapshots: Iterable[str] = ()) -> str:
    """Claim the folder of a batch, named by an instant later than every other, whatever the clock says.

    `snapshots` are published ones that are not in the lake.
    """
    staging = lake / "staging"
    names = [*(path.name for path in places.found(staging, "*Z")), *published(lake), *snapshots]
    instant = max([datetime.now(UTC), *(instant_of(name) + timedelta(microseconds=1) for name in names)])
    while not _claimed(staging / instant.strftime(INSTANT)):  # by another run, between our look and our claim
        instant += timedelta(microseconds=1)
    return instant.strftime(INSTANT)


def _claimed(folder: Path) -> bool:
    if not places.is_folder(folder):
        return places.claimed(folder / CLAIM)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True
