"""The pictures of a report, as matplotlib figures; scikit-learn's displays and shap draw what they can."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay, RocCurveDisplay
from sklearn.pipeline import Pipeline

from training.dataset import TrainingSet

WIDTH = 5.2  # of all, so that texts are of one size where they stand side by side
OURS, THEIRS, PLAIN = "#1d5fa6", "#c4570d", "#6b7280"
SHAP_PERSONS = 2_000
SHAP_SEED = 1
CURVE = {
    "name": "out of fold",
    "curve_kwargs": {"color": OURS},
    "plot_chance_level": True,
    "chance_level_kw": {"color": PLAIN, "linewidth": 1},
}
Labels = npt.NDArray[np.bool_]
Probabilities = npt.NDArray[np.float64]

styled = rc_context(
    {
        "axes.edgecolor": "#9ca3af",
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": "medium",
        "axes.titleweight": "bold",
        "figure.dpi": 120,
        "grid.color": "#e5e7eb",
        "legend.frameon": False,
        "lines.linewidth": 2,
    }
)


def _axes(title: str, height: float = 4) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_axisbelow(True)
    return figure, axes


@styled
def confusion_matrix(label: Labels, probability: Probabilities) -> Figure:
    """Return the confusion matrix of the out-of-fold predictions."""
    figure, axes = _axes("Confusion matrix: persons")
    axes.grid(visible=False)
    drawn = {"cmap": "Blues", "colorbar": False, "values_format": ",d", "display_labels": ["no", "yes"]}
    ConfusionMatrixDisplay.from_predictions(label, probability > 0.5, ax=axes, **drawn)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


@styled
def roc_curve(label: Labels, probability: Probabilities) -> Figure:
    """Return the ROC curve of the out-of-fold probabilities."""
    figure, axes = _axes("ROC curve")
    RocCurveDisplay.from_predictions(label, probability, ax=axes, **CURVE)
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    return figure


@styled
def precision_recall(label: Labels, probability: Probabilities) -> Figure:
    """Return the precision-recall curve of the out-of-fold probabilities."""
    figure, axes = _axes("Precision and recall")
    PrecisionRecallDisplay.from_predictions(label, probability, ax=axes, **CURVE)
    axes.set(xlabel="recall", ylabel="precision")
    return figure


@styled
def calibration(label: Labels, probability: Probabilities) -> Figure:
    """Return the share of yes in ten bins of the probability, above the number of persons in each."""
    figure = Figure(figsize=(WIDTH, 4), layout="constrained")
    curve, persons = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    CalibrationDisplay.from_predictions(label, probability, n_bins=10, ax=curve, name="out of fold", color=OURS)
    curve.set_title("Calibration")
    curve.set(xlabel=None, ylabel="share of yes", xlim=(0, 1))
    persons.hist(probability, bins=10, range=(0, 1), color=OURS, rwidth=0.9, zorder=2)
    persons.set(xlabel="mean probability of a yes", ylabel="persons")
    return figure


@styled
def fold_scores(scores: Mapping[str, Sequence[float]]) -> Figure:
    """Return the accuracies in each fold, a line of dots and their mean for each of `scores`, the first being ours."""
    figure, axes = _axes("Accuracy in each of the folds", 1.1 + 0.36 * len(scores))
    for place, folds in enumerate(scores.values()):
        _dots(axes, place, folds, OURS if place == 0 else PLAIN)
    axes.set_yticks(range(len(scores)), scores)
    axes.invert_yaxis()
    axes.set_xlabel("accuracy; each dot a fold, the line their mean")
    return figure


@styled
def fold_differences(ours: Sequence[float], theirs: Mapping[str, Sequence[float]], margin: float) -> Figure:
    """Return our accuracy minus each opponent's, fold by fold; `margin` is the loss that may be tolerated."""
    figure, axes = _axes("This model minus the other", 1.1 + 0.36 * len(theirs))
    for place, folds in enumerate(theirs.values()):
        _dots(axes, place, np.subtract(ours, folds), THEIRS)
    axes.axvline(0, color="black", linewidth=1)
    axes.axvline(-margin, color="black", linewidth=1, linestyle=":")
    axes.set_yticks(range(len(theirs)), theirs)
    axes.set_ylim(len(theirs) - 0.5, -0.5)
    axes.set_xlabel(f"difference in accuracy; dotted: margin {margin:g}")
    return figure


def _dots(axes: Axes, place: int, values: Sequence[float] | npt.NDArray[np.float64], colour: str) -> None:
    axes.scatter(values, np.full(len(values), place), s=26, alpha=0.45, color=colour, linewidths=0)
    axes.plot([np.mean(values)] * 2, [place - 0.3, place + 0.3], color=colour)


@styled
def importance(fitted: Pipeline) -> Figure:
    """Return each input's importance: the total gain of the splits that use it, as shares."""
    figure, axes = _axes("Importance by gain")
    shares = gains(fitted)
    axes.barh(list(shares), list(shares.values()), color=OURS)
    axes.invert_yaxis()
    axes.set_xlabel("share of total gain")
    axes.grid(visible=False, axis="y")
    return figure


def gains(fitted: Pipeline) -> dict[str, float]:
    """Return each input's share of the total gain, the largest first."""
    gain = fitted["classify"].booster_.feature_importance("gain")
    shares = zip(inputs(fitted), (gain / gain.sum()).tolist(), strict=True)
    return dict(sorted(shares, key=lambda item: -item[1]))


def inputs(fitted: Pipeline) -> list[str]:
    """Return the inputs' names in the order in which the classifier gets them."""
    return [name.partition("__")[2] for name in fitted["encode"].get_feature_names_out()]


def contributions(fitted: Pipeline, rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the SHAP values (Lundberg et al. 2020) in log-odds, a row per person, in the order of `inputs`.

    LightGBM computes them itself; `shap.TreeExplainer` would ask it for the same.
    """
    found = fitted["classify"].booster_.predict(fitted["encode"].transform(rows), pred_contrib=True)
    values: npt.NDArray[np.float64] = found[:, :-1]  # the last is the expected value
    return values


@styled
def shap_values(fitted: Pipeline, dataset: TrainingSet) -> Figure:
    """Return the SHAP values of a sample of persons, a dot each; inputs that are texts stay grey."""
    import shap  # it compiles for seconds, and only this picture needs it

    frame = dataset.inputs.sample(min(SHAP_PERSONS, len(dataset.inputs)), random_state=SHAP_SEED)
    names = inputs(fitted)
    figure, axes = _axes("SHAP values")
    explained = shap.Explanation(
        values=contributions(fitted, frame), data=frame[names].to_numpy(dtype=object), feature_names=names
    )
    shap.plots.beeswarm(explained, max_display=len(names), ax=axes, plot_size=None, s=9, show=False)
    for dots in axes.collections:
        dots.set_rasterized(True)
    axes.tick_params(labelsize="medium")
    axes.set_xlabel("change of the log-odds of a yes", fontsize="medium")
    return figure


def data_uri(figure: Figure) -> str:
    """Return a figure as an SVG in a `data:` address, so that a page needs no other file."""
    drawn = io.BytesIO()
    with rc_context({"svg.hashsalt": "report"}):  # the same ids, and so the same file, whenever the same is drawn
        figure.savefig(drawn, format="svg", metadata={"Date": None}, dpi=200)
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.getvalue()).decode()}"
