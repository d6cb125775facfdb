"""training/person_scorer.py on a real store and registry: a row is the same offline, online and in the model."""

from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
import pytest
from feast import FeatureStore

from training import serving
from training.models import never_married

MODEL = "never_married"


class Recorder:
    """A pipeline that keeps what it is asked."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.received: list[pd.DataFrame] = []

    def predict_proba(self, rows: pd.DataFrame) -> Any:
        self.received.append(rows.copy())
        return self.pipeline.predict_proba(rows)


@pytest.fixture(scope="module")
def loaded(champion) -> mlflow.pyfunc.PyFuncModel:
    serving.ensure_person_scorer(champion.client, never_married)
    return mlflow.pyfunc.load_model(f"models:/{MODEL}_by_person@champion")


@pytest.fixture
def recorder(loaded, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    scorer = loaded.unwrap_python_model().champion
    recorder = Recorder(scorer.pipeline)
    monkeypatch.setattr(scorer, "pipeline", recorder)
    return recorder


@pytest.fixture(scope="module")
def offline(champion) -> pd.DataFrame:
    """Return every person's features as the offline store has them, by `person_id`."""
    store = FeatureStore()
    (mark,) = store.list_saved_datasets(tags={"verified": "true"})
    spine = pd.read_parquet(mark.storage.file_options.uri, columns=["person_id", "event_timestamp"])
    rows = store.get_historical_features(spine, store.get_feature_service(MODEL)).to_df()
    return rows.set_index("person_id").sort_index().drop(columns="event_timestamp")


def asked(model: Any, persons: list[Any]) -> pd.DataFrame:
    return model.predict(pd.DataFrame({"person_id": persons}, dtype=object))


def test_a_row_is_the_same_offline_online_and_in_the_model(champion, loaded, recorder: Recorder, offline):
    persons = offline.index.to_list()
    assert len(persons) == 300
    answers = asked(loaded, persons)
    (received,) = recorder.received
    online = FeatureStore().get_online_features(
        FeatureStore().get_feature_service(MODEL), [{"person_id": person} for person in persons]
    )
    rows = {
        "received": received,
        "online": online.to_df()[list(offline.columns)],
        "offline": offline.reset_index(drop=True),
        "fitted on": champion.dataset.rows,
    }
    for name, found in rows.items():
        pd.testing.assert_frame_equal(found[received.columns], received, check_exact=True, obj=name)
    types = {name: {column: set(map(type, found[column])) for column in received} for name, found in rows.items()}
    assert all(kinds == types["received"] for kinds in types.values())
    assert answers["probability"].tolist() == champion.pipeline.predict_proba(champion.dataset.inputs)[:, 1].tolist()
    assert answers["error"].tolist() == [None] * 300


def test_all_persons_are_read_in_one_call(loaded, offline, monkeypatch: pytest.MonkeyPatch):
    store, calls = loaded.unwrap_python_model().store, []
    read = store.get_online_features
    monkeypatch.setattr(store, "get_online_features", lambda *asked: calls.append(asked) or read(*asked))
    asked(loaded, offline.index.to_list())
    assert len(calls) == 1


def test_answers_come_in_the_order_of_the_question_and_say_who_gave_them(champion, loaded, offline):
    persons = offline.index.to_list()
    answers = asked(loaded, [persons[7], persons[3], persons[7]])
    assert list(answers.columns) == ["prediction", "probability", "error", "version"]
    expected = champion.pipeline.predict_proba(offline.iloc[[7, 3, 7]])[:, 1]
    assert answers["probability"].tolist() == expected.tolist()
    assert answers["version"].tolist() == [champion.version] * 3


@pytest.mark.parametrize("stranger", ["nobody", "", None, 7])
def test_a_stranger_has_an_error_and_nobody_else(loaded, offline, stranger: Any):
    known = offline.index[0]
    first, second = asked(loaded, [stranger, known]).to_dict("records")
    error = f"person_id is {str(stranger)!r}, who is not in the online store"
    assert (first["prediction"], first["probability"], first["error"]) == (None, None, error)
    assert (second["prediction"], second["error"]) == (asked(loaded, [known]).at[0, "prediction"], None)
    assert asked(loaded, [stranger]).at[0, "error"] == error


def test_nobody_asked_nobody_answered(loaded):
    assert asked(loaded, []).empty


def test_a_person_of_whom_one_value_is_missing_has_an_error_that_names_it(loaded, offline, monkeypatch):
    """Written through Feast, since nothing that this project publishes has a missing value."""
    store, person = FeatureStore(), offline.index[5]
    now = pd.Timestamp.now("UTC")
    others = {"marital_status": "Widowed", "age_bin": 1, "snapshot_id": "s"}
    row = pd.DataFrame([{"person_id": person, **offline.loc[person], **others}])
    row = row.assign(event_timestamp=now, created_timestamp=now)
    try:
        store.write_to_online_store("census", row.astype({"age": "Int64"}).assign(age=pd.NA))
        answers = asked(loaded, [person, offline.index[6]])
        assert answers["error"].tolist() == ["age is missing", None]
        store.write_to_online_store("census", row.assign(occupation="Astronaut"))
        assert asked(loaded, [person]).at[0, "error"] == "occupation is 'Astronaut', which the model has never seen"
    finally:
        store.write_to_online_store("census", row)
    assert asked(loaded, [person]).at[0, "error"] is None


def test_reads_are_not_logged_to_mlflow_even_where_feast_is_told_to(champion, tmp_path: Path, monkeypatch):
    plain = Path(champion.environment["FEAST_FS_YAML_FILE_PATH"]).read_text()
    logging = tmp_path / "feature_store.yaml"
    logging.write_text(plain + "mlflow:\n  enabled: true\n  auto_log: true\n")
    monkeypatch.setenv("FEAST_FS_YAML_FILE_PATH", str(logging))
    assert FeatureStore().config.mlflow.auto_log
    scorer = mlflow.pyfunc.load_model(f"models:/{MODEL}_by_person@champion").unwrap_python_model()
    assert scorer.store.mlflow is None


def test_a_service_that_lacks_what_the_champion_needs_is_told_when_loading(champion, monkeypatch):
    path = mlflow.artifacts.download_artifacts(f"models:/{MODEL}_by_person@champion")
    service = FeatureStore().get_feature_service("high_income")
    message = (
        f"^never_married version {champion.version} needs income_bracket, and feature service {service.name} "
        "does not give it: train again, or roll the service back$"
    )
    with pytest.raises(ValueError, match=message):
        mlflow.pyfunc.load_model(path, model_config={"service": service.name})
