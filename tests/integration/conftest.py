"""The production stack's parts without containers: PostgreSQL, Redis, MLflow's server with logins, Airflow on them."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from local.airflow_api import DONE, AirflowAPI
from local.services import Services
from tests.applying import init_registry
from tests.integration.receiver import receiver
from tests.ports import free_ports
from tests.servers import Postgres, Redis, postgres, valkey

ROOT = Path(__file__).parents[2]
ARTIFACTS = "artifacts"
PUBLISH, TRAIN = "publish_features", "train_never_married"
PUBLISHED = ["extract", "clean", "validate", "publish", "materialize", "verify", "prune"]
WORK = ["training_set", "cross_validate", "gate", "fit", "register", "needs_approval", "promote", "report"]
TRAINED = {**dict.fromkeys(WORK, "success"), "approval": "skipped"}
SECONDS = 400  # until which a thing has to have happened, however busy the machine
USERS = ("airflow", "mlflow", "mlflow_auth", "feast")


@dataclass(frozen=True)
class Stack:
    """The servers, the settings that lead to them, the metrics that Airflow has sent, and MLflow's artifacts."""

    services: Services
    postgres: Postgres
    redis: Redis
    environment: dict[str, str]
    metrics: set[str]
    artifacts: Path

    @property
    def lineage(self) -> Path:
        """Return the folder of OpenLineage's events, a file each."""
        return Path(self.environment["VAR_DIR"]) / "lineage"


@pytest.fixture(scope="session")
def stack(tmp_path_factory, environment_of) -> Iterator[Stack]:
    """Start the servers; give this process, and all that it starts, the settings that lead to them."""
    folder = tmp_path_factory.mktemp("stack")
    with Services(folder / "logs") as services, postgres(services, USERS) as server, receiver() as (otlp, metrics):
        redis = valkey(services, folder)
        settings = {**found_at(server, redis), **watched(folder, otlp), **mlflow_login(folder, server), **free_ports()}
        settings["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{settings['MLFLOW_PORT']}"
        environment = environment_of(folder / "var", **settings)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            start_mlflow(services, folder)
            init_registry()
            yield Stack(services, server, redis, environment, metrics, folder / ARTIFACTS)


def found_at(server: Postgres, redis: Redis) -> dict[str, str]:
    """Return the settings that put all databases into PostgreSQL and the online store into Redis."""
    return {
        "FEAST_FS_YAML_FILE_PATH": str(ROOT / "feature_repo/feature_store.stack.yaml"),
        "FEAST_REGISTRY_URI": server.uri("feast"),
        "FEAST_REDIS": redis.feast,
        "MLFLOW_BACKEND_STORE_URI": server.uri("mlflow"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": server.uri("airflow"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": server.uri("airflow", driver="postgresql+psycopg_async"),
    }


def watched(folder: Path, otlp: str) -> dict[str, str]:
    """Return the settings that make Airflow tell its lineage and its metrics."""
    events = folder / "var/lineage"
    events.mkdir(parents=True)
    return {
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": str(events / "event")}),
        "AIRFLOW__METRICS__OTEL_ON": "True",
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRIC_EXPORT_INTERVAL": "2000",
    }


def mlflow_login(folder: Path, server: Postgres) -> dict[str, str]:
    """Return the settings of MLflow's own authentication, for its server and its clients."""
    config, login = folder / "mlflow_auth.ini", secrets.token_urlsafe(16)
    config.write_text(
        "[mlflow]\ndefault_permission = READ\nadmin_username = admin\n"
        "auth_cache_ttl_seconds = 60\n"  # else each request hashes the password anew, which takes most of its time
        f"database_uri = {server.uri('mlflow_auth')}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_AUTH_ADMIN_PASSWORD": login,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_urlsafe(16),
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": login,
    }


def start_mlflow(services: Services, folder: Path) -> None:
    """Start MLflow's server, which proxies artifacts and counts requests; it may not be up yet."""
    artifacts = ["--artifacts-destination", str(folder / ARTIFACTS), "--default-artifact-root", "mlflow-artifacts:/"]
    options = ["--app-name", "basic-auth", "--expose-prometheus", str(folder / "prometheus")]
    services.start("mlflow", "mlflow", "server", *artifacts, *options)


@pytest.fixture(scope="session")
def mlflow_server(stack) -> str:
    """Return the address of MLflow's server once it answers."""
    uri = stack.environment["MLFLOW_TRACKING_URI"]
    stack.services.wait("MLflow", lambda: requests.get(f"{uri}/health", timeout=5).ok, SECONDS)
    return uri


@contextmanager
def airflow(log: Path) -> Iterator[None]:
    """Run Airflow's programs in a process of its own: what ends them may not end the servers."""
    with log.open("w") as file:
        command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("airflow_programs.py"))]
        program = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + SECONDS
        while log.read_text().strip() != "up":
            assert program.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        program.send_signal(signal.SIGINT)
        code = program.wait(timeout=60)
    assert code == 0, log.read_text()


@pytest.fixture(scope="session")
def up(stack, mlflow_server, tmp_path_factory) -> Iterator[AirflowAPI]:
    """Give a client of Airflow's API server, with both DAGs switched on."""
    with airflow(tmp_path_factory.mktemp("airflow") / "output"):
        api = AirflowAPI()
        api.login()
        yield api


@pytest.fixture(scope="session")
def finished(up) -> Callable[[str, str], dict[str, str]]:
    """Wait for a run to end and return the states of its tasks."""

    def wait(dag: str, run: str) -> dict[str, str]:
        deadline = time.monotonic() + SECONDS
        while up.run(dag, run)["state"] not in DONE:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return {task["task_id"]: task["state"] for task in up.tasks(dag, run)}

    return wait


@dataclass(frozen=True)
class Runs:
    """The ids of the runs: a publication, the one that waited, and the training with a killed task."""

    published: str
    second: str
    trained: str

    def tasks(self) -> list[tuple[str, str, str]]:
        """Return DAG, run and task of all that the first publication and its training did."""
        return [(PUBLISH, self.published, task) for task in PUBLISHED] + [(TRAIN, self.trained, task) for task in WORK]


@pytest.fixture(scope="session")
def kill(up):
    """Kill the process of a task's first try, some time after it began its work, as `kill -9` does."""

    def when_running(dag: str, run: str, task: str, seconds: float) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            found = {instance["task_id"]: instance for instance in up.tasks(dag, run)}.get(task, {})
            if found.get("state") == "running" and found["pid"]:
                break
            assert up.run(dag, run)["state"] not in DONE, found
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        time.sleep(seconds)
        os.kill(found["pid"], signal.SIGKILL)

    return when_running


@pytest.fixture(scope="session")
def runs(up, finished, kill) -> Runs:
    """Ask for two publications at once on the empty stack; kill a task of the training that follows."""
    published, second = up.trigger(PUBLISH, force=True), up.trigger(PUBLISH)
    assert set(finished(PUBLISH, published).values()) == {"success"}
    trained = started_by(up, published)
    kill(TRAIN, trained, "fit", 0.3)
    assert finished(TRAIN, trained) == TRAINED
    return Runs(published, second, trained)


def started_by(up, published: str) -> str:
    deadline = time.monotonic() + SECONDS
    while not (trained := up.started_by(TRAIN, published)):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return trained
