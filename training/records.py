"""What a training measured, by which rules it is judged and what was decided: the records that every run keeps."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Policy = Literal["not_worse", "better", "always", "never"]


class Record(BaseModel):
    """Immutable, and strict: an unknown field or a number that is none is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Slice(Record):
    """How well one group of persons is predicted, out of fold. `judged` is False for a group too small to judge."""

    column: str
    value: str
    rows: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    lift: float = Field(description="Accuracy minus that of always saying what most of the group are")
    roc_auc: float | None = Field(description="None where all have one answer")
    calibration_error: float
    judged: bool


class Opponent(Record):
    """Another recipe's accuracy on the same folds; None where it could not be had, and `reason` says why."""

    version: str
    recipe: str
    training_set_digest: str
    accuracy: list[float] | None
    reason: str = ""


class Evaluation(Record):
    """What a training measured: accuracies are one per fold, in the folds' order."""

    run_id: str
    recipe: str
    snapshot_id: str
    training_set_digest: str
    accuracy: list[float]
    baselines: dict[str, list[float]] = Field(min_length=1)
    champion: Opponent | None
    best: Opponent | None = Field(description="Of all other runs on this training set the one with the best mean")
    slices: list[Slice]


class Rules(Record):
    """By what a training is judged: the DAG's Params and the settings."""

    min_accuracy: float = Field(0.8, ge=0, le=1)
    policy: Policy = "not_worse"
    alpha: float = Field(0.05, gt=0, le=1)
    margin: float = Field(0.002, ge=0, le=1)
    worst_lift: float | None = None
    largest_gap: float | None = None
    force: bool = False


class Check(Record):
    """One question of a decision and its answer; difference and p-value where folds were compared."""

    name: str
    passed: bool
    reason: str
    difference: float | None = None
    p_value: float | None = None


class Decision(Record):
    """Whether the model may be registered (`passed`), whether it may become champion, why, and against whom."""

    passed: bool
    gate_reason: str
    promote: bool
    reason: str
    champion_met: str
    checks: list[Check]
