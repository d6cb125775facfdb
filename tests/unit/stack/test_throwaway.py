"""`make test-stack` aims `docker compose` at a stack of its own alone, and takes away what it made."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OTHERS = {
    "STACK_ARTIFACTS": "s3://production",
    "DATA_SOURCE": "their.csv",
    "COMPOSE_PROFILES": "celery",
    "AIRFLOW_PORT": "8080",
    "COMPOSE_FILE": "theirs.yml",
}
DOCKER = """#!/bin/sh
env > "$CALLS/$(ls "$CALLS" | wc -l).env"
cat "$COMPOSE_ENV_FILES" > "$CALLS/../secrets"
echo "$@" >> "$CALLS/../arguments"
"""


@pytest.fixture
def called(tmp_path) -> tuple[list[str], list[dict[str, str]], Path]:
    """Run it where docker does nothing and pytest says its version; return docker's arguments and environments."""
    calls, program = tmp_path / "calls", tmp_path / "bin" / "docker"
    for folder in (calls, program.parent, tmp_path / "tmp"):
        folder.mkdir()
    program.write_text(DOCKER)
    program.chmod(0o755)
    env = {**os.environ, **OTHERS, "PATH": f"{program.parent}:{os.environ['PATH']}", "CALLS": str(calls)}
    command = [ROOT / "tests/stack/run.sh", "--version"]
    subprocess.run(command, env={**env, "TMPDIR": str(tmp_path / "tmp")}, check=True, capture_output=True)
    environments = [
        dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
        for path in sorted(calls.iterdir())
    ]
    return (tmp_path / "arguments").read_text().splitlines(), environments, tmp_path


def test_the_stack_is_its_own_and_goes_with_its_volumes(called):
    arguments, environments, folder = called
    project = environments[0]["COMPOSE_PROJECT_NAME"]
    assert project.startswith("census-test-")
    assert arguments == [
        "compose up --build --wait",
        "compose --profile * down --volumes --remove-orphans",
        f"image rm census-stack:{project}",
    ]
    for env in environments:
        assert (env["COMPOSE_PROJECT_NAME"], env["STACK_VERSION"]) == (project, project)
        assert env["COMPOSE_FILE"] == "docker-compose.yml"
        assert env["COMPOSE_ENV_FILES"] != str(ROOT / ".env")
        assert not (OTHERS.keys() - {"COMPOSE_FILE"}) & env.keys()
    assert list((folder / "tmp").iterdir()) == []


def test_its_secrets_and_ports_are_new(called):
    given = dict(line.split("=", 1) for line in (called[2] / "secrets").read_text().splitlines())
    assert {name for name in given if not name.startswith("STACK_")} == {"AIRFLOW_PORT", "MLFLOW_PORT", "SERVING_PORT"}
    assert len({given[name] for name in ("AIRFLOW_PORT", "MLFLOW_PORT", "SERVING_PORT")} - {"8080"}) == 3
    assert len(given) == 20
