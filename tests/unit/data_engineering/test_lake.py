"""The lake: files that appear whole or not at all, and batches in strict order."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest

from data_engineering.lake import (
    INSTANT,
    batch_of,
    committed,
    instant_of,
    new_batch,
    published,
    read_json,
    snapshot_path,
    write_json,
)


def test_committed_replaces_the_file_with_the_whole_draft(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with committed(path) as draft:
        draft.write_text("whole")
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    assert path.read_text() == "whole"


def test_committed_shows_nothing_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with committed(path) as draft:
        draft.write_text("half")
        seen = path.exists()
    assert not seen


def test_committed_leaves_nothing_after_an_exception(tmp_path: Path) -> None:
    def write_and_fail(draft: Path) -> None:
        draft.write_text("half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"), committed(tmp_path / "file") as draft:
        write_and_fail(draft)
    assert list(tmp_path.iterdir()) == []


def test_committed_keeps_the_old_file_after_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write_and_fail(draft: Path) -> None:
        draft.write_text("half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"), committed(path) as draft:
        write_and_fail(draft)
    assert path.read_text() == "old"


def test_committed_without_a_draft_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), committed(tmp_path / "file"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_json_reads_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"rows": 3, "name": "é"})
    assert read_json(tmp_path / "a.json") == {"rows": 3, "name": "é"}


def test_new_batches_strictly_increase(tmp_path: Path) -> None:
    batches = [new_batch(tmp_path) for _ in range(50)]
    assert batches == sorted(set(batches))


def test_new_batch_is_named_by_the_present_instant(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    assert before <= instant_of(new_batch(tmp_path)) <= datetime.now(UTC)


def test_new_batch_follows_a_batch_from_the_future(tmp_path: Path) -> None:
    future = datetime.now(UTC) + timedelta(days=3)
    (tmp_path / "staging" / future.strftime(INSTANT)).mkdir(parents=True)
    assert instant_of(new_batch(tmp_path)) == future + timedelta(microseconds=1)


def test_new_batch_follows_a_snapshot_from_the_future_whose_stages_are_gone(tmp_path: Path) -> None:
    future = datetime.now(UTC) + timedelta(days=3)
    with committed(snapshot_path(tmp_path, f"{future.strftime(INSTANT)}-abc")) as draft:
        draft.touch()
    assert instant_of(new_batch(tmp_path)) == future + timedelta(microseconds=1)


def test_two_threads_never_claim_the_same_batch(tmp_path: Path) -> None:
    # With the clock behind the last batch both compute the same next instant.
    future = datetime.now(UTC) + timedelta(days=3)
    (tmp_path / "staging" / future.strftime(INSTANT)).mkdir(parents=True)
    start = Barrier(2)

    def claim(_: int) -> list[str]:
        start.wait()
        return [new_batch(tmp_path) for _ in range(40)]

    with ThreadPoolExecutor(2) as pool:
        claimed = [batch for batches in pool.map(claim, range(2)) for batch in batches]
    assert len(set(claimed)) == len(claimed) == 80


def test_published_lists_snapshots_oldest_first_without_drafts(tmp_path: Path) -> None:
    (tmp_path / "census").mkdir()
    for name in ("20260102T000000.000000Z-b", "20260101T000000.000000Z-c", ".20260103T000000.000000Z-d"):
        (tmp_path / "census" / f"{name}.parquet").touch()
    (tmp_path / "census" / ".20260104T000000.000000Z-e.parquet.0a1b2c3d").touch()
    assert published(tmp_path) == ["20260101T000000.000000Z-c", "20260102T000000.000000Z-b"]


def test_published_of_an_untouched_lake_is_empty(tmp_path: Path) -> None:
    assert published(tmp_path) == []


def test_a_snapshot_id_leads_to_its_batch_and_instant() -> None:
    snapshot = "20260102T030405.000678Z-0123456789abcdef"
    assert batch_of(snapshot) == "20260102T030405.000678Z"
    assert instant_of(snapshot) == datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
