"""Reading online while a snapshot is materialized, and after a materialization was killed."""

import json
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest


def ages(store, *snapshots: str) -> dict[str, dict[str, int]]:
    """Return each person's age by snapshot: the second snapshot's persons are all a year older."""
    found = {}
    for snapshot in snapshots:
        table = pq.read_table(store.var / f"lake/census/{snapshot}.parquet", columns=["person_id", "age"])
        found[snapshot] = dict(zip(*table.to_pydict().values(), strict=True))
    return found


@pytest.fixture
def reading(store, tmp_path: Path):
    """Read from four threads of another process; the call that is given ends them and returns what they saw."""
    state = store.before("materialize")
    first, second = sorted(path.stem for path in (store.var / "lake/census").iterdir())
    assert second == state["publish"]
    out = tmp_path / "seen"
    store.job(["read"], {"ages": ages(store, first, second)}, background=True, out=str(out))

    def end() -> dict:
        (store.var / "stop").touch()
        wait_for(out)
        while not (text := out.read_text()):
            time.sleep(0.02)
        answer = json.loads(text)
        assert answer["error"] is None
        return answer["state"]

    wait_for(store.var / "reading")
    yield state, first, second, end
    (store.var / "stop").touch()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def test_four_readers_see_whole_rows_and_no_error_while_a_snapshot_is_materialized(store, reading):
    state, first, second, end = reading
    for _ in range(3):  # the same interval again, as retries do
        assert store.job(["materialize"], state)["error"] is None
    time.sleep(0.3)
    seen = end()
    assert seen["wrong"] == []
    assert set(seen["seen"]) == {first, second}


def test_readers_are_served_after_a_materialization_was_killed(store, reading):
    state, _, _, end = reading
    call = "bulk_engine.sqlite_rows.SqliteRows._newer_online"  # in the third batch's transaction
    assert store.job(["materialize"], state, kill=[call, 3, "after"])["status"] == -9
    looked = store.job(["look"], state)  # a process that reads the registry anew
    assert looked["error"] is None
    assert set(looked["state"]["look"]["online"]["age"]) != {None}
    seen = end()
    assert seen["wrong"] == []
