"""training/lineage.py: every link from source to version is there, and found from either end."""

import json
import re

import pytest

from training import dataset as datasets, lineage, register as registry, tracking
from training.errors import TrainingError
from training.models import never_married

INPUTS = ["age", "workclass", "education", "occupation", "race", "sex", "capital_gain", "capital_loss"]


def test_a_version_knows_all_that_it_comes_from(publisher, registered, settings):
    found = registered("scheduled__1")
    assert lineage.missing(found.tags) == []
    references = found.tags["feast.features"].split(",")
    assert references[: len(INPUTS)] == [f"census:{name}" for name in INPUTS]
    assert {"census:marital_status", "census:snapshot_id"} < set(references)
    shown = dict(lineage.chain(publisher.store, found))
    assert shown["snapshot"].startswith(f"{publisher.first}, kept\n")
    assert shown["trained by"] == "train_never_married run scheduled__1\nat commit 0123456789abcdef"
    assert shown["service never_married"].endswith(", as today")
    assert "not recorded" not in "".join(text for name, text in shown.items() if name != "decision")


def test_definitions_are_told_apart_and_not_by_when_they_were_applied(publisher, registered, feast_apply):
    found = registered()
    view = lineage.digest(publisher.store.get_feature_view("census"))
    assert json.loads(found.tags["feast.definitions"])["view census"] == view
    publisher.verified(publisher.lines[:290])
    feast_apply()
    store = publisher.store
    assert lineage.digest(store.get_feature_view("census")) == view
    service = store.get_feature_service("never_married")
    service.description = "other"
    store.registry.apply_feature_service(service, store.project)
    store.registry.delete_feature_service("never_married_training", store.project)
    shown = dict(lineage.chain(publisher.store, found))
    assert shown["view census"].endswith(", as today")
    assert shown["service never_married"].endswith(", defined otherwise today")
    assert shown["service never_married_training"].endswith(", gone today")


@pytest.mark.parametrize("name", lineage.CHAIN)
def test_a_link_that_is_absent_or_empty_is_missing(name: str):
    full = dict.fromkeys(lineage.CHAIN, "x")
    assert lineage.missing(full) == []
    assert lineage.missing({**full, name: ""}) == lineage.missing({k: full[k] for k in full if k != name}) == [name]


def test_a_run_without_a_link_is_not_registered(settings):
    client = tracking.connect(settings)
    tags = {name: "x" for name in lineage.CHAIN if name != "feast.features"} | {"gate.reason": "x"}
    run_id = client.create_run(client.create_experiment("test", "file:///nowhere"), tags=tags).info.run_id
    with pytest.raises(TrainingError, match=f"^run {run_id} has no tag feast.features, and never_married no full lin"):
        registry.register(client, never_married, run_id, "m-1")
    assert client.search_registered_models() == []


def test_features_of_more_names_than_a_tag_holds_are_refused(publisher, settings, monkeypatch):
    names = [f"census:{'f' * 100}{i}" for i in range(80)]
    monkeypatch.setattr(lineage, "features", lambda _: names)
    data = datasets.training_set(never_married, publisher.store)
    with pytest.raises(TrainingError, match=r"^feature service never_married_training: its 8,789 characters of feat"):
        lineage.tags(settings, never_married, publisher.store, data)


def test_versions_are_found_by_what_they_depend_on(settings):
    client = tracking.connect(settings)
    for model in ("b", "a"):
        client.create_registered_model(model)
        for n in range(11):
            tags = {"feast.features": f"census:age,{'census' if n else 'other'}:sex", "snapshot_id": f"s{n % 2}"}
            client.create_model_version(model, "file:///nowhere", tags=tags)
    client.create_model_version("a", "file:///nowhere")

    def found(**by: str) -> list[str]:
        return [f"{v.name}/{v.version}" for v in lineage.affected(client, **by)]

    assert found(feature="age") == [f"{model}/{n}" for model in "ab" for n in range(1, 12)]
    assert found(feature="other:sex") == ["a/1", "b/1"]
    assert found(snapshot_id="s1") == [f"{model}/{n}" for model in "ab" for n in (2, 4, 6, 8, 10)]
    assert found(feature="ag") == found(feature="") == found(snapshot_id="s") == []


@pytest.mark.parametrize("named", ["m", "m/2", "m/x", "m@champion", "n/1", "/", "@", ""])
def test_a_version_that_is_not_there_is_an_error(settings, named: str):
    client = tracking.connect(settings)
    client.create_registered_model("m")
    client.create_model_version("m", "file:///nowhere")
    with pytest.raises(TrainingError, match=f"^there is no {re.escape(named)}: give a registered NAME@ALIAS or NAME/V"):
        lineage.resolve(client, named)
    assert lineage.resolve(client, "m/1").version == 1
