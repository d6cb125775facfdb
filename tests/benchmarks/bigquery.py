"""`python tests/benchmarks/bigquery.py`: what reading through BigQuery costs beside the bare client, on its emulator.

The emulator's own work is in the wall's seconds of both sides alike; the processor's are this process's alone.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

ROUNDS = 5


def main() -> int:
    """Run in an environment that leads to the emulator, or make one and run there."""
    if "BENCH_INSIDE" in os.environ:
        return _measure()
    import subprocess

    from tests.bigquery.demo import cloud
    from tests.conftest import _environment

    with TemporaryDirectory() as folder, cloud(Path(folder)) as settings:
        environment = _environment(Path(folder) / "var", **settings, BENCH_INSIDE="1")
        subprocess.run(["feast", "--chdir", "feature_repo", "apply"], env=environment, check=True, capture_output=True)
        return subprocess.run([sys.executable, "-W", "ignore", __file__], env=environment, check=False).returncode


def _measure() -> int:
    import pyarrow as pa
    from feast import FeatureStore

    from data_engineering import bigquery_client, bigquery_table, steps
    from data_engineering.settings import Settings
    from training import dataset, features
    from training.models import never_married

    settings, store = Settings(), FeatureStore()
    service = bigquery_client.connect(settings)
    table = bigquery_table.find(service, settings.source, None)
    path = settings.lake / "read.parquet"
    _race(
        "read, rows/s",
        table.rows,
        {
            "streamed to Parquet": lambda: bigquery_table.copy(service, table, path),
            "bare to_arrow": lambda: service.client.query(table.query).to_arrow(create_bqstorage_client=False),
        },
    )
    batch = steps.clean(settings, steps.extract(settings, "bench", None))
    snapshot = steps.publish(settings, steps.validate(settings, batch), force=False)
    assert snapshot
    from data_engineering.materialize import apply_mark

    apply_mark(store, settings, snapshot)
    mark = features.snapshot(store)
    persons = features.persons(store, mark)
    service_ = store.get_feature_service(never_married.training_service)

    def bare() -> pa.Table:
        return store.get_historical_features(persons.copy(), service_).to_arrow()

    _race("training set, rows/s", len(persons), {"pull": lambda: dataset.pull(never_married, store), "bare job": bare})
    return 0


def _race(title: str, rows: int, ways: dict[str, Callable[[], object]]) -> None:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            way()
            found[name].append((time.perf_counter() - wall, time.process_time() - processor))
    for name, seconds in found.items():
        wall, processor = (sorted(values)[ROUNDS // 2] for values in zip(*seconds, strict=True))
        sys.stdout.write(
            f"{title:<22}{name:<22}{rows / wall:>10,.0f}  wall {wall:.2f} s  processor {processor:.2f} s\n"
        )


if __name__ == "__main__":
    sys.exit(main())
