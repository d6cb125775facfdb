"""Training sets: point-in-time correct, pulled through Feast and nothing else."""

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from feast import FeatureStore
from feast.types import PrimitiveFeastType

from storage.places import place, readable
from training import features
from training.encoded import as_served
from training.errors import TrainingError
from training.features import KEY, SLICES, SNAPSHOT
from training.files import committed
from training.models import ModelEntry

log = logging.getLogger(__name__)

NOTE = b"training_set"


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The rows that a model learns from, ordered by `person_id`, and where they come from.

    `inputs` has a row per person and a column per feature of the inference service, texts as pandas' categories;
    `label` is the answer, a bool;
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

    @property
    def rows(self) -> pd.DataFrame:
        """Return the inputs as the store gives them, which is how a registered model takes them: texts as strings."""
        return as_served(self.inputs)

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
    features.check_registered(entry, store)
    mark = features.snapshot(store, as_of)
    table = features.historical(store, mark, store.get_feature_service(entry.training_service))
    declared = features.inputs(entry, store)
    names = [name for name in table.column_names if name in declared]
    texts = [name for name, dtype in declared.items() if dtype == PrimitiveFeastType.STRING]
    return noted(table, mark, names, texts, holdout_share)


def noted(table: pa.Table, mark: dict[str, str], inputs: list[str], texts: list[str], holdout_share: float) -> pa.Table:
    """Return features of a snapshot with a note of their origin and of what `parse` makes of them."""
    digest = _digest(table, holdout_share)
    note = {"digest": digest, "lineage": mark, "inputs": inputs, "text_columns": texts, "holdout_share": holdout_share}
    log.info("training set of %s: %s persons, digest %s", mark[SNAPSHOT], f"{len(table):,}", note["digest"])
    return table.replace_schema_metadata({NOTE: json.dumps(note)})


def extended(store: FeatureStore, dataset: TrainingSet, names: list[str]) -> TrainingSet:
    """Return a training set with more inputs: features of its view that its model's service does not name.

    Raises:
        TrainingError: the view has no such feature.
    """
    view = dataset.lineage["view"]
    known = {field.name: field.dtype for field in store.get_feature_view(view).features}
    if unknown := sorted(set(names) - set(known)):
        raise TrainingError(f"it needs {', '.join(unknown)}, which feature view {view} no longer has")
    table = features.historical(store, dataset.lineage, [f"{view}:{name}" for name in names])
    if dataset.holdout_share:
        table = table.filter(_learned(table, dataset.holdout_share))
    more = [name for name in names if known[name] == PrimitiveFeastType.STRING]
    inputs_ = dataset.inputs.join(_frame(table.select(names)))
    return replace(dataset, inputs=inputs_, text_columns=(*dataset.text_columns, *more))


def parse(entry: ModelEntry, table: pa.Table) -> TrainingSet:
    """Return the training set that a table from `pull` holds."""
    note = json.loads(table.schema.metadata[NOTE])
    if not note["holdout_share"]:
        return _parse(entry, table, note)
    learned = _learned(table, note["holdout_share"])
    held_out = _parse(entry, table.filter(pc.invert(learned)), note)
    return replace(_parse(entry, table.filter(learned), note), held_out=held_out)


def _parse(entry: ModelEntry, table: pa.Table, note: dict[str, Any]) -> TrainingSet:
    frame = _frame(table.drop([KEY, SNAPSHOT]))
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


def _frame(table: pa.Table) -> pd.DataFrame:
    """Return a table as pandas has it, with each column of texts as categories in their order."""
    frame: pd.DataFrame = table.to_pandas(strings_to_categorical=True)
    for name in frame.select_dtypes("category"):
        frame[name] = frame[name].cat.reorder_categories(sorted(frame[name].cat.categories))
    return frame


def _learned(table: pa.Table, holdout_share: float) -> pa.Array:
    """Return whether each of a table's persons is learned from, and not held out."""
    first = holdout_share * 2**32
    return pa.array(
        (int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") >= first for key in table[KEY].to_pylist()),
        pa.bool_(),
    )


def _digest(table: pa.Table, holdout_share: float) -> str:
    return digest_of((table.filter(_learned(table, holdout_share)) if holdout_share else table).drop([SNAPSHOT]))


def digest_of(table: pa.Table) -> str:
    """Return SHA-256 over a table's column names, types and values, as hexadecimal digits.

    A dictionary-encoded column has the digest of its plain values.
    """
    plain = pa.schema([(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in table.schema])
    digest = hashlib.sha256(str([(field.name, str(field.type)) for field in plain]).encode())
    for batch in table.to_batches(max_chunksize=65_536):
        rows = pa.BufferOutputStream()
        pa.csv.write_csv(batch.cast(plain), rows, pa.csv.WriteOptions(include_header=False))
        digest.update(rows.getvalue())
    return digest.hexdigest()


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
    with readable(place(path)) as file:
        # One thread for a stream: apache/arrow#50482, as in pyproject.toml.
        table = pq.read_table(file, use_threads=isinstance(file, str))
    note = json.loads(table.schema.metadata[NOTE])
    if _digest(table, note["holdout_share"]) != note["digest"]:
        raise TrainingError(f"{path}: the values are not those that were saved: clear the run's task training_set")
    return parse(entry, table)
