"""training/register.py against a real MLflow: a version per run, and an alias that moves on complete evidence only."""

import re

import pytest
from mlflow import MlflowClient

from training import lineage, register as registry, tracking
from training.errors import TrainingError
from training.models import never_married

EVIDENCE = {
    **{name: "recorded" for name in lineage.CHAIN if name != "run_id"},
    "gate": "passed",
    "gate.reason": "accuracy 0.8500 reaches the minimum of 0.8000",
    "accuracy": "0.85",
    "min_accuracy": "0.8",
    "training_set.digest": "d" * 64,
    "snapshot_id": "20260101T000000.000000Z-0123456789abcdef",
    "recipe": "0123456789abcdef",
    "champion.met": "none",
}


@pytest.fixture
def client(settings) -> MlflowClient:
    return tracking.connect(settings)


def registered(client: MlflowClient, **changes: str) -> str:
    """Register a version whose run carries the evidence with `changes`; an empty value leaves a tag out."""
    experiment = client.get_experiment_by_name("test")
    experiment_id = experiment.experiment_id if experiment else client.create_experiment("test", "file:///nowhere")
    tags = {name: value for name, value in {**EVIDENCE, **changes}.items() if value}
    run_id = client.create_run(experiment_id, tags=tags).info.run_id
    return registry.register(client, never_married, run_id, f"runs:/{run_id}/model", model_id=None)


def with_champion(client: MlflowClient, accuracy: str = "0.85") -> str:
    version = registered(client, accuracy=accuracy)
    registry.promote(client, never_married, version)
    assert champion(client) == version
    return version


def champion(client: MlflowClient) -> str | None:
    version = registry.champion(client, never_married)
    return str(version.version) if version else None


def promote(client: MlflowClient, version: str) -> str:
    return registry.promote(client, never_married, version)


def test_a_run_has_one_version_however_often_it_is_registered(client: MlflowClient):
    version = registered(client)
    run_id = client.get_model_version("never_married", version).run_id
    again = registry.register(client, never_married, run_id, f"runs:/{run_id}/model", model_id=None)
    assert again == version == "1"
    assert [v.version for v in registry.versions(client, never_married)] == [1]
    assert registered(client) == "2"


def test_a_version_carries_its_runs_tags_and_the_gates_reason(client: MlflowClient):
    version = client.get_model_version("never_married", registered(client))
    assert version.tags == {**EVIDENCE, "run_id": version.run_id}
    assert version.description == EVIDENCE["gate.reason"]
    assert client.get_registered_model("never_married").description == never_married.question


def test_versions_are_found_by_tags_the_newest_first(client: MlflowClient):
    for snapshot in ("a", "b", "a", *"b" * 8):
        registered(client, snapshot_id=snapshot)
    assert [v.version for v in registry.versions(client, never_married, snapshot_id="a")] == [3, 1]
    assert [v.version for v in registry.versions(client, never_married)] == list(range(11, 0, -1))
    assert registry.versions(client, never_married, snapshot_id="a", recipe="other") == []


def test_there_is_no_champion_before_the_first_model_nor_the_first_promotion(client: MlflowClient):
    assert champion(client) is None
    registered(client)
    assert champion(client) is None


def test_the_first_version_is_promoted_and_a_retry_says_the_same(client: MlflowClient):
    version = registered(client)
    assert promote(client, version) == "promoted: there was no champion"
    assert champion(client) == version
    assert promote(client, version) == "promoted: there was no champion"


@pytest.mark.parametrize("name", registry.EVIDENCE)
def test_a_version_without_a_piece_of_evidence_is_refused(client: MlflowClient, name: str):
    version = registered(client)
    client.delete_model_version_tag("never_married", version, name)
    message = f"never_married version 1 has no tag {name}: train again, it cannot be promoted"
    with pytest.raises(TrainingError, match=f"^{re.escape(message)}$"):
        promote(client, version)
    assert champion(client) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"gate": "refused"},
        {"gate": "PASSED"},
        {"accuracy": "0.7999"},
        {"accuracy": "nan"},
        {"accuracy": "-inf"},
        {"min_accuracy": "nan"},
        {"min_accuracy": "0.9"},
    ],
    ids=str,
)
def test_a_version_that_did_not_pass_the_gate_is_refused(client: MlflowClient, changes: dict[str, str]):
    before = with_champion(client)
    version = registered(client, **{"champion.met": before, "champion.accuracy": "0.5", **changes})
    with pytest.raises(TrainingError, match=r"^never_married version 2 did not pass the gate: accuracy 0\.8500"):
        promote(client, version)
    assert champion(client) == before


@pytest.mark.parametrize("value", ["nan", "inf", "high"])
def test_an_accuracy_edited_by_hand_is_refused(client: MlflowClient, value: str):
    version = registered(client)
    client.set_model_version_tag("never_married", version, "accuracy", value)
    with pytest.raises(TrainingError, match=r"^never_married version 1 did not pass the gate"):
        promote(client, version)
    assert champion(client) is None


@pytest.mark.parametrize("accuracy", ["0.86", "0.85"])
def test_a_version_that_is_not_worse_is_promoted(client: MlflowClient, accuracy: str):
    before = with_champion(client)
    version = registered(client, **{"accuracy": accuracy, "champion.met": before, "champion.accuracy": "0.85"})
    assert promote(client, version) == f"promoted: accuracy {accuracy} against 0.85 of version 1's recipe"
    assert champion(client) == version


@pytest.mark.parametrize("theirs", ["0.8500001", "nan", "-inf", "low"])
def test_a_version_that_is_worse_or_cannot_be_compared_is_not_promoted(client: MlflowClient, theirs: str):
    before = with_champion(client)
    version = registered(client, **{"champion.met": before, "champion.accuracy": theirs})
    assert promote(client, version) == f"not promoted: accuracy 0.85 against {theirs} of version 1's recipe"
    assert champion(client) == before


def test_a_comparison_that_is_missing_is_refused(client: MlflowClient):
    before = with_champion(client)
    version = registered(client, **{"champion.met": before})
    with pytest.raises(TrainingError, match=r"^never_married version 2 has no tag champion\.accuracy: train again"):
        promote(client, version)
    assert champion(client) == before


def test_a_version_evaluated_against_another_champion_is_refused(client: MlflowClient):
    first = with_champion(client)
    late = registered(client, **{"accuracy": "0.99", "champion.met": first, "champion.accuracy": "0.85"})
    between = registered(client, **{"champion.met": first, "champion.accuracy": "0.85"})
    assert promote(client, between).startswith("promoted")
    message = (
        f"never_married: the champion is version {between} now, and version {late} was evaluated against {first}: "
        "train again"
    )
    with pytest.raises(TrainingError, match=f"^{message}$"):
        promote(client, late)
    assert champion(client) == between


def test_a_version_evaluated_without_a_champion_is_refused_once_there_is_one(client: MlflowClient):
    late = registered(client, accuracy="0.99")
    before = with_champion(client)
    with pytest.raises(TrainingError, match="the champion is version 2 now, and version 1 was evaluated against none"):
        promote(client, late)
    assert champion(client) == before
