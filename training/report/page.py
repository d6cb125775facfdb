"""The report of a training as one HTML page that needs no other file, and as a model card in Markdown."""

import platform
import re
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import Pipeline

from training import flavor
from training.dataset import TrainingSet
from training.models import ModelEntry
from training.records import Decision, Evaluation, Rules
from training.report import charts
from training.slices import AGE_BINS, calibration_error

PAGE_ARTIFACT = "report/report.html"
CARD_ARTIFACT = "report/model_card.md"
# What is said of a run's metrics, if it has them.
FIGURES = {
    "grouped_accuracy": ("Grouped accuracy", "persons of equal inputs in one fold"),
    "roc_auc": ("ROC AUC", "mean of the folds"),
    "log_loss": ("Log loss", "mean of the folds"),
    "holdout_accuracy": ("Hold-out accuracy", "persons that no fold has seen"),
    "holdout_roc_auc": ("Hold-out ROC AUC", "persons that no fold has seen"),
    "holdout_log_loss": ("Hold-out log loss", "persons that no fold has seen"),
}


@dataclass(frozen=True, eq=False)
class Facts:
    """All that a report says of a training; `fitted` and `version` are None where the gate refused.

    `out_of_fold` has a probability per person of `dataset`, in its order; `tags` and `metrics` are the run's.
    """

    entry: ModelEntry
    evaluation: Evaluation
    rules: Rules
    decision: Decision
    tags: dict[str, str]
    metrics: dict[str, float]
    dataset: TrainingSet
    out_of_fold: npt.NDArray[np.float64]
    fitted: Pipeline | None = None
    version: str | None = None

    @property
    def label(self) -> npt.NDArray[np.bool_]:
        """Return the answers, one per person."""
        return self.dataset.label.to_numpy()

    @property
    def confusion(self) -> dict[str, int]:
        """Return the number of persons by predicted and true answer."""
        said, true = self.out_of_fold > 0.5, self.label
        pairs = {"true yes": said & true, "false yes": said & ~true, "true no": ~said & ~true, "false no": ~said & true}
        return {name: int(found.sum()) for name, found in pairs.items()}


class Contender(NamedTuple):
    """A recipe scored on the same folds; without `folds` where it could not be, and `note` says why."""

    name: str
    folds: list[float] | None
    note: str = ""

    @property
    def mean(self) -> float:
        """Return the mean accuracy over the folds."""
        return float(np.mean(self.folds or np.nan))

    @property
    def deviation(self) -> float:
        """Return the folds' standard deviation of accuracy."""
        return float(np.std(self.folds or np.nan))

    def beaten(self, ours: "Contender") -> int:
        """Return the number of folds in which our accuracy is higher."""
        return int(np.greater(ours.folds or np.nan, self.folds or np.nan).sum())


class Picture(NamedTuple):
    """An image and the words that stand for it."""

    uri: str
    alt: str


def page(facts: Facts) -> str:
    """Return the report as HTML."""
    return _rendered("report.html", facts, pictures=_pictures(facts))


def card(facts: Facts) -> str:
    """Return the model card as Markdown (its headings: Mitchell et al. 2019)."""
    return _rendered("model_card.md", facts)


def link(experiment_id: str, run_id: str) -> str:
    """Return a Markdown link to a run's report, for descriptions on MLflow's pages."""
    return f"[Report]({place(experiment_id, run_id)})"


def place(experiment_id: str, run_id: str) -> str:
    """Return where on MLflow's pages a run's report is, below the address of its server."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{PAGE_ARTIFACT}"


def _rendered(template: str, facts: Facts, **more: Any) -> str:
    environment = Environment(
        loader=PackageLoader("training.report"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"plain": _plain, "words": lambda name: name.replace("_", " ")}
    return environment.get_template(template).render(
        facts=facts,
        ours=Contender("this model", facts.evaluation.accuracy),
        contenders=[*_opponents(facts.evaluation), *_baselines(facts.evaluation)],
        slices={name: list(found) for name, found in groupby(facts.evaluation.slices, lambda one: one.column)},
        figures=FIGURES,
        slices_from=_floor(facts),
        age_bins=AGE_BINS,
        calibration_error=calibration_error(facts.label, facts.out_of_fold),
        accuracy=float(((facts.out_of_fold > 0.5) == facts.label).mean()),
        versions=[f"python=={platform.python_version()}", *flavor.REQUIREMENTS],
        machine=f"{platform.system()} {platform.machine()}",
        **more,
    )


def _plain(value: object) -> str:
    """Return text for a cell of a Markdown table in which nothing is markup."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(value).split()))


def _floor(facts: Facts) -> float:
    """Return where the slices' axis begins: the tenth below the lowest interval."""
    return min((int(found.accuracy_low * 10) / 10 for found in facts.evaluation.slices), default=0.0)


def _opponents(evaluation: Evaluation) -> list[Contender]:
    """Return the champion, and the best recipe so far, as far as there are such."""
    champion, best = evaluation.champion, evaluation.best
    named = {f"champion, version {champion.version}" if champion else "": champion, "best on this training set": best}
    return [Contender(name, one.accuracy, one.reason) for name, one in named.items() if one]


def _baselines(evaluation: Evaluation) -> list[Contender]:
    """Return the baselines, the best first."""
    found = [Contender(f"baseline: {name}", folds) for name, folds in evaluation.baselines.items()]
    return sorted(found, key=lambda one: -one.mean)


def _pictures(facts: Facts) -> dict[str, Picture]:
    """Return the pictures by name; those of a fitted model only where there is one."""
    label, probability = facts.label, facts.out_of_fold
    opponents, baselines = _opponents(facts.evaluation), _baselines(facts.evaluation)
    scored = {one.name: one.folds for one in (*opponents, *baselines) if one.folds}
    strongest = {one.name: one.folds for one in (*opponents, baselines[0]) if one.folds}
    accuracy, counts = facts.evaluation.accuracy, ", ".join(f"{n:,} {name}" for name, n in facts.confusion.items())
    drawn: dict[str, tuple[Figure, str]] = {
        "folds": (
            charts.fold_scores({"this model": accuracy, **scored}),
            f"Accuracy in each fold: ours between {min(accuracy):.4f} and {max(accuracy):.4f}; means in the table",
        ),
        "differences": (
            charts.fold_differences(accuracy, strongest, facts.rules.margin),
            f"Difference in accuracy in each fold to {' and '.join(strongest)}; means in the table",
        ),
        "roc": (charts.roc_curve(label, probability), f"ROC curve, area {roc_auc_score(label, probability):.4f}"),
        "precision": (
            charts.precision_recall(label, probability),
            f"Precision-recall curve, average precision {average_precision_score(label, probability):.4f}",
        ),
        "calibration": (
            charts.calibration(label, probability),
            f"Calibration curve, expected calibration error {calibration_error(label, probability):.4f}",
        ),
        "confusion": (charts.confusion_matrix(label, probability), f"Confusion matrix: {counts}"),
    }
    if facts.fitted is not None:
        gain = charts.gains(facts.fitted)
        most = ", ".join(f"{name} {share:.0%}" for name, share in list(gain.items())[:3])
        drawn["gain"] = charts.importance(facts.fitted), f"Share of the total gain by input; first {most}"
        drawn["shap"] = (
            charts.shap_values(facts.fitted, facts.dataset),
            "SHAP values of a sample of persons, inputs from the most to the least important",
        )
    return {name: Picture(charts.data_uri(figure), alt) for name, (figure, alt) in drawn.items()}
