"""The models of this project: one entry each, and `dags/train_model.py` makes a DAG of each entry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class ModelEntry:
    """A yes-or-no question about a person: which label column answers it, and with which value it is a yes.

    `name` is the registered model's and its inference FeatureService's; `<name>_training` is the FeatureService
    with the label column. `parameters` go to `lightgbm.LGBMClassifier`.
    """

    name: str
    label: str
    positive: str
    question: str
    parameters: Mapping[str, int | float | str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def about(self) -> str:
        """Return what Airflow's and MLflow's pages say of the model, as Markdown."""
        return (
            f"{self.question} A yes is `{self.label}` = `{self.positive}`.\n\n"
            f"Trained on the FeatureService `{self.training_service}`, asked with the inputs of "
            f"`{self.inference_service}`, registered in MLflow as `{self.name}`."
        )

    @property
    def inference_service(self) -> str:
        """Return the name of the FeatureService with the model's inputs alone."""
        return self.name

    @property
    def training_service(self) -> str:
        """Return the name of the FeatureService that adds the label column and the snapshot id."""
        return f"{self.name}_training"


never_married = ModelEntry(
    name="never_married",
    label="marital_status",
    positive="Never-married",
    question="Has this person never been married?",
)

high_income = ModelEntry(
    name="high_income",
    label="income_bracket",
    positive=">50K",
    question="Does this person earn more than 50,000 US dollars a year?",
)

MODELS = {entry.name: entry for entry in (never_married, high_income)}
