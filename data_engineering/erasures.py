"""The records of erased persons: `erasures/<instant>.json`, which are also the list of who must not come back."""

import getpass
import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ibis.expr.types as ir

from data_engineering.lake import INSTANT, read_json, write_json

NOTE = "A rewritten snapshot keeps its id as a name; the digest in it is that of the content with the person."


def key_digest(person_id: str) -> str:
    """Return what a record has in the key's place: its SHA-256."""
    return hashlib.sha256(person_id.encode()).hexdigest()


def records(lake: Path) -> dict[Path, dict[str, Any]]:
    """Return all records by path, oldest first."""
    return {path: read_json(path) for path in sorted((lake / "erasures").glob("[!.]*.json"))}


def of_person(lake: Path, person_id: str) -> dict[Path, dict[str, Any]]:
    """Return the records of one person by path, oldest first."""
    digest = key_digest(person_id)
    return {path: record for path, record in records(lake).items() if record["person_sha256"] == digest}


def begun(lake: Path, person_id: str, reason: str, warehouse: str | None, pending: dict[str, list[str]]) -> Path:
    """Write the record of an erasure that begins now; from here on the person is left out of what is published.

    `warehouse` is where the tables among `pending` are, if not in the lake.
    """
    now = datetime.now(UTC)
    path = lake / "erasures" / f"{now.strftime(INSTANT)}.json"
    record = {
        "person_sha256": key_digest(person_id),
        "reason": reason,
        "warehouse": warehouse,
        "by": _user(),
        "begun_at": now.isoformat(),
        "completed_at": None,
        "files": sorted(pending),
        "note": NOTE,
    }
    write_json(path, {**record, "pending": pending})
    return path


def extended(path: Path, pending: dict[str, list[str]]) -> None:
    """Add files to the record of an erasure that was stopped."""
    record = read_json(path)
    pending = {**pending, **record["pending"]}
    write_json(path, {**record, "files": sorted(pending), "pending": pending})


def completed(path: Path, *, online: bool) -> None:
    """Complete a record: it says when, and the row digests that a second try would have needed go."""
    record = read_json(path)
    record.pop("pending", None)
    write_json(path, {**record, "completed_at": datetime.now(UTC).isoformat(), "online": online})


def without_erased(table: ir.Table, lake: Path) -> ir.Table:
    """Return the rows of persons that no record names."""
    digests = sorted({record["person_sha256"] for record in records(lake).values()})
    return table.filter(table.person_id.hexdigest("sha256").notin(digests)) if digests else table


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        return str(os.getuid())
