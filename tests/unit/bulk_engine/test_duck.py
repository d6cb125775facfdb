"""What DuckDB spills stays no longer than until the next run, whatever ended the last one."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from bulk_engine.duck import NEW_SECONDS, connected

ROOT = Path(__file__).parents[3]
SPILLING = """
import sys, time
from bulk_engine.duck import connected
with connected("50MB") as connection:
    connection.execute("CREATE TABLE numbers AS SELECT sha256(i::VARCHAR) FROM range(2000000) t(i)")
    print("spilled", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def spills(tmp_path, monkeypatch):
    """Return the folder below which folders for spilled data lie."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def age(folder: Path) -> None:
    long_ago = time.time() - 2 * NEW_SECONDS
    os.utime(folder, (long_ago, long_ago))


def test_what_a_killed_process_spilled_is_swept_by_the_next_and_a_living_ones_is_not(spills):
    program = subprocess.Popen([sys.executable, "-c", SPILLING], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert program.stdout.readline() == "spilled\n"
        (theirs,) = spills.iterdir()
        assert list(theirs.iterdir())
        age(theirs)
        with connected("50MB"):
            assert theirs in spills.iterdir()
        program.send_signal(signal.SIGKILL)
        program.wait()
        assert list(spills.iterdir()) == [theirs]
        age(theirs)
        with connected("50MB"):
            assert theirs not in spills.iterdir()
        assert list(spills.iterdir()) == []
    finally:
        program.kill()
        program.communicate()
