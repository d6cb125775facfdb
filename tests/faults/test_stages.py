"""A step that is killed and tried again leaves what an undisturbed run leaves, and nothing half done at any time."""

import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ONLINE = "bulk_engine.sqlite_rows.SqliteRows"
REGISTRY = "feast.infra.registry.sql.SqlRegistry"
CLIENT = "mlflow.MlflowClient"
REPLACE, FSYNC = "pathlib.Path.replace", "os.fsync"

KILLS = [
    ("extract", REPLACE, 1, "after"),  # the raw table without a manifest
    ("clean", REPLACE, 1, "before"),
    ("publish", FSYNC, 1, "before"),
    ("publish", REPLACE, 1, "after"),
    ("materialize", f"{ONLINE}._newer_online", 3, "after"),  # in the third batch of 50
    ("verify", f"{REGISTRY}.apply_saved_dataset", 1, "after"),
    ("training_set", f"{CLIENT}.create_run", 1, "after"),
    ("cross_validate", f"{CLIENT}.log_text", 1, "after"),  # the evaluation, not yet said to be complete
    ("gate", f"{CLIENT}.log_text", 2, "before"),
    ("fit", "shutil.copy2", 3, "after"),  # some of the model's files
    ("register", f"{CLIENT}.create_model_version", 1, "before"),
    ("register", f"{CLIENT}.create_model_version", 1, "after"),
    ("promote", f"{CLIENT}.set_registered_model_tag", 1, "after"),  # the record of a move that has not happened
    ("promote", f"{CLIENT}.set_registered_model_alias", 1, "after"),
]
# `make faults` has these too.
SWEEP = [
    ("extract", "data_engineering.source.new_batch", 1, "before"),  # a copy of the source is there
    ("extract", FSYNC, 1, "before"),  # a draft of the raw table
    ("extract", REPLACE, 2, "before"),
    ("extract", REPLACE, 2, "after"),
    ("clean", REPLACE, 1, "after"),
    ("validate", REPLACE, 1, "before"),
    ("publish", REPLACE, 1, "before"),
    ("materialize", f"{ONLINE}.write", 1, "before"),
    ("materialize", f"{ONLINE}.write", 4, "after"),
    ("materialize", f"{REGISTRY}.apply_materialization", 1, "before"),
    ("materialize", f"{REGISTRY}.apply_materialization", 1, "after"),
    ("verify", f"{REGISTRY}.apply_saved_dataset", 1, "before"),
    ("training_set", REPLACE, 1, "before"),
    ("training_set", f"{CLIENT}.create_experiment", 1, "after"),
    ("cross_validate", f"{CLIENT}.log_batch", 1, "after"),
    ("gate", f"{CLIENT}.log_batch", 1, "after"),
    ("fit", f"{CLIENT}.create_logged_model", 1, "after"),
    ("fit", f"{CLIENT}.log_model_artifacts", 1, "after"),
    ("fit", f"{CLIENT}.log_outputs", 1, "after"),
    ("fit", f"{CLIENT}.finalize_logged_model", 1, "after"),
    ("register", f"{CLIENT}.create_registered_model", 1, "after"),
    ("promote", f"{CLIENT}.delete_registered_model_alias", 1, "after"),
    ("promote", f"{CLIENT}.finalize_logged_model", 1, "before"),  # the model that is asked by person
    ("promote", f"{CLIENT}.set_terminated", 1, "before"),
]


def check_old_or_new(store) -> None:
    """Check, without Feast and MLflow, that whoever reads now reads whole rows and no unevaluated model."""
    snapshots = list((store.var / "lake/census").glob("[!.]*"))
    assert len(snapshots) in {1, 2}
    assert {pq.read_table(path).num_rows for path in snapshots} == {300}
    with sqlite3.connect(store.var / "feast/online.db") as database:
        cells = database.execute("SELECT entity_key, event_ts FROM census_census").fetchall()
    assert set(Counter(cells).values()) == {14}  # a person's features are all of one instant
    assert len(Counter(cells)) == 300
    with sqlite3.connect(store.var / "mlflow/mlflow.db") as database:
        tags = database.execute(
            "SELECT t.value FROM registered_model_aliases a LEFT JOIN model_version_tags t "
            "ON t.name = a.name AND t.version = a.version AND t.key = 'gate' WHERE a.name = 'never_married'"
        ).fetchall()
    assert set(tags) <= {("passed",)}


@pytest.mark.parametrize(
    ("stage", "call", "number", "when"),
    [*KILLS, *(pytest.param(*kill, marks=pytest.mark.sweep) for kill in SWEEP)],
    ids=lambda value: str(value).rpartition(".")[2],
)
def test_a_killed_step_tried_again_leaves_what_an_undisturbed_run_leaves(store, stage, call, number, when):
    state = store.before(stage)
    assert store.job([stage], state, kill=[call, number, when])["status"] == -9
    check_old_or_new(store)
    done = store.job([*store.rest(stage), "look"], state)
    assert done["error"] is None
    assert done["state"]["look"] == store.undisturbed(stage)


@pytest.mark.parametrize(
    ("stage", "largest_file"),
    [
        ("publish", 4_000),
        ("materialize", 20_000),
        ("fit", 20_000),
        pytest.param("register", 4_096, marks=pytest.mark.sweep),
    ],
    ids=str,
)
def test_a_full_disk_fails_the_step_and_a_retry_with_space_completes_it(store, stage, largest_file):
    state = store.before(stage)
    failed = store.job([stage], state, largest_file=largest_file)
    assert failed["status"] == 0
    assert failed["error"], "the file size limit did not bite"
    check_old_or_new(store)
    done = store.job([*store.rest(stage), "look"], state)
    assert done["error"] is None
    assert done["state"]["look"] == store.undisturbed(stage)


def test_a_clock_behind_the_last_snapshot_changes_nothing_but_instants(store):
    done = store.job(["extract", "clean", "validate", "publish", "materialize", "verify", "look"],
                     store.before("extract"), clock_days=-400)  # fmt: skip
    assert done["error"] is None
    assert done["state"]["look"] == store.undisturbed("extract")
    first, second = sorted(path.name for path in (store.var / "lake/census").iterdir())
    assert second.startswith(done["state"]["extract"])
    assert first < second
    trained = store.job(["training_set"], done["state"])["state"]["training_set"]["path"]
    assert Path(trained).name.startswith(done["state"]["publish"])


LOCK = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN EXCLUSIVE'); print(1, flush=True); "
LOCKED = [
    ("materialize", "feast/online.db"),
    ("verify", "feast/registry.db"),
    pytest.param("register", "mlflow/mlflow.db", marks=pytest.mark.sweep),
]


@pytest.mark.parametrize(("stage", "file"), LOCKED, ids=str)
def test_a_database_locked_for_a_moment_is_waited_for(store, stage, file):
    state = store.before(stage)
    command = [sys.executable, "-c", LOCK + "import time; time.sleep(1.5)", str(store.var / file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        holder.stdout.readline()
        began = time.monotonic()
        done = store.job([*store.rest(stage), "look"], state)
        assert time.monotonic() - began > 1
    assert done["error"] is None
    assert done["state"]["look"] == store.undisturbed(stage)


def test_a_database_that_stays_locked_fails_the_step_and_a_retry_completes_it(store):
    state = store.before("materialize")
    command = [sys.executable, "-c", LOCK + "sys.stdin.read()", str(store.var / "feast/online.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        holder.stdout.readline()
        failed = store.job(["materialize"], state)
        holder.stdin.close()
    assert failed["error"] == "OperationalError: database is locked"
    check_old_or_new(store)
    done = store.job([*store.rest("materialize"), "look"], state)
    assert done["state"]["look"] == store.undisturbed("extract")
