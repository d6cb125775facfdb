"""One running stack that all of these tests look at: `make test-stack` starts it, and ends it with its volumes.

They stop, kill and restore its services, so they are not for a stack whose data somebody needs.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from local.airflow_api import DONE, AirflowAPI

ROOT = Path(__file__).parents[2]
DAGS = ("publish_features", "train_never_married")
ROLES = {"engineer": "data-engineering", "scientist": "ml-engineering", "viewer": "Viewer"}


def compose(*arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `docker compose`."""
    done = subprocess.run(
        ["docker", "compose", *arguments], cwd=ROOT, text=True, capture_output=True, timeout=600, check=False, **options
    )
    if check:
        assert done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done


def docker(*arguments: str) -> str:
    """Return what `docker` says."""
    return subprocess.run(["docker", *arguments], text=True, capture_output=True, timeout=60, check=True).stdout


def inside(service: str, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a service's container."""
    return compose("exec", "-T", service, *command, check=check, **options)


def until(what: str, ready: Callable[[], Any], seconds: float = 120) -> Any:
    """Return what `ready` returns as soon as it is true; a page that does not answer is not ready."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := ready():
                return found
        except (requests.ConnectionError, requests.Timeout, requests.HTTPError):
            pass
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.5)


class Login(AirflowAPI):
    """Airflow's REST API, as one of its users."""

    def __init__(self, base: str, user: str, password: str) -> None:
        self.base, self.session, self.user, self.secret = base, requests.Session(), user, password

    def login(self) -> None:
        """Get a token."""
        body = {"username": self.user, "password": self.secret}
        answer = requests.post(f"{self.base}/auth/token", json=body, timeout=60)
        answer.raise_for_status()
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def status(self, method: str, path: str, **options: Any) -> int:
        """Return the HTTP status of a call."""
        return self.session.request(method, f"{self.base}{path}", timeout=60, **options).status_code

    def ended(self, dag: str, run: str, seconds: float = 300) -> str:
        """Return the state in which a run ended."""
        return until(f"{dag} {run}", lambda: (state := self.run(dag, run)["state"]) in DONE and state, seconds)

    def states(self, dag: str, run: str) -> dict[str, str]:
        """Return each task's state."""
        return {task["task_id"]: task["state"] for task in self.tasks(dag, run)}


def read_secrets() -> dict[str, str]:
    """Return what .env says."""
    lines = (ROOT / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.fixture(scope="session")
def secrets() -> dict[str, str]:
    """Return what .env says."""
    return read_secrets()


@pytest.fixture(scope="session")
def pages() -> dict[str, str]:
    """Return where the published services answer."""
    config = json.loads(compose("--profile", "*", "config", "--format", "json").stdout)
    found = {}
    for name, service in config["services"].items():
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1"
            found[name] = f"http://127.0.0.1:{port['published']}"
    return found


@pytest.fixture(scope="session")
def admin(pages, secrets) -> Login:
    """Return Airflow as its admin sees it, with the DAGs there."""
    login = Login(pages["api-server"], "admin", secrets["STACK_AIRFLOW_ADMIN_PASSWORD"])
    until("Airflow", login.healthy)
    login.login()
    for dag in DAGS:
        until(f"DAG {dag}", lambda dag=dag: login.has_dag(dag))
    return login


@pytest.fixture(scope="session")
def users(admin, pages) -> Iterator[dict[str, Login]]:
    """Return a user of each role, made by the admin over REST."""
    logins = {name: Login(pages["api-server"], name, os.urandom(16).hex()) for name in ROLES}
    for name, login in logins.items():
        body = {
            "username": name,
            "password": login.secret,
            "first_name": name,
            "last_name": "Test",
            "email": f"{name}@example.com",
            "roles": [{"name": ROLES[name]}],
        }
        admin.status("DELETE", f"/auth/fab/v1/users/{name}")
        answer = admin.session.post(f"{admin.base}/auth/fab/v1/users", json=body, timeout=60)
        assert answer.ok, answer.text
        login.login()
    yield logins
    admin.login()  # the first token may be a day old, or the server new
    for name in logins:
        admin.status("DELETE", f"/auth/fab/v1/users/{name}")


@pytest.fixture(scope="session")
def trained(admin, users) -> dict[str, str]:
    """Publish as the data engineer, and let the Asset start the training; return both runs."""
    publishing, training = DAGS
    users["engineer"].unpause(publishing)
    users["scientist"].unpause(training)
    run = users["engineer"].trigger(publishing, force=True)
    assert admin.ended(publishing, run) == "success", admin.states(publishing, run)
    followed = until("the training", lambda: admin.started_by(training, run))
    assert admin.ended(training, followed) == "success", admin.states(training, followed)
    return {publishing: run, training: followed}


class Registry:
    """MLflow's REST API, as one of its users."""

    def __init__(self, base: str, user: str, password: str) -> None:
        self.base, self.auth = f"{base}/api/2.0/mlflow", (user, password)

    def champion(self, model: str = "never_married") -> str:
        """Return the version that alias champion points to."""
        answer = requests.get(
            f"{self.base}/registered-models/alias",
            params={"name": model, "alias": "champion"},
            auth=self.auth,
            timeout=60,
        )
        answer.raise_for_status()
        return str(answer.json()["model_version"]["version"])


@pytest.fixture(scope="session")
def registry(pages, secrets) -> Registry:
    """Return MLflow as the services' reader sees it."""
    return Registry(pages["mlflow"], "serving", secrets["STACK_MLFLOW_SERVING_PASSWORD"])
