"""training/score.py on a real store and registry: every person's prediction, once per snapshot and version."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore

from training import dataset as datasets, score as scoring
from training.errors import TrainingError
from training.models import high_income, never_married
from training.settings import Settings

ROOT = Path(__file__).parents[3]
MODEL = "never_married"
DYING = """
import os, signal, sys
from pathlib import Path
from training import score
from training.settings import Settings
write = score.pq.ParquetWriter.write_table
def dying(*arguments):
    write(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
score.pq.ParquetWriter.write_table = dying
score.score(Settings(tracking_uri=sys.argv[1], predictions=sys.argv[2]), "never_married")
"""


def scored(settings: Settings, model: str = MODEL) -> pd.DataFrame:
    return pq.read_table(scoring.score(settings, model)["path"]).to_pandas()


@pytest.fixture
def files(settings: Settings):
    return lambda: sorted(str(path.relative_to(settings.predictions)) for path in settings.predictions.rglob("*.*"))


def test_every_person_has_the_champions_answer(publisher, settings, crowned, files):
    dataset, pipeline, version = crowned(settings, never_married)
    found = scored(settings)
    assert found["person_id"].tolist() == datasets.pull(never_married, FeatureStore())["person_id"].to_pylist()
    assert found["probability"].tolist() == pipeline.predict_proba(dataset.inputs)[:, 1].tolist()
    assert found["prediction"].tolist() == pipeline.predict(dataset.inputs).tolist()
    assert found["error"].tolist() == [None] * 300
    facts = found[["model", "version", "snapshot_id"]].drop_duplicates().to_dict("records")
    assert facts == [{"model": MODEL, "version": version, "snapshot_id": publisher.first}]
    assert len(set(found["scored_at"])) == 1
    assert files() == [f"{MODEL}/{publisher.first}-v{version}.parquet"]


def test_the_file_has_these_columns_whatever_is_in_it(publisher, settings, crowned):
    crowned(settings, never_married)
    assert pq.read_schema(scoring.score(settings, MODEL)["path"]) == scoring.SCHEMA


def test_batches_change_nothing(publisher, settings, crowned, monkeypatch):
    crowned(settings, never_married)
    whole = scored(settings)
    monkeypatch.setattr(scoring, "ROWS", 77)
    other = settings.model_copy(update={"predictions": settings.predictions / "other"})
    pd.testing.assert_frame_equal(scored(other).drop(columns="scored_at"), whole.drop(columns="scored_at"))


def test_a_second_call_does_nothing_until_snapshot_or_champion_change(publisher, settings, crowned, files):
    _, _, first = crowned(settings, never_married)
    (path,) = {scoring.score(settings, MODEL)["path"]}
    before = Path(path).stat()
    done = {"skipped": f"version {first} has scored snapshot {publisher.first}"}
    assert scoring.score(settings, MODEL) == done
    assert Path(path).stat() == before
    later = publisher.verified(publisher.lines[:290])
    assert len(scored(settings)) == 290
    _, _, second = crowned(settings, never_married)
    assert len(scored(settings)) == 290
    pairs = [(publisher.first, first), (later, first), (later, second)]
    assert files() == [f"{MODEL}/{snapshot}-v{version}.parquet" for snapshot, version in pairs]


def test_a_model_without_champion_is_skipped(publisher, settings, files):
    assert scoring.score(settings, MODEL) == {"skipped": "never_married has no champion"}
    assert files() == []


def test_each_model_is_scored_with_its_own_inputs(publisher, settings, crowned):
    crowned(settings, never_married)
    dataset, pipeline, _ = crowned(settings, high_income)
    assert "marital_status" in dataset.inputs
    assert "income_bracket" not in dataset.inputs
    assert scored(settings, "high_income")["prediction"].tolist() == pipeline.predict(dataset.inputs).tolist()
    assert 0 < scored(settings)["prediction"].mean() < 1


def test_a_person_with_an_unseen_category_has_an_error_in_the_prediction_s_place(publisher, settings, crowned):
    crowned(settings, never_married)
    line = publisher.lines[0]
    publisher.verified([*publisher.lines, line.replace("77516", "77517").replace("United-States", "Scotland")])
    found = scored(settings)
    (stranger,) = found[found["error"].notna()].to_dict("records")
    assert stranger["error"] == "native_country is 'Scotland', which the model has never seen"
    assert stranger["prediction"] is None
    assert pd.isna(stranger["probability"])
    assert found["prediction"].notna().sum() == 300


def test_without_a_snapshot_it_fails(publisher, settings, crowned, files):
    crowned(settings, never_married)
    publisher.store.registry.delete_saved_dataset(f"census_{publisher.first}", publisher.store.project)
    with pytest.raises(TrainingError, match=r"^project census has no verified snapshot: run the DAG publish_features$"):
        scoring.score(settings, MODEL)
    assert files() == []


def test_a_service_that_lacks_what_the_champion_needs_is_told(publisher, settings, crowned, files):
    crowned(settings, never_married)
    store = publisher.store
    service = store.get_feature_service(MODEL)
    (projection,) = service.feature_view_projections
    projection.features = [feature for feature in projection.features if feature.name != "age"]
    store.registry.apply_feature_service(service, store.project)
    message = (
        "never_married version 1 needs age, and feature service never_married does not give it: "
        "train again, or roll the service back"
    )
    with pytest.raises(TrainingError, match=f"^{re.escape(message)}$"):
        scoring.score(settings, MODEL)
    assert files() == []


@pytest.mark.sweep
def test_what_is_killed_while_it_writes_leaves_nothing_to_see_and_the_next_completes_it(
    publisher, settings, crowned, files
):
    crowned(settings, never_married)
    command = [sys.executable, "-W", "ignore", "-c", DYING, settings.tracking_uri, str(settings.predictions)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert [name for name in files() if not Path(name).name.startswith(".")] == []
    assert len(files()) == 1
    assert len(scored(settings)) == 300
    assert files() == [f"{MODEL}/{publisher.first}-v1.parquet"]


def test_files_are_ordered_by_snapshot_and_then_by_the_number_of_the_version():
    names = ["20260101T000000.000000Z-ab-v10", "20260101T000000.000000Z-ab-v9", "20250101T000000.000000Z-ab-v11"]
    found = sorted((Path(f"{name}.parquet") for name in names), key=scoring.order)
    assert [path.stem for path in found] == names[::-1]
