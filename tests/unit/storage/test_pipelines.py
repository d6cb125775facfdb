"""Both pipelines on s3:// and gs://: source file to predictions, with the digests that they have in a folder."""

import shutil

import mlflow
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore

from data_engineering import steps as data
from data_engineering.lake import batch_of, snapshot_path
from data_engineering.settings import Settings as DataSettings
from storage.places import place, readable
from tests.applying import feast_apply
from training import dataset, score, steps as training
from training.models import MODELS
from training.settings import Settings as TrainingSettings

MODEL = "never_married"
RULES = {"min_accuracy": 0.5, "policy": "always", "worst_lift": None, "largest_gap": None, "force": True}
ENOUGH = {"TRAINING_ALPHA": "1", "TRAINING_THREADS": "1", "TRAINING_GIT_COMMIT": "0" * 40}  # for 300 persons


@pytest.fixture
def on(environment_of, lake_on, empty_mlflow, monkeypatch, tmp_path):
    """Return the call that enters the environment of env.sh with a lake in a store, and returns the lake's address."""

    def entered(store: str) -> str:
        lake = lake_on(store)
        for name, value in environment_of(tmp_path / "var", DATA_LAKE=lake, **ENOUGH).items():
            monkeypatch.setenv(name, value)
        shutil.copy(empty_mlflow, tmp_path / "var/mlflow/mlflow.db")
        feast_apply()
        return lake

    return entered


@pytest.fixture
def published(census_lines, tmp_path, caplog):
    """Return the call that runs the data-engineering pipeline's steps and returns the snapshot's id."""

    def run(settings, persons=300):
        source = tmp_path / "source.csv"
        source.write_text("".join(census_lines[:persons]))
        with caplog.at_level("INFO"):
            batch = data.extract(settings, f"run of {persons}", str(source))
            snapshot = data.publish(settings, data.validate(settings, data.clean(settings, batch)), force=False)
            assert data.verify(settings, data.materialize(settings, snapshot))["rows"] == str(persons)
        assert "Feast's own engine materializes it" not in caplog.text
        return snapshot

    return run


def trained(settings):
    """Run the training pipeline's steps; return the run's id and the version that became champion."""
    asked = training.training_set(settings, MODEL, "run 1", None)
    training.gate(settings, training.cross_validate(settings, MODEL, **asked), RULES)
    version = training.register(settings, MODEL, asked["run_id"], training.fit(settings, MODEL, **asked))
    assert training.promote(settings, MODEL, version)["promote"]
    return asked, version


@pytest.fixture
def in_a_folder(environment_of, prepared, monkeypatch):
    """Return the digests of the same persons' snapshot and training set in a folder."""
    copy, snapshot_id = prepared
    with monkeypatch.context() as patch:
        for name, value in environment_of(copy.with_name("var"), **ENOUGH).items():
            patch.setenv(name, value)
        return snapshot_id.partition("-")[2], dataset.training_set(MODELS[MODEL], FeatureStore()).digest


@pytest.mark.usefixtures("publisher")
def test_snapshot_and_training_set_have_on_s3_the_digests_that_they_have_in_a_folder(in_a_folder, on, published):
    lake, settings = on("s3"), TrainingSettings()
    snapshot = published(DataSettings())
    path = training.training_set(settings, MODEL, "run 1", None)["path"]
    assert path.startswith(f"{lake}/training/{MODEL}/{snapshot}")
    assert (snapshot.partition("-")[2], dataset.load(MODELS[MODEL], path).digest) == in_a_folder


@pytest.mark.usefixtures("publisher")
@pytest.mark.parametrize("store", ["gs", pytest.param("s3", marks=pytest.mark.sweep)])
def test_both_pipelines_from_source_file_to_predictions(store, in_a_folder, on, published):
    lake, settings = on(store), TrainingSettings()
    snapshot = published(DataSettings())
    asked, version = trained(settings)
    run = mlflow.MlflowClient(settings.tracking_uri).get_run(asked["run_id"])
    assert run.info.artifact_uri.startswith(f"{lake}/mlflow/")
    assert (snapshot.partition("-")[2], run.data.tags["training_set.digest"]) == in_a_folder
    done = score.score(settings, MODEL)
    assert done["path"] == f"{lake}/predictions/{MODEL}/{snapshot}-v{version}.parquet"
    with readable(place(done["path"])) as file:
        predictions = pq.read_table(file).to_pydict()
    assert len(predictions["person_id"]) == 300
    assert set(predictions["error"]) == {None}
    assert "has scored snapshot" in score.score(settings, MODEL)["skipped"]


@pytest.mark.parametrize("store", ["gs", pytest.param("s3", marks=pytest.mark.sweep)])
def test_old_snapshots_are_pruned_and_a_person_is_erased_from_every_object(store, on, published):
    lake, settings = place(on(store)), DataSettings()
    first, second = published(settings), published(settings, 290)
    batch = batch_of(second)
    said: list[str] = []
    data.prune(settings.model_copy(update={"keep_days": 0}), said.append)
    assert said[:2] == [f"removed snapshot {first}", f"removed stages of batch {batch_of(first)}"]
    assert {path.name for path in (lake / "staging").iterdir()} == {batch}
    with readable(snapshot_path(lake, second)) as file:
        person = pq.read_table(file, columns=["person_id"])["person_id"][0].as_py()
    said.clear()
    data.erase(settings, person, "asked for it", said.append)
    names = [f"census/{second}.parquet", f"staging/{batch}/clean.parquet", f"staging/{batch}/raw.parquet"]
    assert said[:4] == [*(f"rewrote {name}" for name in names), "removed from the online store"]
    for name in names:
        with readable(lake / name) as file:
            assert pq.read_table(file).num_rows == 289
    with readable(snapshot_path(lake, second)) as file:
        assert person not in pq.read_table(file)["person_id"].to_pylist()
