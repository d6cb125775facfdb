"""training/rollback.py: back to a version that still works, with a record; and to no other."""

import pytest
from mlflow import MlflowClient

from training import aliases, lineage, rollback, tracking, trial
from training.errors import TrainingError

MODEL = "never_married"


@pytest.fixture
def client(settings) -> MlflowClient:
    return tracking.connect(settings)


def to(client: MlflowClient, publisher, version: str, why: str = "it was better", *, force: bool = False) -> str:
    found = lineage.resolve(client, f"{MODEL}/{version}")
    return rollback.rollback(client, publisher.store, found, by="Ada", why=why, force=force)


def test_the_champion_goes_back_and_the_history_tells(publisher, registered, client: MlflowClient):
    registered("manual__1")
    registered("manual__2")
    client.set_registered_model_alias(MODEL, "champion", "2")
    said = to(client, publisher, "1")
    assert said == "never_married: champion moved from version 2 to 1, which answered 100 persons"
    assert aliases.champion(client, MODEL) == "1"
    last = aliases.history(client, MODEL)[-1]
    assert (last.old, last.new, last.by, last.why, last.happened) == ("2", "1", "Ada", "it was better", True)
    assert to(client, publisher, "1") == "never_married version 1 is the champion: nothing to do"


def test_a_version_that_did_not_pass_its_gates_needs_force(publisher, registered, client: MlflowClient):
    registered(accuracy=0.6)
    message = r"^never_married version 1 did not pass its gates \(accuracy 0\.6000 is below .*\): --force overrules$"
    with pytest.raises(TrainingError, match=message):
        to(client, publisher, "1")
    client.set_model_version_tag(MODEL, "1", "gate", "passed")
    with pytest.raises(TrainingError, match=r"^never_married version 1: its tags or its run's decision do not follow"):
        to(client, publisher, "1")
    assert aliases.history(client, MODEL) == []
    to(client, publisher, "1", force=True)
    assert aliases.champion(client, MODEL) == "1"


def test_a_version_that_does_not_answer_is_refused_even_by_force(publisher, registered, client, settings):
    model_id = registered().source.rpartition("/")[2]
    (answer,) = [path for path in settings.artifacts.rglob(trial.ANSWER) if model_id in path.parts]
    answer.write_text('[{"prediction": true, "probability": 0.123}]')
    with pytest.raises(TrainingError, match=r"^models:/never_married/1 answers its example with p"):
        to(client, publisher, "1", force=True)
    assert aliases.champion(client, MODEL) == "none"


def test_a_promotion_in_between_makes_the_rollback_fail(publisher, registered, client: MlflowClient, monkeypatch):
    for run in ("1", "2", "3"):
        registered(run)
    client.set_registered_model_alias(MODEL, "champion", "2")

    def promoted_meanwhile(uri: str, tracking_uri: str, rows) -> object:
        aliases.move(client, MODEL, "3", expected="2", by="train", why="better")
        return rows

    monkeypatch.setattr(trial, "check", promoted_meanwhile)
    with pytest.raises(TrainingError, match="the champion is version 3 now, and was 2 when version 1 was chosen"):
        to(client, publisher, "1")
    assert aliases.champion(client, MODEL) == "3"


def test_a_rollback_needs_a_reason(publisher, registered, client: MlflowClient):
    registered()
    with pytest.raises(TrainingError, match=r"^a rollback without a reason"):
        to(client, publisher, "1", why=" ")


def test_the_sample_is_what_the_online_store_has_of_the_models_inputs(publisher, registered, client: MlflowClient):
    found = registered()
    rows = rollback.sample(publisher.store, found, 30)
    assert len(rows) == 30
    assert rows.dtypes.astype(str).to_dict()["age"] == "int64"
    assert "marital_status" not in rows
    publisher.published(publisher.lines)  # a snapshot that is not verified, and so not looked at
    assert len(rollback.sample(publisher.store, found, 7)) == 8
