"""A registered version made again, from its own tags and the feature store as of then."""

from dataclasses import dataclass
from itertools import permutations, zip_longest

import mlflow
from feast import FeatureStore
from mlflow.entities.model_registry import ModelVersion
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from training import dataset as datasets, evaluate, features, flavor, lineage
from training.dataset import TrainingSet
from training.errors import TrainingError
from training.features import SNAPSHOT
from training.models import ModelEntry


@dataclass(frozen=True)
class Reproduction:
    """The first difference between a version and what its training makes today, and why; both empty if identical."""

    difference: str = ""
    reason: str = ""


def reproduce(store: FeatureStore, found: ModelVersion, threads: int = 1) -> Reproduction:
    """Return how the version compares with its recipe fitted again on its training set, by the models' own text.

    Neither today's services nor today's `training.models` play a part; the recipe is the registered model's own.

    Raises:
        TrainingError: the version's lineage has a gap, its snapshot was pruned, or holds other values by now.
    """
    lineage.complete(found)
    then = mlflow.sklearn.load_model(f"models:/{found.name}/{found.version}")
    dataset = training_set(store, found, list(then.feature_names_in_))
    now = evaluate.fit(clone(then), dataset, threads)
    pairs = zip_longest(text(then), text(now), fillvalue="nothing")
    differences = (f"line {n}: {a[:80]} then, {b[:80]} now" for n, (a, b) in enumerate(pairs, 1) if a != b)
    difference = next(differences, "")
    return Reproduction(difference, _reason(found) if difference else "")


def training_set(store: FeatureStore, found: ModelVersion, inputs: list[str]) -> TrainingSet:
    """Return the training set that a version was fitted on: the same snapshot, features and label, the same digest."""
    tags, called = lineage.complete(found), f"{found.name} version {found.version}"
    marks = store.list_saved_datasets(tags={"verified": "true", SNAPSHOT: tags["snapshot_id"]})
    if not marks:
        raise TrainingError(f"{called}: snapshot {tags['snapshot_id']} was pruned, its training set cannot be pulled")
    mark, share = marks[0].tags, float(tags["holdout_share"])
    table = features.historical(store, mark, tags["feast.features"].split(","))
    table = datasets.noted(table, mark, inputs, [], share)
    label, positive = tags["label"].split(" = ", 1)
    dataset = datasets.parse(ModelEntry(found.name, label, positive, tags["question"]), table)
    if dataset.digest != tags["training_set.digest"]:
        raise TrainingError(
            f"{called}: the training set's digest is {dataset.digest[:16]} now and was "
            f"{tags['training_set.digest'][:16]}: persons were erased since, or the snapshot's file was changed"
        )
    return dataset


def text(fitted: Pipeline) -> list[str]:
    """Return all that a pipeline learned, as lines: the encoders' categories, then LightGBM's own text.

    But for the number of threads, which LightGBM notes among its parameters and which changes no tree.
    """
    categories = [
        f"{column}: {list(values)}"
        for _, encoder, columns in fitted["encode"].transformers_
        if hasattr(encoder, "categories_")
        for column, values in zip(columns, encoder.categories_, strict=True)
    ]
    lines = fitted["classify"].booster_.model_to_string().splitlines()
    return [*categories, *(line for line in lines if not line.startswith("[num_threads:"))]


def _reason(found: ModelVersion) -> str:
    """Return in what the environment differs from that in which the version was fitted."""
    then, now = found.tags, flavor.ENVIRONMENT
    before, after = then["requirements"].split(), now["requirements"].split()
    if before != after:
        other = [", ".join(sorted({*these} - {*those})) or "none" for these, those in permutations((before, after))]
        return f"other libraries: {other[0]} then, {other[1]} now"
    if now["platform"] != then["platform"]:
        return f"another processor: {then['platform']} then, {now['platform']} now"
    return f"the same libraries and kind of processor: the code has changed since commit {then['git_commit']}"
