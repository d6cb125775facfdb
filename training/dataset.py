"""Training sets: point-in-time correct, pulled through Feast and nothing else."""

import hashlib
import json
import logging
import secrets
import warnings
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from feast import FeatureService, FeatureStore
from feast.types import PrimitiveFeastType

from training.errors import TrainingError
from training.models import ModelEntry

log = logging.getLogger(__name__)

KEY = "person_id"
SNAPSHOT = "snapshot_id"
NOTE = b"training_set"


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The rows that a model learns from, ordered by `person_id`, and where they come from.

    `inputs` has a row per person and a column per feature of the inference service; `label` is the answer, a bool.
    `digest` is SHA-256 over all values and no timestamp. `lineage` is what the registry says of the snapshot.
    """

    inputs: pd.DataFrame
    label: pd.Series
    text_columns: tuple[str, ...]
    digest: str
    snapshot_id: str
    lineage: dict[str, str]

    def only(self, columns: list[str]) -> "TrainingSet":
        """Return the training set with these inputs alone, in this order."""
        return replace(self, inputs=self.inputs[columns])


def training_set(entry: ModelEntry, store: FeatureStore, as_of: datetime | None = None) -> TrainingSet:
    """Return the training set of the newest verified snapshot, or of the newest one not later than `as_of`.

    Raises:
        TrainingError: there is no such snapshot, or a value is missing.
    """
    return parse(entry, pull(entry, store, as_of))


def pull(entry: ModelEntry, store: FeatureStore, as_of: datetime | None = None) -> pa.Table:
    """Return the training service's features of a snapshot's persons at its event time, with a note of their origin."""
    check_registered(entry, store)
    mark = snapshot(store, as_of)
    return rows(store, mark, store.get_feature_service(entry.training_service), text_columns(entry, store))


def rows(store: FeatureStore, mark: dict[str, str], features: FeatureService | list[str], texts: list[str]) -> pa.Table:
    """Return what `pull` does, of a snapshot by its mark and of features by their service or references."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Retrieving datasets is an experimental", RuntimeWarning)
        spine = store.get_saved_dataset(f"{mark['view']}_{mark[SNAPSHOT]}").to_df()
    table = store.get_historical_features(spine, features).to_arrow().drop(["event_timestamp"]).sort_by(KEY)
    for name in table.column_names:
        if missing := table[name].null_count:
            raise TrainingError(
                f"snapshot {mark[SNAPSHOT]}: {missing:,} of {len(table):,} persons have no {name}: "
                "run publish_features again"
            )
    note = {"digest": digest_of(table.drop([SNAPSHOT])), "lineage": mark, "text_columns": texts}
    log.info("training set of %s: %s persons, digest %s", mark[SNAPSHOT], f"{len(table):,}", note["digest"])
    return table.replace_schema_metadata({NOTE: json.dumps(note)})


def check_registered(entry: ModelEntry, store: FeatureStore) -> None:
    """Raise TrainingError unless Feast's registry has the model's services with all that a training needs of them."""
    columns = {
        service.name: {feature.name for view in service.feature_view_projections for feature in view.features}
        for service in store.list_feature_services()
    }
    for name in (entry.inference_service, entry.training_service):
        if name not in columns:
            raise TrainingError(
                f"feature service {name} is not in the registry of project {store.project!r}: "
                "run `feast apply` in feature_repo"
            )
    wanted = {*columns[entry.inference_service], entry.label, SNAPSHOT}
    if different := sorted(wanted ^ columns[entry.training_service]):
        does = "lacks" if different[0] in wanted else "has, and training does not expect,"
        raise TrainingError(
            f"feature service {entry.training_service} in the registry of project {store.project!r} {does} "
            f"{different[0]}: run `feast apply` in feature_repo"
        )


def parse(entry: ModelEntry, table: pa.Table) -> TrainingSet:
    """Return the training set that a table from `pull` holds."""
    note = json.loads(table.schema.metadata[NOTE])
    frame = table.drop([KEY, SNAPSHOT]).to_pandas()
    label = frame.pop(entry.label) == entry.positive
    return TrainingSet(
        inputs=frame,
        label=label.rename(entry.name),
        text_columns=tuple(note["text_columns"]),
        digest=note["digest"],
        snapshot_id=note["lineage"][SNAPSHOT],
        lineage=note["lineage"],
    )


def snapshot(store: FeatureStore, as_of: datetime | None = None) -> dict[str, str]:
    """Return what Feast's registry says of the newest verified snapshot, not later than `as_of` if that is given."""
    marks = [dataset.tags for dataset in store.list_saved_datasets(tags={"verified": "true"})]
    instants = {datetime.fromisoformat(tags["event_timestamp"]): tags for tags in marks}
    if as_of and not as_of.tzinfo:
        as_of = as_of.replace(tzinfo=UTC)
    usable = [instant for instant in instants if as_of is None or instant <= as_of]
    if not usable:
        when = f" at {as_of.isoformat()}, the first is of {min(instants).isoformat()}" if as_of and instants else ""
        raise TrainingError(f"project {store.project} has no verified snapshot{when}: run the DAG publish_features")
    newest: dict[str, str] = instants[max(usable)]
    return newest


def text_columns(entry: ModelEntry, store: FeatureStore) -> list[str]:
    """Return the inputs whose Feast type is String, as the inference service declares them."""
    service = store.get_feature_service(entry.inference_service)
    fields = [feature for view in service.feature_view_projections for feature in view.features]
    return [feature.name for feature in fields if feature.dtype == PrimitiveFeastType.STRING]


def digest_of(table: pa.Table) -> str:
    """Return SHA-256 over a table's column names, types and values, as hexadecimal digits."""
    digest = hashlib.sha256(str([(field.name, str(field.type)) for field in table.schema]).encode())
    for batch in table.to_batches(max_chunksize=65_536):
        rows = pa.BufferOutputStream()
        pa.csv.write_csv(batch, rows, pa.csv.WriteOptions(include_header=False))
        digest.update(rows.getvalue())
    return digest.hexdigest()


def save(table: pa.Table, workspace: Path) -> Path:
    """Commit a table from `pull` as a file named by its content and origin, for the other tasks; return its path."""
    note = json.loads(table.schema.metadata[NOTE])
    path = workspace / f"{note['lineage'][SNAPSHOT]}-{note['digest'][:16]}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)  # by an earlier try, killed while it wrote
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        pq.write_table(table, draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def load(entry: ModelEntry, path: str | Path) -> TrainingSet:
    """Return the training set that `save` committed at `path`.

    Raises:
        TrainingError: the file is not what was saved.
    """
    table = pq.read_table(path)
    if digest_of(table.drop([SNAPSHOT])) != json.loads(table.schema.metadata[NOTE])["digest"]:
        raise TrainingError(f"{path}: the values are not those that were saved: clear the run's task training_set")
    return parse(entry, table)
