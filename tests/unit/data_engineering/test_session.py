"""data_engineering/session.py: the memory limit reaches DuckDB, and spills end with their process."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from data_engineering import publish
from data_engineering.session import connected
from data_engineering.settings import Settings
from storage import engine
from storage.scratch import SPILLS, spill_folder
from training import offline

# Sorts more than it may hold, says so once files are there, and is then killed.
SPILLING = """
import sys, threading, time
from pathlib import Path
from data_engineering.session import connected
from data_engineering.settings import Settings

def watch(folder):
    while not any(folder.glob("*/*")):
        time.sleep(0.01)
    print("spilling", flush=True)

lake = Path(sys.argv[1])
with connected(Settings(lake=lake, memory_limit="60MB")) as connection:
    threading.Thread(target=watch, args=[lake / ".spill"], daemon=True).start()
    while True:
        sorting = "SELECT hash(range) AS h FROM range(20_000_000) ORDER BY h OFFSET 1"
        connection.raw_sql(f"SELECT count(*) FROM ({sorting})").fetchall()
"""


def spills(lake: Path) -> list[Path]:
    return sorted((lake / SPILLS).iterdir())


def test_the_limit_and_the_folder_reach_duckdb(tmp_path):
    with connected(Settings(lake=tmp_path, memory_limit="64MiB")) as connection:
        found = connection.raw_sql("SELECT current_setting('memory_limit'), current_setting('temp_directory')")
        limit, folder = found.fetchone()
        assert (limit, [Path(folder)]) == ("64.0 MiB", spills(tmp_path))
    assert spills(tmp_path) == []


def test_a_table_beyond_the_limit_is_sorted_all_the_same(tmp_path):
    numbers = "SELECT hash(range) AS h FROM range(6_000_000)"
    with connected(Settings(lake=tmp_path, memory_limit="60MB")) as connection:
        connection.raw_sql(f"CREATE TABLE numbers AS {numbers} ORDER BY h")
        inner = "SELECT h, lag(h) OVER (ORDER BY rowid) AS before FROM numbers"
        rows, wrong = connection.raw_sql(f"SELECT count(*), count(*) FILTER (h < before) FROM ({inner})").fetchone()
        assert list(spills(tmp_path)[0].iterdir())
    assert (rows, wrong) == (6_000_000, 0)
    assert spills(tmp_path) == []


def test_what_a_killed_process_spilled_is_swept_by_the_next_and_a_living_ones_is_not(tmp_path):
    program = subprocess.Popen([sys.executable, "-c", SPILLING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout.readline() == "spilling\n"
        (theirs,) = spills(tmp_path)
        with spill_folder(tmp_path) as ours:
            assert spills(tmp_path) == sorted([theirs, ours])
            assert list(theirs.iterdir())
        program.send_signal(signal.SIGKILL)
        program.wait()
        assert spills(tmp_path) == [theirs]
        with spill_folder(tmp_path) as ours:
            assert spills(tmp_path) == [ours]
    finally:
        program.kill()
        program.communicate()


@pytest.mark.parametrize("limit", ["80%", "lots", "-1GB", "2", ""])
def test_a_limit_that_duckdb_does_not_read_is_refused(tmp_path, limit):
    with pytest.raises(ValidationError, match="memory_limit"):
        Settings(lake=tmp_path, memory_limit=limit)


def test_the_default_limit_is_one_that_duckdb_reads(tmp_path):
    with connected(Settings(lake=tmp_path)) as connection:
        assert connection.raw_sql("SELECT current_setting('memory_limit')").fetchone() == ("1.3 GiB",)


def test_duckdb_makes_its_connections_in_one_place():
    places = [Path(publish.__file__).parent, Path(offline.__file__).parent, Path(engine.__file__).parent]
    makers = [path.name for here in places for path in here.glob("*.py") if "do_connect" in path.read_text()]
    assert makers == ["engine.py"]
    assert not [path for here in places for path in here.glob("*.py") if "duckdb.connect" in path.read_text()]
