"""training/reproduce.py: the same model, to the last digit of its text, from what the registry and Feast keep."""

import re

import mlflow
import pytest

from training import evaluate, lineage, reproduce, tracking
from training.dataset import TrainingSet
from training.errors import TrainingError


def again(publisher, found) -> reproduce.Reproduction:
    return reproduce.reproduce(publisher.store, found)


def test_a_version_is_reproduced_after_later_snapshots_and_other_definitions(publisher, registered, feast_apply):
    found = registered()
    publisher.verified([line.replace(" Private", " State-gov") for line in publisher.lines])
    store = publisher.store
    for name in ("never_married", "never_married_training"):
        service = store.get_feature_service(name)
        service.feature_view_projections[0].features.pop(3)
        store.registry.apply_feature_service(service, store.project)
    assert again(publisher, found) == reproduce.Reproduction()


def test_persons_that_were_held_out_are_held_out_again(publisher, registered):
    found = registered(holdout_share=0.2)
    assert int(found.tags["training_set.rows"]) < 280
    assert again(publisher, found) == reproduce.Reproduction()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_is_no_difference(publisher, registered, monkeypatch, threads: int):
    monkeypatch.setattr(evaluate, "ROWS_PER_THREAD", 100)
    found = registered()
    assert reproduce.reproduce(publisher.store, found, threads) == reproduce.Reproduction()


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"requirements": "lightgbm==3.0.0"}, "other libraries: lightgbm==3.0.0 then, "),
        ({"platform": "Linux s390x"}, "another processor: Linux s390x then, "),
        ({}, "the same libraries and kind of processor: the code has changed since commit 0123456789abcdef"),
    ],
    ids=["libraries", "processor", "code"],
)
def test_the_first_difference_is_told_with_its_reason(publisher, registered, monkeypatch, tags, reason):
    found = registered()
    found.tags.update(tags)

    def fit_otherwise(recipe, data: TrainingSet, threads: int):
        return recipe.set_params(classify__n_estimators=99).fit(data.inputs, data.label)

    monkeypatch.setattr(evaluate, "fit", fit_otherwise)
    result = again(publisher, found)
    assert re.match(r"line \d+: tree_sizes=.* then, tree_sizes=.* now$", result.difference)
    assert result.reason.startswith(reason)


def test_encoders_are_compared_before_trees(publisher, registered):
    fitted = mlflow.sklearn.load_model(f"models:/never_married/{registered().version}")
    lines = reproduce.text(fitted)
    assert lines[0].startswith("workclass: ['Federal-gov'")
    assert lines.index("tree") == 7
    assert not [line for line in lines if "num_threads" in line]


def test_another_training_set_is_refused(publisher, registered):
    found = registered()
    found.tags["training_set.digest"] = "d" * 64
    with pytest.raises(
        TrainingError, match=r"^never_married version 1: the training set's digest is .* now and was dddd"
    ):
        again(publisher, found)


def test_a_pruned_snapshot_is_told(publisher, registered):
    found = registered()
    publisher.store.registry.delete_saved_dataset(f"census_{publisher.first}", publisher.store.project)
    message = f"never_married version 1: snapshot {publisher.first} was pruned, its training set cannot be pulled"
    with pytest.raises(TrainingError, match=f"^{message}$"):
        again(publisher, found)


def test_a_version_without_its_lineage_is_told(publisher, registered, settings):
    registered()
    client = tracking.connect(settings)
    client.delete_model_version_tag("never_married", "1", "feast.features")
    with pytest.raises(
        TrainingError, match=r"^never_married version 1 has no tag feast\.features: it is of an older ki"
    ):
        again(publisher, lineage.resolve(client, "never_married/1"))
