"""What the two areas agree on: the person, the census features, and what each model may read of them."""

import os

from feast import BigQuerySource, Entity, FeatureService, FeatureView, Field, FileSource, Project, RepoConfig, ValueType
from feast.data_format import ParquetFormat
from feast.types import Int64, String

OWNER = "data-engineering@example.com"

project = Project(name="census", description="US Census features for models about people", owner=OWNER)

person = Entity(
    name="person",
    join_keys=["person_id"],
    value_type=ValueType.STRING,
    description="One person of the 1994 US census extract",
    owner=OWNER,
    tags={"area": "data-engineering"},
)

SNAPSHOTS = {
    "name": "census_snapshots",
    "timestamp_field": "event_timestamp",
    "created_timestamp_column": "created_timestamp",
    "description": "Published census snapshots; the event timestamp is the instant at which the source was read",
    "owner": OWNER,
}


class ObjectSource(FileSource):  # type: ignore[misc]
    """Files in an object store; `feast apply` does not look at them.

    It would through pyarrow, which has credentials of its own, tries for minutes where it finds none, and knows no
    patterns.
    """

    def validate(self, config: RepoConfig) -> None:
        """Accept the source."""


# One table in BigQuery, or one file per snapshot; a snapshot exists once its rows or its file do.
if dataset := os.environ.get("DATA_WAREHOUSE", "").removeprefix("bigquery://"):
    snapshots = BigQuerySource(table=f"{dataset}.census", **SNAPSHOTS)
else:
    lake, parquet = os.environ["DATA_LAKE"].rstrip("/"), ParquetFormat()
    if "://" in lake:  # DuckDB lists a folder's files by itself, and objects by a pattern
        snapshots = ObjectSource(path=f"{lake}/census/*.parquet", file_format=parquet, **SNAPSHOTS)
    else:
        snapshots = FileSource(path=f"{lake}/census", file_format=parquet, **SNAPSHOTS)

census = FeatureView(
    name="census",
    entities=[person],
    source=snapshots,
    schema=[
        Field(name="person_id", dtype=String, description="Source's key, or a digest of the row without its labels"),
        Field(name="age", dtype=Int64, description="Years"),
        Field(name="workclass", dtype=String, description="Kind of employer"),
        Field(name="education", dtype=String, description="Highest level reached"),
        Field(name="marital_status", dtype=String, description="Label column of never_married"),
        Field(name="occupation", dtype=String, description="Group of occupations"),
        Field(name="race", dtype=String, description="As in the census; a sensitive attribute"),
        Field(name="sex", dtype=String, description="As in the census; a sensitive attribute"),
        Field(name="capital_gain", dtype=Int64, description="US dollars in the year"),
        Field(name="capital_loss", dtype=Int64, description="US dollars in the year"),
        Field(name="hours_per_week", dtype=Int64, description="Usual hours worked"),
        Field(name="native_country", dtype=String, description="Country of birth; a sensitive attribute"),
        Field(name="income_bracket", dtype=String, description="US dollars a year; label column of high_income"),
        Field(name="age_bin", dtype=Int64, description="(16,29], (29,39], (39,49], (49,59], (59,100] as 1 to 5"),
        Field(name="snapshot_id", dtype=String, description="Snapshot that the row was published in"),
    ],
    description="Cleaned census columns, age bins and the snapshot they come from",
    owner=OWNER,
    tags={"area": "data-engineering", "dag": "publish_features"},
)

# Neither the label column nor anything that it derives from.
NEVER_MARRIED_INPUTS = [
    "age",
    "workclass",
    "education",
    "occupation",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income_bracket",
]

never_married = FeatureService(
    name="never_married",
    features=[census[NEVER_MARRIED_INPUTS]],
    description="Inputs of the never_married model, as it takes them to predict",
    owner="machine-learning@example.com",
    tags={"model": "never_married", "use": "inference"},
)

never_married_training = FeatureService(
    name="never_married_training",
    features=[census[[*NEVER_MARRIED_INPUTS, "age_bin", "marital_status", "snapshot_id"]]],
    description="The same inputs with the age bin that scores are broken down by, the label column and the snapshot",
    owner="machine-learning@example.com",
    tags={"model": "never_married", "use": "training"},
)

HIGH_INCOME_INPUTS = [
    "age",
    "workclass",
    "education",
    "marital_status",
    "occupation",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
]

high_income = FeatureService(
    name="high_income",
    features=[census[HIGH_INCOME_INPUTS]],
    description="Inputs of the high_income model, as it takes them to predict",
    owner="machine-learning@example.com",
    tags={"model": "high_income", "use": "inference"},
)

high_income_training = FeatureService(
    name="high_income_training",
    features=[census[[*HIGH_INCOME_INPUTS, "age_bin", "income_bracket", "snapshot_id"]]],
    description="The same inputs with the age bin that scores are broken down by, the label column and the snapshot",
    owner="machine-learning@example.com",
    tags={"model": "high_income", "use": "training"},
)
