"""One folder, one `make demo` and one `make up` that all end-to-end tests look at."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local.airflow_api import DONE, AirflowAPI
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
SHORT_WAITS = {"TRAINING_APPROVAL_HOURS": "0.004", "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1"}


@pytest.fixture(scope="session")
def environment(tmp_path_factory, environment_of) -> Iterator[dict[str, str]]:
    """Give this process, and all that it starts, env.sh's settings on a fresh folder and free ports."""
    var = tmp_path_factory.mktemp("product") / "var"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment_of(var, **free_ports(), **SHORT_WAITS).items():
            patch.setenv(name, value)
        yield dict(os.environ)


def leftovers(environment: dict[str, str]) -> list[str]:
    """Return the commands of processes that still work in the tests' folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("VAR_DIR") == environment["VAR_DIR"] and process.pid != os.getpid():
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.fixture(scope="session")
def run_demo(environment):
    """Run what `make demo` runs, and return its end."""

    def run(**settings: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "ignore", "-m", "local.demo"]
        return subprocess.run(
            command, cwd=ROOT, env={**environment, **settings}, capture_output=True, text=True, timeout=500, check=False
        )

    return run


@pytest.fixture(scope="session")
def first_demo(run_demo, environment):
    """Return the end of a demo on an empty folder, with what it left running."""
    done = run_demo()
    done.left_behind = leftovers(environment)
    return done


@pytest.fixture(scope="session")
def up(first_demo, environment, tmp_path_factory) -> Iterator[AirflowAPI]:
    """Give a client of what `make up` serves; Ctrl-C ends it, and nothing is left."""
    output = tmp_path_factory.mktemp("up") / "output"
    with output.open("w") as file:
        command = [sys.executable, "-W", "ignore", "-m", "local.up"]
        program = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 200
        while "Ctrl-C stops everything" not in output.read_text():
            assert program.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.5)
        api = AirflowAPI()
        api.login()
        api.printed = output.read_text()
        yield api
    finally:
        program.send_signal(signal.SIGINT)
        code = program.wait(timeout=60)
    assert code == 0, output.read_text()
    assert leftovers(environment) == []


@pytest.fixture
def finished(up):
    """Wait for a run to end and return the states of its tasks."""

    def wait(dag: str, run: str) -> dict[str, str]:
        deadline = time.monotonic() + 200
        while up.run(dag, run)["state"] not in DONE:
            assert time.monotonic() < deadline
            time.sleep(0.3)
        return {task["task_id"]: task["state"] for task in up.tasks(dag, run)}

    return wait
