"""`make demo` again: after one that was killed, whole or in part, it completes what was begun, once; else nothing."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from storage.scratch import SPILLS
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.sweep


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory, environment_of) -> dict[str, str]:
    """Return the environment of a demo that no other test looks at."""
    return environment_of(tmp_path_factory.mktemp("restarts") / "var", **free_ports())


@pytest.fixture
def demo(own_folder, tmp_path):
    """Start a demo; return it once it has printed a text or has ended, with the file of its output."""
    started = []

    def start(until: str | None) -> tuple[subprocess.Popen[bytes], Path]:
        output = tmp_path / f"output {len(started)}"
        with output.open("w") as file:
            command = [sys.executable, "-W", "ignore", "-m", "local.demo"]
            program = subprocess.Popen(command, cwd=ROOT, env=own_folder, stdout=file, stderr=subprocess.STDOUT)
        started.append(program)
        deadline = time.monotonic() + 280
        while program.poll() is None and not (until and until in output.read_text()):
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.1)
        return program, output

    yield start
    for program in started:
        program.kill()


def program_of(demo: subprocess.Popen[bytes], name: str) -> psutil.Process:
    commands = ((child, " ".join(child.cmdline())) for child in psutil.Process(demo.pid).children())
    return next(child for child, command in commands if name in command.replace("_", "-"))  # Airflow renames some


@pytest.mark.timeout(900)
def test_a_demo_stopped_by_dead_programs_and_by_its_own_death_is_completed_by_the_next(demo, own_folder):
    for name, until in (("scheduler", "done    clean"), ("api-server", "Airflow is up")):
        program, output = demo(until)
        program_of(program, name).send_signal(signal.SIGKILL)
        assert program.wait(timeout=60) == 1
        assert f"airflow-{name} ended; its log" in output.read_text()

    program, output = demo(until="done    training_set")
    program.kill()  # its programs are told by the kernel, and may take a moment to end
    program.wait()

    program, output = demo(until=None)
    assert program.returncode == 0, output.read_text()
    client = MlflowClient(own_folder["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("never_married").experiment_id
    (version,) = client.search_model_versions("name = 'never_married'")
    assert client.get_model_version_by_alias("never_married", "champion").version == version.version
    assert client.get_run(version.run_id).info.status == "FINISHED"
    logged = sorted(model.name for model in client.search_logged_models([experiment]))
    assert logged == ["never_married", "never_married_by_person"]
    lake = Path(own_folder["DATA_LAKE"])
    assert len(list((lake / "census").iterdir())) == 1
    assert [path for path in lake.rglob(".*") if path.name != SPILLS] == list((lake / SPILLS).iterdir()) == []


def test_a_demo_that_finds_nothing_new_trains_nothing(demo, own_folder):
    client = MlflowClient(own_folder["MLFLOW_TRACKING_URI"])
    (before,) = client.search_model_versions("name = 'never_married'")
    program, output = demo(until=None)
    assert program.returncode == 0, output.read_text()
    assert "unchanged: the source's content equals snapshot" in output.read_text()
    assert "nothing is trained anew" in output.read_text()
    (after,) = client.search_model_versions("name = 'never_married'")
    assert after.version == before.version
