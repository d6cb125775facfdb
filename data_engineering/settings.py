"""The area's settings, read once at the edge and passed in."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage.places import Place

MEMORY = r"^\d+(\.\d+)? ?[KMGT]i?B$"  # as DuckDB reads it; it would take a percentage too, of another machine's size
BUNDLED_SOURCE = Path(__file__).parent / "data" / "adult.data.gz"


class Settings(BaseSettings):
    """What `DATA_*` variables say; `.env.example` describes each."""

    model_config = SettingsConfigDict(
        env_prefix="DATA_", env_ignore_empty=True, env_parse_none_str="none", frozen=True, extra="forbid"
    )

    lake: Place = Field(description="Keeps every stage's files: a folder, `s3://…` or `gs://…`; `env.sh` sets it.")
    lake_shared: bool = Field(
        default=False, description="The folders are one and the same for every worker, whatever its host."
    )
    source: str = Field(
        str(BUNDLED_SOURCE), description="CSV or Parquet file: a path or a URL; or `bigquery://project.dataset.table`."
    )
    key_column: str | None = Field(None, description="The source's own key, when it has one; else one is derived.")
    warehouse: str | None = Field(
        None, description="`bigquery://project.dataset`: tables lie and are worked on there, not in the lake."
    )
    bigquery_location: str | None = Field(None, description="Where BigQuery's jobs run; else where the data lies.")
    max_bytes_billed: int = Field(2**30, gt=0, description="The most that one BigQuery query may process, in bytes.")
    schedule: str | None = Field("@daily", description="When `publish_features` runs by itself; `none`: never.")
    max_dropped_share: float = Field(0.05, ge=0, le=1, description="Largest share of rows that cleaning may drop.")
    max_unknown_share: float = Field(0.10, ge=0, le=1, description="Largest share of `Unknown` in one column.")
    max_row_change: float = Field(0.20, ge=0, description="Largest change of the row count since the last snapshot.")
    keep_days: int = Field(30, ge=0, description="Days after which `prune` takes away what nobody needs.")
    memory_limit: str = Field(
        "1500MB", pattern=MEMORY, description="Memory that DuckDB may take in a task; the rest spills to disk."
    )
    verify_sample: int = Field(500, ge=1, description="Persons that must read the same online and offline.")
