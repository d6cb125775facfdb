"""What training asks of Feast: which snapshot, whose persons, with which features."""

import warnings
from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureService, FeatureStore
from feast.types import FeastType

from training.errors import TrainingError
from training.models import ModelEntry

KEY = "person_id"
TIMESTAMP = "event_timestamp"
SNAPSHOT = "snapshot_id"
AGE_BIN = "age_bin"
# Feast joins that many at a time: what DuckDB holds does not grow with the snapshot, and since spine and snapshots
# are in key order, it reads of the snapshots' files what each part needs.
PERSONS_AT_ONCE = 250_000
# By what a model's scores are broken down; columns that its inputs lack come with the training service.
SLICES = ("sex", "race", AGE_BIN, "native_country", "education")


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


def persons(store: FeatureStore, mark: dict[str, str]) -> pd.DataFrame:
    """Return the `person_id` and `event_timestamp` of each person of the snapshot that `mark` is of, in key order."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Retrieving datasets is an experimental", RuntimeWarning)
        job = store.get_saved_dataset(f"{mark['view']}_{mark[SNAPSHOT]}")
        found = job.to_arrow().select([KEY, TIMESTAMP]).sort_by(KEY)
    # Keys stay in Arrow, where a text takes its bytes; as Python strings they take twice that and seconds.
    keys = pd.Series(found[KEY], dtype=pd.ArrowDtype(pa.string()))
    return pd.DataFrame({KEY: keys, TIMESTAMP: found[TIMESTAMP].to_pandas()})


def historical(store: FeatureStore, mark: dict[str, str], wanted: FeatureService | list[str]) -> pa.Table:
    """Return the features that a service or references name, of a marked snapshot's persons at its event time.

    Rows are ordered by `person_id`; texts but that one are dictionary-encoded.

    Raises:
        TrainingError: a value is missing or not finite.
    """
    spine = persons(store, mark)
    parts = []
    for first in range(0, max(len(spine), 1), PERSONS_AT_ONCE):
        part = spine.iloc[first : first + PERSONS_AT_ONCE].reset_index(drop=True)
        found = store.get_historical_features(part, wanted).to_arrow()
        parts.append(with_codes(found.drop([TIMESTAMP])).sort_by(KEY))
    table = pa.concat_tables(parts).unify_dictionaries()
    check_values(table, mark[SNAPSHOT])
    return table


def with_codes(table: pa.Table) -> pa.Table:
    """Return the table with each text but the key as a code of its value: a byte or four in place of a text."""
    columns = {
        name: column.dictionary_encode() if pa.types.is_string(column.type) and name != KEY else column
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return pa.table(columns)


def inputs(entry: ModelEntry, store: FeatureStore) -> dict[str, FeastType]:
    """Return the type of each input, as the inference service declares them."""
    service = store.get_feature_service(entry.inference_service)
    return {field.name: field.dtype for view in service.feature_view_projections for field in view.features}


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
