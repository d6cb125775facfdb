"""dags/connections.py with Airflow's Google provider, in the environment that has it: for whom libraries act."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.objects import accounts, stores

pytestmark = pytest.mark.sweep  # the provider takes its time to import
ROOT = Path(__file__).parents[3]
NOWHERE = "http://127.0.0.1:9/token"
SIGN_IN = """
import connections, google.auth
connections.sign_in({})
credentials, _ = google.auth.default()
print(credentials.service_account_email)
"""


@pytest.fixture
def run(tmp_path, environment_of):
    """Return a call that runs code where a task's runs, on a machine that is signed in as `machine`."""
    machine = tmp_path / "machine.json"
    machine.write_text(json.dumps(accounts.key("machine", NOWHERE)))

    def ended(code: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = environment_of(tmp_path / "var", **{"GOOGLE_APPLICATION_CREDENTIALS": str(machine)} | settings)
        environment["PYTHONPATH"] += f"{os.pathsep}{ROOT / 'dags'}"
        command = [ROOT / ".venv/.gcp/bin/python", "-W", "ignore", "-c", code]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return ended


def connection(**extra: str) -> dict[str, str]:
    """Return the setting that gives Airflow a connection to Google Cloud."""
    return {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps({"conn_type": "google_cloud_platform", "extra": extra})}


def signed_in(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_the_connections_key_is_what_every_library_finds(run):
    key = json.dumps(accounts.key("connection", NOWHERE))
    assert signed_in(run(SIGN_IN, **connection(keyfile_dict=key))) == accounts.email("connection")


def test_the_connections_key_file_is_what_every_library_finds(run, tmp_path):
    path = tmp_path / "key.json"
    path.write_text(json.dumps(accounts.key("connection", NOWHERE)))
    assert signed_in(run(SIGN_IN, **connection(key_path=str(path)))) == accounts.email("connection")


def test_a_key_file_that_is_not_there_ends_the_task(run, tmp_path):
    done = run(SIGN_IN, **connection(key_path=str(tmp_path / "none.json")))
    assert done.returncode == 1
    assert f"FileNotFoundError: [Errno 2] No such file or directory: '{tmp_path / 'none.json'}'" in done.stderr


@pytest.mark.parametrize("given", [{}, connection()], ids=["no connection", "a connection without a key"])
def test_application_default_credentials_stay(run, given):
    assert signed_in(run(SIGN_IN, **given)) == accounts.email("machine")


def test_xcoms_on_an_address_that_names_the_connection_need_no_other_credentials(run, tmp_path):
    """A task reads what the one before returned before it signs in."""
    code = """
from airflow.sdk import ObjectStoragePath
path = ObjectStoragePath("gs://google_cloud_default@census/xcoms/value.json")
path.write_text("1")
print(path.read_text())
"""
    with stores.running(tmp_path / "stores") as found, accounts.tokens() as (token_uri, asked):
        key = json.dumps(accounts.key("connection", token_uri))
        elsewhere = {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json", "FSSPEC_GS_TOKEN": "google_default"}
        assert signed_in(run(code, **connection(keyfile_dict=key), **found | elsewhere)) == "1"
    assert asked == {accounts.email("connection")}
