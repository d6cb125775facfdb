"""Cross-validation beside 15 bare LightGBM fits on ready-made arrays, and beside the naive way."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
from lightgbm import LGBMClassifier
from measure import Seconds, childrens_cpu, console, interleaved, quiet, save, timed, verdict
from rich.table import Table
from sklearn.base import clone
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score

from training import dataset as datasets, evaluate
from training.dataset import TrainingSet
from training.models import never_married
from training.settings import CORES

FOLDS = RepeatedStratifiedKFold(n_splits=5, n_repeats=3, random_state=1)
NAIVE_FOLDS = 5  # the first repeat's, counted three times: all 15 take minutes and say nothing more
AGE_BINS = [16, 29, 39, 49, 59, 100]
ROUNDS = 3
Arrays = tuple[npt.NDArray[Any], ...]


def run(path: Path) -> None:
    """Measure, print and save; `path` is a saved training set."""
    dataset = datasets.load(never_married, path)
    pipeline = evaluate.recipe(never_married, dataset)
    ready = ready_made(dataset)
    evaluate.cross_validate(pipeline, dataset, CORES)  # warm
    calls = {"bare": lambda: bare(ready), "ours": lambda: evaluate.cross_validate(pipeline, dataset, CORES).accuracy}
    results, seconds = interleaved(calls, ROUNDS)
    assert results["ours"].tolist() == results["bare"].tolist(), "the bare fits score otherwise"
    inputs = one_hot(dataset)
    before = childrens_cpu()
    with quiet():
        results["naive"], seconds["naive"] = timed(lambda: naive(inputs, dataset.label.to_numpy()))
    seconds["naive"].cpu += childrens_cpu() - before  # joblib's processes
    assert abs(results["naive"].mean() - 0.830) < 0.003, results["naive"].mean()
    times = len(results["ours"]) / NAIVE_FOLDS
    seconds["naive"] = Seconds(seconds["naive"].wall * times, seconds["naive"].cpu * times)
    tell(results, seconds)


def ready_made(dataset: TrainingSet) -> list[Arrays]:
    """Return each fold's arrays, encoded outside the clock: training inputs and label, test inputs and label."""
    encode, label = evaluate.recipe(never_married, dataset)["encode"], dataset.label.to_numpy()
    found = []
    for train, test in FOLDS.split(dataset.inputs, label):
        fitted = clone(encode).fit(dataset.inputs.iloc[train])
        arrays = (fitted.transform(dataset.inputs.iloc[rows]) for rows in (train, test))
        found.append((next(arrays), label[train], next(arrays), label[test]))
    return found


def bare(ready: list[Arrays]) -> npt.NDArray[np.float64]:
    """Return the accuracies of 15 fits with our parameters and our one level of parallelism."""

    def accuracy(train: Any, train_label: Any, test: Any, test_label: Any) -> float:
        model = LGBMClassifier(n_jobs=1, **evaluate.DETERMINISTIC).fit(train, train_label)
        return float(((model.predict_proba(test)[:, 1] > 0.5) == test_label).mean())

    return np.array(joblib.Parallel(CORES, backend="threading")(joblib.delayed(accuracy)(*fold) for fold in ready))


def one_hot(dataset: TrainingSet) -> npt.NDArray[Any]:
    """Return what the usual example feeds its model: one-hot texts and ages binned, as one array of objects."""
    binned = dataset.inputs.assign(age=pd.cut(dataset.inputs["age"], AGE_BINS, labels=False))
    return pd.get_dummies(binned, columns=list(dataset.text_columns)).to_numpy(dtype=object)


def naive(inputs: npt.NDArray[Any], label: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the accuracies with two levels of parallelism: all cores in joblib, and all again in LightGBM."""
    folds = list(FOLDS.split(inputs, label))[:NAIVE_FOLDS]
    scores: npt.NDArray[np.float64] = cross_val_score(
        LGBMClassifier(verbose=-1), inputs, label, cv=folds, scoring="accuracy", n_jobs=-1
    )
    return scores


def tell(results: dict[str, Any], seconds: dict[str, Any]) -> None:
    """Print the table and save the figures."""
    table = Table("(b) cross-validation, 15 folds", "wall s", "CPU s", "accuracy")
    names = {
        "bare": "bare LightGBM, arrays ready",
        "ours": "ours",
        "naive": "naive: objects, two levels (5 folds × 3)",
    }
    for name, text in names.items():
        taken = seconds[name]
        table.add_row(text, f"{taken.wall:.2f}", f"{taken.cpu:.2f}", f"{results[name].mean():.4f}")
    console.print(table)
    wall = {name: taken.wall for name, taken in seconds.items()}
    figures = {
        "ours to bare, wall": wall["ours"] / wall["bare"],
        "ours to bare, CPU": seconds["ours"].cpu / seconds["bare"].cpu,
        "naive to ours, wall": wall["naive"] / wall["ours"],
    }
    beside = evaluate.side_by_side(CORES)
    console.print(f"  one level of parallelism: {beside} folds side by side, 1 LightGBM thread each ({CORES} cores)")
    console.print(f"  ours to bare   wall {verdict(figures['ours to bare, wall'], 1.2)}")
    console.print(f"  ours to bare   CPU {verdict(figures['ours to bare, CPU'], 1.2)}")
    console.print(f"  naive to ours  wall {verdict(figures['naive to ours, wall'], 5, at_least=True)}")
    accuracies = {f"{name}, accuracy": float(found.mean()) for name, found in results.items()}
    save("cross_validation", figures | accuracies | {name: asdict(taken) for name, taken in seconds.items()})
