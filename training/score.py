"""Batch scoring: the champion's answer for every person of the newest snapshot, as one file in the lake."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import mlflow.pyfunc
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureStore

from training import features, offline, register as registry, tracking
from training.errors import TrainingError
from training.features import KEY, SNAPSHOT
from training.files import committed
from training.models import MODELS, ModelEntry
from training.settings import Settings

log = logging.getLogger(__name__)

ROWS = 65_536  # persons whose features are in memory at once
SCHEMA = pa.schema(
    {
        KEY: pa.string(),
        "prediction": pa.bool_(),
        "probability": pa.float64(),
        "error": pa.string(),
        "model": pa.string(),
        "version": pa.string(),
        SNAPSHOT: pa.string(),
        "scored_at": pa.timestamp("us", "UTC"),
    }
)


def score(settings: Settings, model: str) -> dict[str, str]:
    """Return the `path` of the champion's predictions for the newest verified snapshot, or why it is `skipped`.

    Skipped is a model without a champion, and a file that is there: it holds what this call would write.

    Raises:
        TrainingError: there is no verified snapshot, or the feature service lacks what the champion needs.
    """
    entry = MODELS[model]
    champion = registry.champion(tracking.connect(settings), entry)
    if not champion:
        return {"skipped": f"{model} has no champion"}
    store, version = FeatureStore(), str(champion.version)
    mark = features.snapshot(store)
    path = settings.predictions / model / f"{mark[SNAPSHOT]}-v{version}.parquet"
    if path.exists():
        return {"skipped": f"version {version} has scored snapshot {mark[SNAPSHOT]}"}
    with offline.limited(settings), committed(path) as draft:
        with pq.ParquetWriter(draft, SCHEMA) as file:
            for table in predictions(store, entry, version, mark):
                file.write_table(table)
        rows = pq.read_metadata(draft).num_rows
    log.info("version %s of %s scored %s persons: %s", version, model, f"{rows:,}", path)
    return {"path": str(path)}


def predictions(store: FeatureStore, entry: ModelEntry, version: str, mark: dict[str, str]) -> Iterator[pa.Table]:
    """Give a version's predictions for a snapshot's persons, ordered by `person_id`, in tables of `SCHEMA`."""
    # Without its signature, under which a missing number in one row would fail all others.
    champion = mlflow.pyfunc.load_model(f"models:/{entry.name}/{version}").get_raw_model()
    facts = {"model": entry.name, "version": version, SNAPSHOT: mark[SNAPSHOT], "scored_at": datetime.now(UTC)}
    service = store.get_feature_service(entry.inference_service)
    persons = features.persons(store, mark).sort_values(KEY)
    for start in range(0, len(persons), ROWS):
        found = store.get_historical_features(persons[start : start + ROWS], service).to_arrow().sort_by(KEY)
        if missing := set(champion.columns) - set(found.column_names):
            raise TrainingError(
                f"{entry.name} version {version} needs {', '.join(sorted(missing))}, and feature service "
                f"{service.name} does not give it: train again, or roll the service back"
            )
        rows = found.to_pandas(integer_object_nulls=True)  # else one missing number would make all of them floats
        answers = champion.predict(rows).assign(**{KEY: rows[KEY], **facts})
        yield pa.Table.from_pandas(answers, SCHEMA, preserve_index=False)


def order(path: Path) -> tuple[str, int]:
    """Return by what files of predictions are older or newer: their snapshot, then the version."""
    snapshot_id, _, version = path.stem.rpartition("-v")
    return snapshot_id, int(version)
