"""training/offline.py: the memory limit reaches the DuckDB that Feast asks, for as long as it is wanted."""

from pathlib import Path

import ibis
import pytest

from storage.scratch import SPILLS
from training.offline import limited


def told(name: str) -> str:
    """Return a setting of the DuckDB that Ibis, and so Feast, asks by default."""
    return ibis.get_backend().raw_sql(f"SELECT current_setting('{name}')").fetchall()[0][0]


def test_the_limit_and_the_folder_reach_feasts_duckdb_and_end(settings):
    before = ibis.options.default_backend
    with limited(settings.model_copy(update={"memory_limit": "64MiB"})):
        assert told("memory_limit") == "64.0 MiB"
        assert [Path(told("temp_directory"))] == list((settings.workspace / SPILLS).iterdir())
        assert ibis.memtable({"a": [1]}).a.sum().execute() == 1
    assert ibis.options.default_backend is before
    assert list((settings.workspace / SPILLS).iterdir()) == []


def test_the_backend_of_before_is_back_after_an_error(settings):
    before = ibis.options.default_backend
    with pytest.raises(ZeroDivisionError), limited(settings):
        1 / 0  # noqa: B018
    assert ibis.options.default_backend is before
