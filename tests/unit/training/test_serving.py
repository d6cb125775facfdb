"""training/serving.py and MLflow's own server: both registered forms, asked over HTTP."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from feast import FeatureStore
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus

from training import dataset as datasets, serving, tracking
from training.models import never_married

MODEL = "never_married"
BY_PERSON = f"{MODEL}_by_person"
SECONDS = 180


@pytest.fixture(scope="module")
def servers(champion) -> Iterator[dict[str, str]]:
    """Give the addresses of two of MLflow's servers: feature rows in, and person ids in."""
    serving.ensure_person_scorer(champion.client, never_married)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [str(held.getsockname()[1]) for held in (one, other)]
    started = [start(name, port, champion.environment) for name, port in zip((MODEL, BY_PERSON), ports, strict=True)]
    try:
        addresses = {name: f"http://127.0.0.1:{port}" for name, port in zip((MODEL, BY_PERSON), ports, strict=True)}
        for address, program in zip(addresses.values(), started, strict=True):
            wait_for(address, program)
        yield addresses
    finally:
        for program in started:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()


def start(name: str, port: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    uri = f"models:/{name}@champion"
    command = ["mlflow", "models", "serve", "-m", uri, "--env-manager", "local", "--host", "127.0.0.1", "--port", port]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def wait_for(address: str, program: subprocess.Popen[bytes]) -> None:
    for _ in range(SECONDS):
        assert program.poll() is None, "the server ended"
        try:
            if requests.get(f"{address}/ping", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(1)
    pytest.fail(f"no answer from {address}")


def asked(address: str, **question: Any) -> requests.Response:
    body = json.dumps(question)  # with NaN, which JSON has not and clients write all the same
    return requests.post(f"{address}/invocations", body, headers={"Content-Type": "application/json"}, timeout=60)


def answers(response: requests.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert "NaN" not in response.text
    return list(response.json()["predictions"])


@pytest.fixture(scope="module")
def rows(champion) -> list[dict[str, Any]]:
    return list(champion.dataset.inputs.to_dict("records"))


@pytest.fixture(scope="module")
def persons(champion) -> list[str]:
    """Return the person ids of the champion's training set, in its order."""
    return list(datasets.pull(never_married, FeatureStore())["person_id"].to_pylist())


def test_both_forms_answer_as_the_pipeline_does(champion, servers, rows, persons):
    probability = champion.pipeline.predict_proba(champion.dataset.inputs)[:, 1].tolist()
    expected = [{"prediction": p > 0.5, "probability": p, "error": None} for p in probability]
    assert len(expected) == 300
    assert answers(asked(servers[MODEL], dataframe_records=rows)) == expected
    split = champion.dataset.inputs.to_dict("split")
    assert answers(asked(servers[MODEL], dataframe_split=split)) == expected
    by_person = answers(asked(servers[BY_PERSON], dataframe_records=[{"person_id": person} for person in persons]))
    assert by_person == [{**answer, "version": champion.version} for answer in expected]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_text_is_an_error_of_its_row_alone(servers, rows, missing: float | None):
    first, second = answers(asked(servers[MODEL], dataframe_records=[{**rows[0], "occupation": missing}, rows[1]]))
    assert first == {"prediction": None, "probability": None, "error": "occupation is missing"}
    assert second["error"] is None


def test_an_unseen_category_is_an_error_of_its_row_alone(servers, rows):
    diver = {**rows[0], "occupation": "Diver"}
    first, second = answers(asked(servers[MODEL], dataframe_records=[diver, rows[1]]))
    error = "occupation is 'Diver', which the model has never seen"
    assert first == {"prediction": None, "probability": None, "error": error}
    assert second["error"] is None


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_number_is_refused_with_its_column(servers, rows, missing: float | None):
    """MLflow's server casts to the signature before the model sees a row: of a whole number it can make no null."""
    response = asked(servers[MODEL], dataframe_records=[{**rows[0], "age": missing}, rows[1]])
    assert response.status_code == 400
    assert "Failed to convert column age to type" in response.text


def test_a_missing_column_is_refused_with_its_name(servers, rows):
    without = {name: value for name, value in rows[0].items() if name != "age"}
    response = asked(servers[MODEL], dataframe_records=[without])
    assert response.status_code == 400
    assert "Model is missing inputs ['age']" in response.text
    response = asked(servers[BY_PERSON], dataframe_records=[{"person": "p"}])
    assert response.status_code == 400
    assert "Model is missing inputs ['person_id']" in response.text


def test_a_stranger_is_an_error_of_their_row_alone(champion, servers, persons):
    people = [{"person_id": person} for person in ("nobody", persons[0], None)]
    first, second, third = answers(asked(servers[BY_PERSON], dataframe_records=people))
    nothing = {"prediction": None, "probability": None, "version": champion.version}
    assert first == {**nothing, "error": "person_id is 'nobody', who is not in the online store"}
    assert second["error"] is None
    assert third == {**nothing, "error": "person_id is 'None', who is not in the online store"}


def test_many_may_ask_at_once(servers, persons):
    """Feast's SQLite connection is opened in one thread and read in the server's others."""

    def ask(person: str) -> Any:
        return answers(asked(servers[BY_PERSON], dataframe_records=[{"person_id": person}]))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, persons[:40])) == [ask(person) for person in persons[:40]]


def alias(client: MlflowClient) -> dict[str, str]:
    return {name: str(version) for name, version in client.get_registered_model(BY_PERSON).aliases.items()}


def test_the_code_is_registered_once_and_has_the_alias(champion):
    client: MlflowClient = champion.client
    found = [serving.ensure_person_scorer(client, never_married) for _ in range(2)]
    assert found[0] == found[1]
    assert [str(version.version) for version in client.search_model_versions(f"name = '{BY_PERSON}'")] == found[:1]
    assert alias(client) == {"champion": found[0]}


def test_other_code_is_another_version_and_takes_the_alias(champion, tmp_path, monkeypatch):
    client: MlflowClient = champion.client
    before = serving.ensure_person_scorer(client, never_married)
    code = tmp_path / "person_scorer.py"
    code.write_text(serving.CODE.read_text() + "\n# changed\n")
    monkeypatch.setattr(serving, "CODE", code)
    after = serving.ensure_person_scorer(client, never_married)
    assert int(after) > int(before)
    assert alias(client) == {"champion": after}
    monkeypatch.undo()
    assert serving.ensure_person_scorer(client, never_married) == before
    assert alias(client) == {"champion": before}


@pytest.mark.parametrize("at", ["log_model_artifacts", "finalize_logged_model", "create_model_version"])
def test_a_registration_that_was_stopped_is_completed_by_the_next(settings, champion, crowned, monkeypatch, at: str):
    crowned(settings, never_married)
    client = tracking.connect(settings)
    monkeypatch.setattr(client, at, stopped)
    with pytest.raises(KeyboardInterrupt):
        serving.ensure_person_scorer(client, never_married)
    monkeypatch.undo()
    client = tracking.connect(settings)
    try:
        assert serving.ensure_person_scorer(client, never_married) == "1"
        experiment_id = client.get_experiment_by_name(MODEL).experiment_id
        (logged,) = client.search_logged_models([experiment_id], f"name = '{BY_PERSON}'")
        assert logged.status == LoggedModelStatus.READY
    finally:
        tracking.connect(champion.settings)


def stopped(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt
