"""Training sets through Feast, beside a bare ASOF join with the same tie-break on the same Parquet files."""

import os

import duckdb
import pandas as pd
import pyarrow as pa
from contest import Inputs, Part, Ready
from feast import FeatureStore

from training import features, offline
from training.dataset import digest_of
from training.models import never_married
from training.settings import Settings


def asked() -> tuple[FeatureStore, dict[str, str], list[str]]:
    """Return the store, the newest snapshot's mark and the training features."""
    store = FeatureStore()
    service = store.get_feature_service(never_married.training_service)
    names = [feature.name for view in service.feature_view_projections for feature in view.features]
    return store, features.snapshot(store), names


def warm(store: FeatureStore, mark: dict[str, str]) -> None:
    """Ask for nobody's features, so that what Feast and Ibis import at first use is there."""
    nobody = pd.DataFrame({"person_id": ["nobody"], "event_timestamp": [pd.Timestamp(mark["event_timestamp"])]})
    store.get_historical_features(nobody, [f"{mark['view']}:age"]).to_arrow()


def ours(_: Inputs) -> Ready:
    """Pull as the DAG does: spine, join, order, codes and checks."""
    store, mark, _names = asked()
    service = store.get_feature_service(never_married.training_service)
    warm(store, mark)

    def call() -> pa.Table:
        with offline.limited(Settings()):
            return features.historical(store, mark, service)

    return call, digest_of


def bare(_: Inputs) -> Ready:
    """Join in DuckDB, with the default memory limit: 80 % of the machine's."""
    _store, mark, names = asked()
    files = f"{os.environ['DATA_LAKE']}/census"
    sql = f"""
        WITH spine AS (SELECT person_id, event_timestamp FROM '{files}/{mark["snapshot_id"]}.parquet'),
        rows AS (SELECT * FROM '{files}/*.parquet' QUALIFY 1 = row_number() OVER (
            PARTITION BY person_id, event_timestamp ORDER BY created_timestamp DESC))
        SELECT spine.person_id, {", ".join(f"rows.{name}" for name in names)} FROM spine ASOF LEFT JOIN rows
        ON spine.person_id = rows.person_id AND spine.event_timestamp >= rows.event_timestamp ORDER BY 1"""
    connection = duckdb.connect()
    return lambda: connection.sql(sql).to_arrow_table(), digest_of


def stock(_: Inputs) -> Ready:
    """Pull as Feast's documentation shows: a pandas spine in, a pandas frame out."""
    store, mark, names = asked()
    service = store.get_feature_service(never_married.training_service)
    warm(store, mark)

    def call() -> pd.DataFrame:
        spine = store.get_saved_dataset(f"{mark['view']}_{mark['snapshot_id']}").to_df()
        return store.get_historical_features(spine, service).to_df()

    def digest(found: pd.DataFrame) -> str:
        frame = found.sort_values("person_id")[["person_id", *names]]
        return digest_of(pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata())

    return call, digest


PART = Part(
    "training_sets",
    "get_historical_features",
    {"ours": ours, "bare": bare, "stock": stock},
    ratio=2,
    memory=2.5,
    snapshots=(1, 10),
    most={"stock": 100, "bare": 1000},
)
