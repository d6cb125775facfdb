"""The area's settings, read once at the edge and passed in."""

import os

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage.places import Place

MEMORY = r"^\d+(\.\d+)? ?[KMGT]i?B$"  # as DuckDB reads it; it would take a percentage too, of another machine's size
CORES = len(os.sched_getaffinity(0))


class Settings(BaseSettings):
    """What `TRAINING_*` and MLflow's variables say; `.env.example` describes each."""

    model_config = SettingsConfigDict(
        env_prefix="TRAINING_", env_ignore_empty=True, frozen=True, extra="forbid", populate_by_name=True
    )

    tracking_uri: str = Field(validation_alias="MLFLOW_TRACKING_URI", description="MLflow's tracking and registry.")
    workspace: Place = Field(description="Where one DAG run's tasks share training sets: a folder, `s3://…`, `gs://…`.")
    predictions: Place = Field(description="Where `score_people` writes, in the lake: erasures reach it there.")
    artifacts: Place | None = Field(None, description="Where MLflow keeps artifacts; unset where a server decides.")
    min_accuracy: float = Field(0.8, ge=0, le=1, description="Default of the gate's Param.")
    alpha: float = Field(0.05, gt=0, le=1, description="Largest p-value at which one recipe counts as better.")
    margin: float = Field(0.002, ge=0, lt=1, description="Accuracy that a champion which is not worse may lack.")
    holdout_share: float = Field(0.0, ge=0, lt=1, description="Share of persons that no fit and no fold sees.")
    min_slice_rows: int = Field(200, ge=1, description="Persons from which on a slice is judged.")
    approval_hours: float = Field(24.0, gt=0, description="After which a promotion that nobody approved is given up.")
    memory_limit: str = Field(
        "1GB", pattern=MEMORY, description="Memory that DuckDB may take for a training set; the rest spills to disk."
    )
    threads: int = Field(CORES, ge=1, description="Cores that cross-validation and fit may use.")
    keep_days: int = Field(30, ge=0, description="Days after which `prune` takes away training sets and unused pins.")
    git_commit: str | None = Field(None, description="Commit to record where the code runs outside a git checkout.")
