"""A model goes from one stack to another by training there; the second one keeps its artifacts in a bucket."""

import os
import re
import secrets as random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import requests

from stack import make_secrets
from tests.ports import free_ports
from tests.stack.clients import Login, Registry, Serving, until
from tests.stack.conftest import (
    DAGS,
    FIRST_PERSON,
    PAGE,
    compose,
    configured,
    docker,
    inside,
    printed,
    published,
    read_secrets,
    typed,
)

PUBLISHING, TRAINING = DAGS
BUCKET = "models"
SOURCE = "/app/data_engineering/data/adult.data.gz"  # DATA_SOURCE's default, in the image and so in both stacks
TITLE = "**From staging to production.**"
MODEL_TEXT = """
import hashlib, mlflow
from training import reproduce
model = mlflow.sklearn.load_model("models:/never_married@champion")
print(hashlib.sha256("\\n".join(reproduce.text(model)).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory) -> Iterator[dict[str, str]]:
    """Run an S3 that containers reach, with an empty bucket; give what its clients' environment needs."""
    address = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
    port = free_ports(["s3"])["s3"]
    environment = {
        "AWS_ACCESS_KEY_ID": "census",
        "AWS_SECRET_ACCESS_KEY": random.token_hex(16),
        "AWS_ENDPOINT_URL": f"http://{address}:{port}",
    }
    with (tmp_path_factory.mktemp("s3") / "log").open("wb") as log:
        moto = Path(sys.executable).with_name("moto_server")
        server = subprocess.Popen([moto, "-H", address, "-p", port], stdout=log, stderr=log)
        try:
            until("S3", lambda: requests.get(environment["AWS_ENDPOINT_URL"], timeout=5))
            stored(environment).create()
            yield environment
        finally:
            server.terminate()
            server.wait(timeout=20)


def stored(environment: dict[str, str]):
    """Return the bucket."""
    s3 = boto3.resource(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    return s3.Bucket(BUCKET)


@pytest.fixture(scope="module")
def production(bucket, tmp_path_factory) -> Iterator[dict[str, str]]:
    """Give the environment in which `docker compose` means a stack of its own, which is not there yet."""
    folder = tmp_path_factory.mktemp("production")
    make_secrets.main(folder)
    override = folder / "override.yml"
    override.write_text(PAGE.read_text().partition("```yaml\n")[2].partition("```")[0])
    environment = {
        **os.environ,
        **free_ports(("AIRFLOW_PORT", "MLFLOW_PORT", "SERVING_PORT")),
        **bucket,
        "COMPOSE_PROJECT_NAME": f"{configured()['name']}-production",
        "COMPOSE_ENV_FILES": str(folder / ".env"),
        "COMPOSE_FILE": f"{os.environ.get('COMPOSE_FILE', 'docker-compose.yml')}:{override}",
        "STACK_ARTIFACTS": f"s3://{BUCKET}/mlflow",
    }
    yield environment
    compose("--profile", "*", "down", "--volumes", "--remove-orphans", env=environment)


def only_run(admin: Login, dag: str) -> str:
    """Return the one run that a DAG has."""
    (run,) = admin.call("GET", f"/dags/{dag}/dagRuns")["dag_runs"]
    return str(run["dag_run_id"])


def approved(admin: Login, run: str) -> None:
    """Answer as the person who is asked whether the champion may change."""
    until("the question", lambda: admin.states(TRAINING, run)["approval"] == "awaiting_input", 300)
    time.sleep(2)  # Airflow 3.3 fails a task that is answered before it has noted that the process which asked ended
    path = f"/dags/{TRAINING}/dagRuns/{run}/taskInstances/approval/-1/hitlDetails"
    admin.call("PATCH", path, json={"chosen_options": ["Approve"], "params_input": {}})
    assert admin.ended(TRAINING, run) == "success", admin.states(TRAINING, run)


@pytest.fixture(scope="module")
def moved(trained, registry, production) -> tuple[str, str]:
    """Do what the page says, and return the champion's lineage at staging and at production."""
    if registry.champion() != "1":
        inside(
            "scheduler", *["python", "-m", "training", "rollback", "never_married", "--to", "1", "--reason"], "a test"
        )
    staged, up, pause, unpause, publish, train, resume, shown = printed(TITLE)
    at_staging = typed(staged)
    typed(up, env=production)
    secret = read_secrets(production["COMPOSE_ENV_FILES"])["STACK_AIRFLOW_ADMIN_PASSWORD"]
    admin = Login(published(configured(env=production))["api-server"], "admin", secret)
    admin.login()
    for dag in DAGS:
        until(f"DAG {dag}", lambda dag=dag: admin.has_dag(dag))
    for command in (pause, unpause, publish.replace("https://…/census.csv", SOURCE)):
        typed(command, env=production)
    run = only_run(admin, PUBLISHING)
    assert admin.ended(PUBLISHING, run) == "success", admin.states(PUBLISHING, run)
    for command in (train, resume):
        typed(command, env=production)
    approved(admin, only_run(admin, TRAINING))
    return at_staging, typed(shown, env=production)


def test_production_trains_the_model_that_staging_has(moved, production):
    digests = [re.findall(r"sha256 ([0-9a-f]{64})", shown) for shown in moved]
    assert len(digests[0]) >= 3
    assert digests[0] == digests[1]
    texts = [
        inside("scheduler", "python", "-W", "ignore", "-c", MODEL_TEXT, env=env).stdout.split()[-1]
        for env in (None, production)
    ]
    assert texts[0] == texts[1]


def test_a_champion_whose_artifacts_are_in_a_bucket_is_served(moved, production, bucket):
    keys = [found.key for found in stored(bucket).objects.all()]
    assert any(key.startswith("mlflow/") and key.endswith("/MLmodel") for key in keys), keys
    assert inside("mlflow", "find", "/artifacts", "-type", "f", env=production).stdout == ""
    for service in ("scheduler", "api-server"):
        assert bucket["AWS_SECRET_ACCESS_KEY"] not in inside(service, "env", env=production).stdout
    compose("--profile", "serving", "up", "--wait", "--detach", "serving", env=production)
    pages, given = published(configured(env=production)), read_secrets(production["COMPOSE_ENV_FILES"])
    person = inside("scheduler", "python", "-c", FIRST_PERSON, env=production).stdout.strip()
    answer = Serving(pages["serving"], given["STACK_SERVING_TOKEN"]).predictions(person)[0]
    version = Registry(pages["mlflow"], "serving", given["STACK_MLFLOW_SERVING_PASSWORD"]).champion()
    assert (answer["error"], answer["version"]) == (None, version)
