"""Clients of the online store that read while others write, in a process each; its one argument is the job.

Feast is imported once, before the processes are forked; nothing else happens in this one.
"""

import gzip
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).parents[2]
CLIENTS = 8
OTHER_INCOME = {" <=50K\n": " >50K\n", " >50K\n": " <=50K\n"}
Rows = dict[str, dict[str, dict[str, Any]]]


def watched(snapshots: list[str], writers: list[str], seconds: float = 0, pause: float = 0) -> dict[str, Any]:
    """Return what clients saw while the writers, `materialize` or `apply`, did their work at once, and how that ended.

    Eight clients read persons of the last snapshot, which is what is materialized, for some seconds at least.
    """
    job = json.dumps({"snapshots": snapshots, "writers": writers, "seconds": seconds, "pause": pause})
    command = [sys.executable, "-W", "ignore", "-m", "tests.integration.clients", job]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"log": done.stderr}


def other_incomes(folder: Path, lines: int | None = None) -> Path:
    """Write the census's first lines, in which every person has the other income; the keys stay the same."""
    from data_engineering.settings import BUNDLED_SOURCE

    source = folder / "other.csv"
    with gzip.open(BUNDLED_SOURCE, "rt") as census, source.open("w") as file:
        for line in census.readlines()[:lines]:
            rest, comma, income = line.rpartition(",")
            file.write(rest + comma + OTHER_INCOME.get(income, income))
    return source


def rows_of(snapshots: list[str]) -> Rows:
    """Return each snapshot's persons with their features, as the lake has them."""
    import pyarrow.parquet as pq

    lake = Path(os.environ["DATA_LAKE"]) / "census"
    tables = {name: pq.read_table(lake / f"{name}.parquet") for name in snapshots}
    dropped = ["event_timestamp", "created_timestamp"]
    return {name: {row["person_id"]: row for row in table.drop(dropped).to_pylist()} for name, table in tables.items()}


def read(seed: int, rows: Rows, begun: Any, stopped: Callable[[], bool], told: Any) -> None:
    """Read single persons until told to stop; tell what came, what was whole in no snapshot, and milliseconds each."""
    from feast import FeatureStore

    store, pick, persons = FeatureStore(), Random(seed), sorted(list(rows.values())[-1])
    names = [f"census:{field.name}" for field in store.get_feature_view("census").features]
    counts: Counter[str] = Counter()
    wrong, milliseconds = [], []
    while not stopped():
        person = pick.choice(persons)
        began = time.perf_counter()
        try:
            found = store.get_online_features(names, [{"person_id": person}]).to_dict()
        except Exception as error:  # noqa: BLE001  any error is what must not happen
            wrong.append(repr(error))
            continue
        milliseconds.append((time.perf_counter() - began) * 1000)
        row = {name: values[0] for name, values in found.items()}
        counts[row["snapshot_id"]] += 1
        if row != rows.get(row["snapshot_id"], {}).get(person):
            wrong.append(repr(row))
        begun.set()
    told.put({"counts": dict(counts), "errors": len(wrong), "wrong": wrong[:5], "milliseconds": milliseconds})


def write(what: str, snapshot_id: str, together: Any) -> None:
    """Do what a task or a program does, at the instant at which the other writers begin."""
    from data_engineering import steps
    from data_engineering.settings import Settings
    from tests.applying import feast_apply

    sys.stdout = sys.stderr  # Feast prints, and what this program prints is its answer
    together.wait()
    feast_apply() if what == "apply" else steps.materialize(Settings(), snapshot_id)


def main(snapshots: list[str], writers: list[str], seconds: float, pause: float) -> None:
    """Fork the clients and, once all read, the writers; print what came of both."""
    import feast.repo_operations  # noqa: F401  what the processes need in memory

    import data_engineering.steps  # noqa: F401

    fork, rows = multiprocessing.get_context("fork"), rows_of(snapshots)
    stop, told, together = fork.Event(), fork.SimpleQueue(), fork.Barrier(max(1, len(writers)))
    begun = [fork.Event() for _ in range(CLIENTS)]
    stopped = partial(stop.wait, pause)
    readers = [fork.Process(target=read, args=(seed, rows, event, stopped, told)) for seed, event in enumerate(begun)]
    for reader in readers:
        reader.start()
    assert all(event.wait(60) for event in begun)
    until = time.monotonic() + seconds
    writing = [fork.Process(target=write, args=(what, snapshots[-1], together)) for what in writers]
    for writer in writing:
        writer.start()
    for writer in writing:
        writer.join()
    time.sleep(max(0.3, until - time.monotonic()))
    stop.set()
    seen = [told.get() for _ in readers]
    print(json.dumps({"seen": seen, "exitcodes": [writer.exitcode for writer in writing]}))  # noqa: T201


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
