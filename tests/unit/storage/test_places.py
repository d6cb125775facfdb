"""storage/places.py: which addresses are places, and what this machine keeps of those elsewhere."""

import os
import tempfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from data_engineering.lake import new_batch
from data_engineering.settings import Settings as DataSettings
from storage import places
from storage.places import address, is_folder, local, place, remove_below, uploaded


@pytest.mark.parametrize("given", ["/srv/lake", "lake", "file:///srv/lake", Path("/srv/lake")])
def test_a_path_is_a_folder(given):
    where = place(given)
    assert type(where) is type(Path())
    assert is_folder(where)
    assert local(where) == where
    assert address(where) == (Path.cwd() / "lake" if given == "lake" else Path("/srv/lake")).as_uri()


@pytest.mark.parametrize("given", ["s3://bucket/some/prefix", "gs://bucket/some/prefix", "gs://bucket/some/prefix/"])
def test_an_address_is_a_place_that_paths_are_made_from(given):
    where = place(given)
    assert not is_folder(where)
    assert str(where / "census" / "a.parquet") == f"{given.rstrip('/')}/census/a.parquet"
    assert (where / "a.parquet").stem == "a"
    assert place(where) is where
    assert address(where) == given.rstrip("/")


@pytest.mark.parametrize("given", ["az://bucket/lake", "http://example.com/lake", "://lake"])
def test_another_store_is_refused(given):
    with pytest.raises(ValueError, match=f"{given}: write a folder, s3://bucket/prefix or gs://bucket/prefix"):
        place(given)


@pytest.mark.parametrize("given", ["s3://", "gs:///lake"])
def test_an_address_without_a_bucket_is_refused(given):
    with pytest.raises(ValueError, match=r"names no bucket: write .*://bucket/prefix"):
        place(given)


def test_a_store_without_its_driver_is_refused_where_the_setting_is_read(monkeypatch):
    monkeypatch.setattr(places, "find_spec", lambda _: None)
    with pytest.raises(ValidationError, match="s3fs is not installed: add this project's extra 's3'"):
        DataSettings(lake="s3://bucket/lake")


def test_drafts_of_objects_are_in_a_folder_that_nobody_else_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = local(place("s3://bucket/lake"))
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert local(place("gs://bucket/lake")) == folder


def test_a_folder_that_somebody_else_made_is_not_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"census-pipelines-{os.getuid() + 1}").mkdir()
    somebody = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: somebody)
    with pytest.raises(PermissionError, match=r"is somebody else's: set TMPDIR"):
        local(place("s3://bucket/lake"))


@pytest.mark.parametrize("store", ["s3", "gs"])
def test_what_another_process_wrote_is_seen_at_once(lake_on, store):
    where = place(lake_on(store))
    (where / "a").write_text("1")
    assert [path.name for path in where.iterdir()] == ["a"]
    theirs = type(where.fs)(**{**where.fs.storage_options, "skip_instance_cache": True})
    theirs.pipe_file((where / "b").path, b"2")
    assert sorted(path.name for path in where.iterdir()) == ["a", "b"]
    theirs.rm_file((where / "a").path)
    assert [path.name for path in where.glob("*")] == ["b"]
    remove_below(where)
    assert not list(where.glob("*"))
    remove_below(where)


@pytest.mark.parametrize("store", ["s3", "gs"])
def test_a_bucket_that_is_not_there_is_named(object_stores, store):
    where = place(f"{store}://no-such-bucket/lake")
    why = "check that the bucket is there, and that you may read and write in it"
    with pytest.raises(OSError, match=f"{where}/staging.*: {why}"):
        new_batch(where)
    with pytest.raises(OSError, match=f"{where}/a: .*: {why}"), uploaded(where / "a") as draft:
        draft.touch()
