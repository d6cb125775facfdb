"""Training sets: point-in-time correct, pulled through Feast and nothing else."""

import hashlib
import json
import logging
import warnings
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from feast import FeatureService, FeatureStore
from feast.types import FeastType, PrimitiveFeastType

from training.errors import TrainingError
from training.files import committed
from training.models import ModelEntry

log = logging.getLogger(__name__)

KEY = "person_id"
SNAPSHOT = "snapshot_id"
NOTE = b"training_set"
AGE_BIN = "age_bin"
# By what a model's scores are broken down; columns that its inputs lack come with the training service.
SLICES = ("sex", "race", AGE_BIN, "native_country", "education")


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The rows that a model learns from, ordered by `person_id`, and where they come from.

    `inputs` has a row per person and a column per feature of the inference service; `label` is the answer, a bool;
    `slices` has the columns of `SLICES`. `digest` is SHA-256 over all values and no timestamp. `lineage` is what the
    registry says of the snapshot. `held_out` has the persons that no fit and no fold sees, if a share is held out.
    """

    inputs: pd.DataFrame
    label: pd.Series
    slices: pd.DataFrame
    text_columns: tuple[str, ...]
    digest: str
    snapshot_id: str
    lineage: dict[str, str]
    holdout_share: float = 0.0
    held_out: "TrainingSet | None" = None

    def only(self, columns: list[str]) -> "TrainingSet":
        """Return the training set with these inputs alone, in this order."""
        return replace(self, inputs=self.inputs[columns])


def training_set(
    entry: ModelEntry, store: FeatureStore, as_of: datetime | None = None, holdout_share: float = 0.0
) -> TrainingSet:
    """Return the training set of the newest verified snapshot, or of the newest one not later than `as_of`.

    Raises:
        TrainingError: there is no such snapshot, or a value is missing or not finite.
    """
    return parse(entry, pull(entry, store, as_of, holdout_share))


def pull(entry: ModelEntry, store: FeatureStore, as_of: datetime | None = None, holdout_share: float = 0.0) -> pa.Table:
    """Return the training service's features of a snapshot's persons at its event time, with a note of their origin.

    `holdout_share` of the persons, chosen by a digest of their keys and so always the same ones, are held out: the
    table has them too, and the note's digest is of the others alone.
    """
    check_registered(entry, store)
    mark = snapshot(store, as_of)
    table = features(store, mark, store.get_feature_service(entry.training_service))
    declared = inputs(entry, store)
    names = [name for name in table.column_names if name in declared]
    texts = [name for name, dtype in declared.items() if dtype == PrimitiveFeastType.STRING]
    return noted(table, mark, names, texts, holdout_share)


def noted(table: pa.Table, mark: dict[str, str], inputs: list[str], texts: list[str], holdout_share: float) -> pa.Table:
    """Return features of a snapshot with a note of their origin and of what `parse` makes of them."""
    digest = _digest(table, holdout_share)
    note = {"digest": digest, "lineage": mark, "inputs": inputs, "text_columns": texts, "holdout_share": holdout_share}
    log.info("training set of %s: %s persons, digest %s", mark[SNAPSHOT], f"{len(table):,}", note["digest"])
    return table.replace_schema_metadata({NOTE: json.dumps(note)})


def features(store: FeatureStore, mark: dict[str, str], wanted: FeatureService | list[str]) -> pa.Table:
    """Return the features that a service or references name, of a marked snapshot's persons at its event time.

    Rows are ordered by `person_id`.

    Raises:
        TrainingError: a value is missing or not finite.
    """
    found = store.get_historical_features(persons(store, mark), wanted).to_arrow()
    table = found.drop(["event_timestamp"]).sort_by(KEY)
    check_values(table, mark[SNAPSHOT])
    return table


def extended(store: FeatureStore, dataset: TrainingSet, names: list[str]) -> TrainingSet:
    """Return a training set with more inputs: features of its view that its model's service does not name.

    Raises:
        TrainingError: the view has no such feature.
    """
    view = dataset.lineage["view"]
    known = {field.name: field.dtype for field in store.get_feature_view(view).features}
    if unknown := sorted(set(names) - set(known)):
        raise TrainingError(f"it needs {', '.join(unknown)}, which feature view {view} no longer has")
    table = features(store, dataset.lineage, [f"{view}:{name}" for name in names])
    if dataset.holdout_share:
        table = table.filter(_learned(table, dataset.holdout_share))
    more = [name for name in names if known[name] == PrimitiveFeastType.STRING]
    inputs_ = dataset.inputs.join(table.select(names).to_pandas())
    return replace(dataset, inputs=inputs_, text_columns=(*dataset.text_columns, *more))


def check_values(table: pa.Table, snapshot_id: str) -> None:
    """Raise TrainingError if a value is missing or is not a finite number."""
    for name in table.column_names:
        column, what = table[name], name
        usable = column.is_valid()
        if pa.types.is_floating(column.type):
            usable, what = pc.is_finite(column), f"finite {name}"
        if unusable := len(column) - (pc.sum(usable).as_py() or 0):
            raise TrainingError(
                f"snapshot {snapshot_id}: {unusable:,} of {len(table):,} persons have no {what}: "
                "run publish_features again"
            )


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
    wanted = {*columns[entry.inference_service], *SLICES, entry.label, SNAPSHOT}
    if different := sorted(wanted ^ columns[entry.training_service]):
        does = "lacks" if different[0] in wanted else "has, and training does not expect,"
        raise TrainingError(
            f"feature service {entry.training_service} in the registry of project {store.project!r} {does} "
            f"{different[0]}: run `feast apply` in feature_repo"
        )


def parse(entry: ModelEntry, table: pa.Table) -> TrainingSet:
    """Return the training set that a table from `pull` holds."""
    note = json.loads(table.schema.metadata[NOTE])
    if not note["holdout_share"]:
        return _parse(entry, table, note)
    learned = _learned(table, note["holdout_share"])
    held_out = _parse(entry, table.filter(pc.invert(learned)), note)
    return replace(_parse(entry, table.filter(learned), note), held_out=held_out)


def _parse(entry: ModelEntry, table: pa.Table, note: dict[str, Any]) -> TrainingSet:
    frame = table.drop([KEY, SNAPSHOT]).to_pandas()
    label = frame[entry.label] == entry.positive
    return TrainingSet(
        inputs=frame[note["inputs"]],
        label=label.rename(entry.name),
        slices=frame[list(SLICES)],
        text_columns=tuple(note["text_columns"]),
        digest=note["digest"],
        snapshot_id=note["lineage"][SNAPSHOT],
        lineage=note["lineage"],
        holdout_share=note["holdout_share"],
    )


def _learned(table: pa.Table, holdout_share: float) -> pa.Array:
    """Return whether each of a table's persons is learned from, and not held out."""
    first = holdout_share * 2**32
    return pa.array(
        (int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") >= first for key in table[KEY].to_pylist()),
        pa.bool_(),
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


def inputs(entry: ModelEntry, store: FeatureStore) -> dict[str, FeastType]:
    """Return the type of each input, as the inference service declares them."""
    service = store.get_feature_service(entry.inference_service)
    return {field.name: field.dtype for view in service.feature_view_projections for field in view.features}


def _digest(table: pa.Table, holdout_share: float) -> str:
    return digest_of((table.filter(_learned(table, holdout_share)) if holdout_share else table).drop([SNAPSHOT]))


def digest_of(table: pa.Table) -> str:
    """Return SHA-256 over a table's column names, types and values, as hexadecimal digits."""
    digest = hashlib.sha256(str([(field.name, str(field.type)) for field in table.schema]).encode())
    for batch in table.to_batches(max_chunksize=65_536):
        rows = pa.BufferOutputStream()
        pa.csv.write_csv(batch, rows, pa.csv.WriteOptions(include_header=False))
        digest.update(rows.getvalue())
    return digest.hexdigest()


def persons(store: FeatureStore, mark: dict[str, str]) -> pd.DataFrame:
    """Return the `person_id` and `event_timestamp` of each person of the snapshot that `mark` is of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Retrieving datasets is an experimental", RuntimeWarning)
        found: pd.DataFrame = store.get_saved_dataset(f"{mark['view']}_{mark[SNAPSHOT]}").to_df()
    return found


def save(table: pa.Table, workspace: Path) -> Path:
    """Commit a table from `pull` as a file named by its content and origin, for the other tasks; return its path."""
    note = json.loads(table.schema.metadata[NOTE])
    path = workspace / f"{note['lineage'][SNAPSHOT]}-{note['digest'][:16]}.parquet"
    with committed(path) as draft:
        pq.write_table(table, draft)
    return path


def load(entry: ModelEntry, path: str | Path) -> TrainingSet:
    """Return the training set that `save` committed at `path`.

    Raises:
        TrainingError: the file is not what was saved.
    """
    table = pq.read_table(path)
    note = json.loads(table.schema.metadata[NOTE])
    if _digest(table, note["holdout_share"]) != note["digest"]:
        raise TrainingError(f"{path}: the values are not those that were saved: clear the run's task training_set")
    return parse(entry, table)
