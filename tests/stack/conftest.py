"""One running stack that all of these tests look at: `make test-stack` starts it, and ends it with its volumes.

They stop, kill and restore its services, so they are not for a stack whose data somebody needs.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack.clients import Login, Registry, Serving, until

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
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


def printed(after: str) -> list[str]:
    """Return the commands of the block that follows some words of docs/operations.md."""
    block = PAGE.read_text().partition(after)[2].partition("```sh\n")[2].partition("```")[0]
    assert block, f"{PAGE}: no commands after {after!r}"
    return [line for line in block.splitlines() if not line.startswith("#")]


def typed(command: str, **options: Any) -> str:
    """Run a command of docs/operations.md as a person types it, and return what it says."""
    done = subprocess.run(
        command, shell=True, cwd=ROOT, text=True, capture_output=True, timeout=600, check=False, **options
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def read_secrets(file: str | Path | None = None) -> dict[str, str]:
    """Return what .env says, or the file in its place."""
    lines = Path(file or os.environ.get("COMPOSE_ENV_FILES", ROOT / ".env")).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.fixture(scope="session")
def secrets() -> dict[str, str]:
    """Return what .env says."""
    return read_secrets()


def configured(**options: Any) -> dict[str, Any]:
    """Return the stack as compose reads it."""
    config: dict[str, Any] = json.loads(compose("--profile", "*", "config", "--format", "json", **options).stdout)
    return config


def published(config: dict[str, Any]) -> dict[str, str]:
    """Return where the published services answer."""
    found = {}
    for name, service in config["services"].items():
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1"
            found[name] = f"http://127.0.0.1:{port['published']}"
    return found


@pytest.fixture(scope="session")
def pages() -> dict[str, str]:
    """Return where the published services answer."""
    return published(configured())


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


@pytest.fixture(scope="session")
def registry(pages, secrets) -> Registry:
    """Return MLflow as the services' reader sees it."""
    return Registry(pages["mlflow"], "serving", secrets["STACK_MLFLOW_SERVING_PASSWORD"])


@pytest.fixture(scope="module")
def serving(trained, pages, secrets) -> Iterator[Serving]:
    """Return the champion of now, served."""
    compose("--profile", "serving", "up", "--wait", "--detach", "serving")
    yield Serving(pages["serving"], secrets["STACK_SERVING_TOKEN"])
    compose("--profile", "serving", "rm", "--stop", "--force", "serving")


FIRST_PERSON = """
import glob, pyarrow.parquet as pq
print(pq.read_table(sorted(glob.glob("/lake/census/*.parquet"))[-1], columns=["person_id"])["person_id"][0].as_py())
"""


@pytest.fixture(scope="session")
def person(trained) -> str:
    """Return somebody's id."""
    return inside("scheduler", "python", "-c", FIRST_PERSON).stdout.strip()
