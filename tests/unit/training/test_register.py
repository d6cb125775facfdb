"""training/register.py on a real MLflow: a version per run, and an alias that moves on evidence and nothing else."""

import json
import re
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from training import aliases, register as registry, steps, tracking, trial
from training.errors import TrainingError
from training.gate import decide
from training.models import never_married
from training.records import Evaluation, Opponent, Rules
from training.register import CHALLENGER, CHAMPION
from training.settings import Settings

MODEL = never_married.name
ALIAS_CALLS = ("set_registered_model_alias", "delete_registered_model_alias")
GOOD, LESS, BEST = [0.85] * 14 + [0.86], [0.84] * 14 + [0.85], [0.87] * 14 + [0.88]


@dataclass(frozen=True)
class Registry:
    """A real MLflow with one training that got as far as its model and its gate, and nothing registered."""

    client: MlflowClient
    settings: Settings
    run_id: str
    model_id: str

    def version(self, rules: Rules | None = None, **changes: Any) -> str:
        """Register the model as a version of a run of its own, with an evaluation that differs by `changes`."""
        run = self.client.get_run(self.run_id)
        tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
        run_id = self.client.create_run(run.info.experiment_id, tags=tags).info.run_id
        rules = rules or Rules(min_accuracy=0.7, alpha=1)
        evaluation = tracking.load(self.run_id, Evaluation).model_copy(update={"run_id": run_id, **changes})
        decision = decide(evaluation, rules)
        saved = {
            f"{type(record).__name__.lower()}.sha256": tracking.save(self.client, run_id, record)
            for record in (evaluation, rules, decision)
        }
        tracking.set_tags(self.client, run_id, {**registry.decided(evaluation, decision), **saved})
        return registry.register(self.client, never_married, run_id, self.model_id)

    def promote(self, version: str) -> bool:
        return registry.promote(self.client, never_married, version).promote

    def with_champion(self) -> str:
        """Register a version and point the alias to it, without the seconds of a promotion."""
        version = self.version(accuracy=GOOD)
        self.client.set_registered_model_alias(MODEL, CHAMPION, version)
        self.client.delete_registered_model_alias(MODEL, CHALLENGER)
        return version

    def alias(self, name: str) -> str | None:
        version = self.client.get_registered_model(MODEL).aliases.get(name)
        return str(version) if version else None


def met(version: str, accuracy: list[float] | None) -> Opponent:
    return Opponent(version=version, recipe="other", training_set_digest="other", accuracy=accuracy, reason="gone")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, prepared, applied, environment_of, settings_below) -> tuple[Path, Registry]:
    """Return a folder with one training up to its fitted model, and what it is called there."""
    folder = tmp_path_factory.mktemp("registry") / "mlflow"
    folder.mkdir()
    shutil.rmtree(applied)
    shutil.copytree(prepared[0], applied)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment_of(applied).items():
            patch.setenv(name, value)
        settings = settings_below(folder)
        data = steps.training_set(settings, MODEL, "scheduled__1", None)
        steps.cross_validate(settings, MODEL, data["path"], data["run_id"])
        steps.gate(settings, data["run_id"], {"min_accuracy": 0.7})
        fitted = steps.fit(settings, MODEL, data["path"], data["run_id"])
    shutil.copytree(folder, folder.with_name("kept"))
    client = tracking.connect(settings)
    return folder, Registry(client, settings, data["run_id"], fitted)


@pytest.fixture
def mlflow_(trained: tuple[Path, Registry]) -> Registry:
    """Give the training anew, always in the same place: MLflow's database holds absolute paths."""
    folder, found = trained
    kept = folder.with_name("kept")
    shutil.rmtree(folder / "artifacts")
    shutil.copytree(kept / "artifacts", folder / "artifacts")
    # Into the file that is there: MLflow keeps its connections.
    with (
        closing(sqlite3.connect(kept / "mlflow.db")) as source,
        closing(sqlite3.connect(folder / "mlflow.db")) as target,
    ):
        source.backup(target)
    mlflow.set_tracking_uri(found.settings.tracking_uri)
    return found


def test_a_run_has_one_version_however_often_it_is_registered(mlflow_: Registry):
    for _ in range(2):
        version = registry.register(mlflow_.client, never_married, mlflow_.run_id, mlflow_.model_id)
        assert version == "1"
    assert [v.version for v in registry.versions(mlflow_.client, never_married)] == [1]
    assert mlflow_.version() == "2"


def test_a_version_carries_its_runs_tags_and_is_the_challenger(mlflow_: Registry):
    version = mlflow_.client.get_model_version(MODEL, mlflow_.version())
    tags = mlflow_.client.get_run(version.run_id).data.tags
    assert version.tags == {**{k: v for k, v in tags.items() if not k.startswith("mlflow.")}, "run_id": version.run_id}
    assert version.description == version.tags["promotion.reason"]
    assert mlflow_.client.get_registered_model(MODEL).description == never_married.question
    assert (mlflow_.alias(CHALLENGER), mlflow_.alias(CHAMPION)) == ("1", None)
    assert registry.champion(mlflow_.client, never_married) is None


def test_versions_are_found_by_tags_the_newest_first(mlflow_: Registry):
    for snapshot in ("a", "b", "a", *"b" * 8):
        mlflow_.version(snapshot_id=snapshot)
    versions = registry.versions
    assert [v.version for v in versions(mlflow_.client, never_married, snapshot_id="a")] == [3, 1]
    assert [v.version for v in versions(mlflow_.client, never_married)] == list(range(11, 0, -1))
    assert versions(mlflow_.client, never_married, snapshot_id="a", recipe="other") == []


def test_the_first_version_is_promoted_once_and_a_retry_says_the_same(mlflow_: Registry):
    version = mlflow_.version()
    for _ in range(2):
        assert mlflow_.promote(version)
        assert (mlflow_.alias(CHAMPION), mlflow_.alias(CHALLENGER)) == (version, None)
    assert [move.new for move in aliases.history(mlflow_.client, MODEL)] == [version]


def test_a_promotion_that_was_stopped_before_it_took_the_challenger_away_is_completed(mlflow_: Registry):
    version = mlflow_.with_champion()
    mlflow_.client.set_registered_model_alias(MODEL, CHALLENGER, version)
    assert mlflow_.promote(version)
    assert (mlflow_.alias(CHAMPION), mlflow_.alias(CHALLENGER)) == (version, None)


def test_the_loser_stays_challenger(mlflow_: Registry):
    before = mlflow_.with_champion()
    loser = mlflow_.version(accuracy=LESS, champion=met(before, GOOD))
    assert not mlflow_.promote(loser)
    assert (mlflow_.alias(CHAMPION), mlflow_.alias(CHALLENGER)) == (before, loser)


def test_the_winner_takes_over_from_the_champion(mlflow_: Registry):
    before = mlflow_.with_champion()
    winner = mlflow_.version(accuracy=BEST, champion=met(before, GOOD))
    assert mlflow_.promote(winner)
    assert (mlflow_.alias(CHAMPION), mlflow_.alias(CHALLENGER)) == (winner, None)
    move = aliases.history(mlflow_.client, MODEL)[-1]
    assert (move.old, move.new, move.by) == (before, winner, "scheduled__1")
    assert "not worse by 0.002 than champion version 1: +0.0200" in move.why


@pytest.mark.parametrize("name", registry.EVIDENCE)
def test_a_version_without_a_piece_of_evidence_is_refused(mlflow_: Registry, name: str):
    version = mlflow_.version()
    mlflow_.client.delete_model_version_tag(MODEL, version, name)
    message = f"never_married version 1 has no tag {name}: train again, it cannot be promoted"
    with pytest.raises(TrainingError, match=f"^{re.escape(message)}$"):
        mlflow_.promote(version)
    assert mlflow_.alias(CHAMPION) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gate", "PASSED"),
        ("accuracy", "0.99"),
        ("promotion", "yes"),
        ("champion.met", "none"),
        ("recipe", "0123456789abcdef"),
        ("snapshot_id", "another"),
        ("training_set.digest", "d" * 64),
    ],
)
def test_a_tag_edited_by_hand_is_refused(mlflow_: Registry, name: str, value: str):
    before = mlflow_.with_champion()
    version = mlflow_.version(accuracy=LESS, champion=met(before, GOOD))
    mlflow_.client.set_model_version_tag(MODEL, version, name, value)
    with pytest.raises(TrainingError, match=r"^never_married version 2: its tags or its run's decision do not follow"):
        mlflow_.promote(version)
    assert mlflow_.alias(CHAMPION) == before


@pytest.mark.parametrize(
    ("record", "change"),
    [
        ("evaluation", {"accuracy": BEST}),
        ("rules", {"policy": "always"}),
        ("decision", {"promote": True}),
    ],
)
def test_a_record_edited_by_hand_is_refused(mlflow_: Registry, record: str, change: dict[str, Any]):
    before = mlflow_.with_champion()
    version = mlflow_.version(accuracy=LESS, champion=met(before, GOOD))
    run_id = mlflow_.client.get_model_version(MODEL, version).run_id
    path = f"evaluation/{record}.json"
    edited = json.loads(mlflow.artifacts.load_text(f"runs:/{run_id}/{path}")) | change
    mlflow_.client.log_text(run_id, json.dumps(edited), path)
    with pytest.raises(TrainingError, match=rf"^run {run_id}: {path} is not what the version was registered with"):
        mlflow_.promote(version)
    assert mlflow_.alias(CHAMPION) == before


def test_a_record_of_another_run_is_refused(mlflow_: Registry):
    """A version that claims the records of a better run, digests and all."""
    before = mlflow_.with_champion()
    good = mlflow_.version(accuracy=BEST, champion=met(before, GOOD))
    bad = mlflow_.version(accuracy=LESS, champion=met(before, GOOD))
    source, target = (mlflow_.client.get_model_version(MODEL, version) for version in (good, bad))
    for record in ("evaluation", "rules", "decision"):
        path = f"evaluation/{record}.json"
        mlflow_.client.log_text(target.run_id, mlflow.artifacts.load_text(f"runs:/{source.run_id}/{path}"), path)
    for name in registry.EVIDENCE:
        mlflow_.client.set_model_version_tag(MODEL, bad, name, source.tags[name])
    with pytest.raises(TrainingError, match=r"^never_married version 3: its tags or its run's decision do not follow"):
        mlflow_.promote(bad)
    assert mlflow_.alias(CHAMPION) == before


def test_a_registry_that_cannot_be_reached_at_some_call_leaves_the_alias_until_the_last(mlflow_: Registry, monkeypatch):
    """Each try fails at a later call than the one before, until one has none left to fail at."""
    version, calls = mlflow_.version(), Counter[str]()
    monkeypatch.setattr(trial, "check", lambda *_: None)  # it has seconds and tests of its own
    reached: list[str] = []
    done: list[str] = []

    def failing(name: str, call: Any) -> Any:
        def counted(*arguments: Any, **options: Any) -> Any:
            calls["left"] -= 1
            if not calls["left"]:
                reached.append(name)
                raise ConnectionError("no MLflow answers")
            result = call(*arguments, **options)
            done.append(name)
            return result

        return counted

    for name in ("get_model_version", "get_registered_model", "set_registered_model_tag", *ALIAS_CALLS):
        monkeypatch.setattr(MlflowClient, name, failing(name, getattr(MlflowClient, name)))
    for last in range(1, 30):
        calls["left"] = last
        try:
            assert mlflow_.promote(version)
        except ConnectionError:
            calls["left"] = -1
            assert mlflow_.alias(CHAMPION) == (version if "set_registered_model_alias" in done else None)
        else:
            break
    moving = {"get_model_version", "get_registered_model", "set_registered_model_tag", "set_registered_model_alias"}
    assert set(reached) == moving  # a try after the alias moved has no more than the challenger's to take away
    assert (mlflow_.alias(CHAMPION), mlflow_.alias(CHALLENGER)) == (version, None)


@pytest.mark.parametrize("by_hand", ["alias", "version"])
def test_a_champion_deleted_by_hand_since_the_evaluation_stops_the_promotion(mlflow_: Registry, by_hand: str):
    before = mlflow_.with_champion()
    version = mlflow_.version(accuracy=BEST, champion=met(before, GOOD))
    if by_hand == "alias":
        mlflow_.client.delete_registered_model_alias(MODEL, CHAMPION)
    else:
        mlflow_.client.delete_model_version(MODEL, before)
    with pytest.raises(TrainingError, match="the champion is version none now, and was 1 when version 2 was chosen"):
        mlflow_.promote(version)
    assert mlflow_.alias(CHAMPION) is None


def test_of_two_that_met_the_same_champion_the_second_is_refused(mlflow_: Registry):
    first = mlflow_.with_champion()
    late = mlflow_.version(accuracy=BEST, champion=met(first, GOOD))
    between = mlflow_.with_champion()
    with pytest.raises(TrainingError, match="the champion is version 3 now, and was 1 when version 2 was chosen"):
        mlflow_.promote(late)
    assert mlflow_.alias(CHAMPION) == between


def test_a_model_that_does_not_answer_as_it_did_is_not_promoted(mlflow_: Registry):
    version = mlflow_.version()
    (model,) = Path(mlflow_.settings.artifacts).rglob("model.skops")
    model.write_bytes(model.read_bytes()[:-100])
    with pytest.raises(TrainingError, match="never_married/1"):
        mlflow_.promote(version)
    assert mlflow_.alias(CHAMPION) is None


def test_a_model_that_takes_other_inputs_than_the_service_gives_is_refused(publisher, mlflow_: Registry):
    registry.check_signature(never_married, publisher.store, mlflow_.model_id)
    service = publisher.store.get_feature_service(MODEL)
    service.feature_view_projections[0].features = [
        feature for feature in service.feature_view_projections[0].features if feature.name != "age"
    ]
    publisher.store.registry.apply_feature_service(service, publisher.store.project)
    message = "input age is long in the model's signature and not there in feature service never_married: train again"
    with pytest.raises(TrainingError, match=message):
        registry.check_signature(never_married, publisher.store, mlflow_.model_id)
