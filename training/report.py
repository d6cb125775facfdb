"""The pictures that a run shows of its model."""

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay
from sklearn.pipeline import Pipeline

from training.evaluate import Scores


def confusion_matrix(label: npt.NDArray[np.bool_], scores: Scores) -> Figure:
    """Return the confusion matrix of the out-of-fold predictions."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    ConfusionMatrixDisplay.from_predictions(
        label, scores.out_of_fold > 0.5, ax=figure.subplots(), cmap="Blues", colorbar=False, values_format=",d"
    )
    return figure


def roc_curve(label: npt.NDArray[np.bool_], scores: Scores) -> Figure:
    """Return the ROC curve of the out-of-fold probabilities."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    RocCurveDisplay.from_predictions(
        label, scores.out_of_fold, ax=figure.subplots(), plot_chance_level=True, name="out of fold"
    )
    return figure


def importance(fitted: Pipeline) -> Figure:
    """Return each input's importance: the total gain of the splits that use it, as shares."""
    names = [name.split("__")[-1] for name in fitted["encode"].get_feature_names_out()]
    gain = fitted["classify"].booster_.feature_importance("gain")
    order = np.argsort(gain)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.barh(np.array(names)[order], gain[order] / gain.sum())
    axes.set_xlabel("share of total gain")
    return figure
