"""The lake on s3:// and gs://: one upload is the commit, claims are exclusive, and nothing half done looks whole."""

import json
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pyarrow.parquet as pq
import pytest

from data_engineering import lake as lakes
from data_engineering.clean import clean
from data_engineering.lake import INSTANT, LONGEST_TASK, committed, new_batch, read_json, staged, write_json
from data_engineering.publish import publish
from data_engineering.settings import Settings
from data_engineering.source import extract
from data_engineering.warehouse import opened
from storage.places import local, place, readable
from storage.scratch import SPILLS

SLOW = pytest.mark.parametrize("lake", ["gs", pytest.param("s3", marks=pytest.mark.sweep)], indirect=True)
ROOT = Path(__file__).parents[3]
# Dies when the nth upload is done: an extraction's first is its raw table, the second its manifest.
DYING = """
import os, signal, sys
from storage import places
from data_engineering.settings import Settings
from data_engineering.source import extract
lake, source, nth = sys.argv[1:]
uploads, filesystem = [], places.filesystem
class Store:
    def __init__(self, where): self.of = filesystem(where)
    def __getattr__(self, name): return getattr(self.of, name)
    def put_file(self, *arguments):
        uploads.append(self.of.put_file(*arguments))
        if len(uploads) == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)
places.filesystem = Store
extract(Settings(lake=lake), "run 1", source)
"""


@pytest.fixture(params=["s3", "gs"])
def lake(request, lake_on):
    """Everything here holds in both stores."""
    return place(lake_on(request.param))


def objects(lake):
    return sorted(str(path.relative_to(lake)) for path in lake.rglob("*") if path.is_file())


def later(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).strftime(INSTANT)


def test_committed_shows_nothing_before_the_end_and_then_the_whole(lake):
    path = lake / "census" / "a.parquet"
    with committed(path) as draft:
        draft.write_text("whole")
        seen = path.exists()
    assert not seen
    assert path.read_text() == "whole"
    assert objects(lake) == ["census/a.parquet"]


def test_committed_keeps_the_old_object_after_an_exception_and_no_draft(lake):
    path = lake / "a"
    with committed(path) as draft:
        draft.write_text("old")

    def write_and_fail(draft: Path) -> None:
        draft.write_text("half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"), committed(path) as draft:
        write_and_fail(draft)
    assert path.read_text() == "old"
    assert not draft.parent.exists()


def test_json_reads_back_what_was_written_last(lake):
    write_json(lake / "a.json", {"rows": 3, "name": "é"})
    assert read_json(lake / "a.json") == {"rows": 3, "name": "é"}
    write_json(lake / "a.json", {"rows": 4})
    assert read_json(lake / "a.json") == {"rows": 4}


def test_threads_never_claim_the_same_batch(lake):
    # With the clock behind the last batch all compute the same next instant.
    future = later(minutes=5)
    (lake / "staging" / future / ".claim").write_text("")
    start = Barrier(3)

    def claim(_: int) -> list[str]:
        start.wait()
        return [new_batch(lake) for _ in range(3)]

    with ThreadPoolExecutor(3) as pool:
        claimed = [batch for batches in pool.map(claim, range(3)) for batch in batches]
    assert len(set(claimed)) == len(claimed) == 9
    assert min(claimed) > future
    assert lakes.batches(lake) == sorted([future, *claimed])


def test_a_batch_without_a_manifest_is_swept_once_no_task_can_be_at_work_on_it(lake):
    hour = LONGEST_TASK.total_seconds() / 60
    whole, old, young = later(-hour - 2), later(-hour - 1), later(-hour + 1)
    for batch in (whole, old, young):
        staged(lake, batch, "raw.parquet").write_text("rows")
    write_json(staged(lake, whole, "manifest.json"), {})
    with lakes.alone_in(lake / "staging"):
        assert lakes.batches(lake) == [whole, young]
    assert list(lakes.manifests(lake)) == [whole]


def test_of_a_discarded_batch_the_manifest_goes_first(lake, monkeypatch):
    batch = new_batch(lake)
    for name in ("manifest.json", "clean.json"):
        write_json(staged(lake, batch, name), {})

    def stopped(where):
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr("storage.places.remove_below", stopped)
        with pytest.raises(RuntimeError, match="stopped"):
            lakes.discard(lake, batch)
    assert objects(lake) == [f"staging/{batch}/{name}" for name in (".claim", "clean.json")]
    lakes.discard(lake, batch)
    assert objects(lake) == []


def test_a_repeated_raw_table_is_a_copy(lake, tmp_path, row, csv_text, source_file):
    settings = Settings(lake=lake)
    former = extract(settings, "run 1", source_file(csv_text([row()])))
    batch = new_batch(lake)
    with opened(settings) as tables:
        assert tables.repeat(former, batch)
        assert not tables.repeat("20200101T000000.000000Z", batch)
    assert staged(lake, batch, "raw.parquet").read_bytes() == staged(lake, former, "raw.parquet").read_bytes()


@pytest.fixture
def own_drafts(tmp_path, monkeypatch) -> None:
    """Keep this test's drafts apart from those of tests that run at the same time."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.mark.parametrize(
    ("lake", "nth"),
    [
        ("s3", 1),
        pytest.param("gs", 2, marks=pytest.mark.sweep),
        pytest.param("gs", 1, marks=pytest.mark.sweep),
        pytest.param("s3", 2, marks=pytest.mark.sweep),
    ],
    indirect=["lake"],
)
@pytest.mark.usefixtures("own_drafts")
def test_an_extraction_killed_after_an_upload_is_completed_by_a_retry(lake, nth, row, csv_text, source_file):
    source = source_file(csv_text([row(), row(age=40)]))
    command = [sys.executable, "-W", "ignore", "-c", DYING, str(lake), source, str(nth)]
    died = subprocess.run(command, cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    (half,) = lakes.batches(lake)
    assert (half in lakes.manifests(lake)) == (nth == 2)
    settings = Settings(lake=lake)
    batch = extract(settings, "run 1", source)
    assert (batch == half) == (nth == 2)
    assert list(lakes.manifests(lake)) == [batch]
    assert publish(settings, clean(settings, batch), None) == lakes.published(lake)[0]
    assert not list((local(lake) / SPILLS).iterdir())  # the killed one's drafts are gone


@SLOW
def test_two_publishers_at_once_leave_whole_snapshots(lake, row, csv_text, source_file):
    settings = Settings(lake=lake)
    batches = [
        clean(settings, extract(settings, f"run {n}", source_file(csv_text([row(age=age)]))))
        for n, age in enumerate((30, 40))
    ]
    start = Barrier(4)

    def published(batch: str) -> str | None:
        start.wait()
        return publish(settings, batch, None)

    with ThreadPoolExecutor(4) as pool:  # each batch by two, as when a task is tried again while the first lives on
        found = list(pool.map(published, [*batches, *batches]))
    assert sorted({*found}) == lakes.published(lake)
    assert [lakes.batch_of(name) for name in lakes.published(lake)] == batches
    for name, age in zip(lakes.published(lake), (30, 40), strict=True):
        with readable(lakes.snapshot_path(lake, name)) as file:
            assert [(row["snapshot_id"], row["age"]) for row in pq.read_table(file).to_pylist()] == [(name, age)]


@SLOW
def test_what_a_lake_holds_is_named_as_in_a_folder(lake, tmp_path, row, csv_text, source_file):
    source = source_file(csv_text([row()]))
    held = []
    for where in (lake, tmp_path / "lake"):
        settings = Settings(lake=where)
        snapshot = publish(settings, clean(settings, extract(settings, "run", source)), None)
        names = json.dumps(objects(where)).replace(lakes.batch_of(snapshot), "BATCH")
        held.append([name for name in json.loads(names) if not name.endswith(".claim")])
    assert held[0] == held[1]
    assert len(held[0]) == 5
