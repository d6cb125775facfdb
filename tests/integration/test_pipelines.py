"""Both DAGs end to end, with a task killed and two runs asked for at once; the results are the embedded run's."""

import random
import re
from pathlib import Path

import pandas as pd
import pytest
from feast import FeatureStore
from mlflow import MlflowClient

from data_engineering import materialize as online, steps
from data_engineering.settings import Settings
from storage.scratch import SPILLS
from tests.applying import feast_apply
from training import aliases, dataset as datasets, evaluate
from training.encoded import as_served
from training.models import never_married
from training.register import champion, versions

PUBLISH, TRAIN = "publish_features", "train_never_married"


@pytest.fixture(scope="session")
def embedded(stack, tmp_path_factory, environment_of) -> tuple[str, float]:
    """Return the digest and the accuracy of the same steps as plain functions on the embedded SQLite stores."""
    with pytest.MonkeyPatch.context() as patch:
        for name in set(stack.environment) - {"PATH", "HOME"}:
            patch.delenv(name)
        for name, value in environment_of(tmp_path_factory.mktemp("embedded") / "var").items():
            patch.setenv(name, value)
        feast_apply()
        settings = Settings()
        batch = steps.clean(settings, steps.extract(settings, "embedded", None))
        store = FeatureStore()
        online.apply_mark(store, settings, steps.publish(settings, batch, force=False))
        dataset = datasets.training_set(never_married, store)
        return dataset.digest, evaluate.cross_validate(evaluate.recipe(never_married, dataset), dataset, 2).mean


@pytest.fixture
def client(stack) -> MlflowClient:
    return MlflowClient(stack.environment["MLFLOW_TRACKING_URI"])


def test_the_killed_task_and_no_others_were_tried_again(up, runs):
    tries = {task["task_id"]: task["try_number"] for run in ((PUBLISH, runs.published), (TRAIN, runs.trained))
             for task in up.tasks(*run)}  # fmt: skip
    assert {task for task, number in tries.items() if number > 1} == {"fit"}


def test_the_second_run_waited_and_found_nothing_new(up, runs, finished):
    states = finished(PUBLISH, runs.second)
    assert states["publish"] == states["materialize"] == states["verify"] == "skipped"
    assert up.run(PUBLISH, runs.second)["start_date"] >= up.run(PUBLISH, runs.published)["end_date"]


def test_one_version_was_registered_and_promoted_and_tells_its_runs(runs, client):
    (version,) = versions(client, never_married)
    found = champion(client, never_married)
    assert found.version == version.version
    assert (found.tags["pipeline_run"], found.tags["snapshot.run"]) == (runs.trained, runs.published)
    assert re.fullmatch(
        rf"census_features at \S+ by {PUBLISH} run {re.escape(runs.published)}", found.tags["asset.event"]
    )
    assert aliases.history(client, "never_married")[-1].by == runs.trained
    experiment = client.get_experiment_by_name("never_married")
    assert experiment.artifact_location.startswith("mlflow-artifacts:/")
    (run,) = client.search_runs([experiment.experiment_id], f"tags.pipeline_run = '{runs.trained}'")
    assert run.info.status == "FINISHED"
    assert len(client.search_logged_models([experiment.experiment_id], f"source_run_id = '{run.info.run_id}'")) == 1


def test_digest_and_accuracy_are_those_of_the_embedded_run(runs, client, embedded):
    found = champion(client, never_married)
    accuracy = client.get_run(found.run_id).data.metrics["accuracy"]
    assert (found.tags["training_set.digest"], accuracy) == embedded


def test_rows_in_redis_are_those_of_the_offline_store(runs, stack):
    store = FeatureStore()
    assert store.config.online_store.type == "redis"
    table = datasets.pull(never_married, store)
    assert stack.redis.client().dbsize() == len(table) == 32_537
    sample = as_served(table.take(random.Random(1).sample(range(len(table)), 1_000)).to_pandas())
    asked = sample[["person_id"]].to_dict("records")
    found = store.get_online_features(store.get_feature_service(never_married.training_service), asked).to_df()
    pd.testing.assert_frame_equal(found[sample.columns], sample, check_exact=True)


def test_nothing_half_done_is_left(runs, stack):
    folder = Path(stack.environment["DATA_LAKE"])
    assert [path for path in folder.rglob(".*") if path.name != SPILLS] == list((folder / SPILLS).iterdir()) == []
    assert [batch for batch in folder.glob("staging/*") if not (batch / "manifest.json").exists()] == []
