"""What is not set up as the steps need it is refused with one line that says what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def changed_definitions(store, tmp_path: Path, old: str, new: str) -> dict[str, str]:
    """Return the environment of a registry to which other definitions were applied than the steps expect."""
    repo = tmp_path / "repo"
    shutil.copytree(ROOT / "feature_repo", repo, ignore=shutil.ignore_patterns("__pycache__"))
    text = (repo / "census.py").read_text()
    assert old in text
    (repo / "census.py").write_text(text.replace(old, new))
    environment = {
        "FEAST_REGISTRY_URI": f"sqlite:///{tmp_path}/registry.db",
        "FEAST_ONLINE_STORE_PATH": f"{tmp_path}/online.db",
        "REPO": str(repo),
    }
    assert store.job(["feast_apply"], {}, env=environment)["error"] is None
    return environment


def test_without_feast_apply_both_areas_say_to_run_it(store, tmp_path):
    state = store.before("publish")
    empty = {"FEAST_REGISTRY_URI": f"sqlite:///{tmp_path}/registry.db"}
    end = "is not in the registry of project 'census': run `feast apply` in feature_repo"
    assert store.job(["publish"], state, env=empty)["error"] == f"DataError: feature view census {end}"
    found = store.job(["training_set"], state, env=empty)["error"]
    assert found == f"TrainingError: feature service never_married {end}"


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ('"age_bin"', '"age_group"', "lacks age_bin, which is published"),
        (
            '        Field(name="snapshot_id"',
            '        Field(name="height", dtype=Int64),\n        Field(name="snapshot_id"',
            "has height, which is not published",
        ),
        ('name="capital_gain", dtype=Int64', 'name="capital_gain", dtype=String', "has capital_gain as String, and"),
        ('/census"', '/people"', "reads "),
    ],
    ids=["lacks", "has", "type", "folder"],
)
def test_a_view_that_differs_from_what_is_published_is_refused_before_anything_is(
    store, tmp_path, old, new, difference
):
    state = store.before("publish")
    error = store.job(["publish"], state, env=changed_definitions(store, tmp_path, old, new))["error"]
    assert error.startswith(f"DataError: feature view census in the registry of project 'census' {difference}")
    assert error.endswith(": run `feast apply` in feature_repo")
    assert len(list((store.var / "lake/census").iterdir())) == 1


def test_a_training_service_without_the_label_is_refused(store, tmp_path):
    state = store.before("training_set")
    other = changed_definitions(store, tmp_path, '"marital_status", "snapshot_id"]]', '"snapshot_id"]]')
    assert store.job(["training_set"], state, env=other)["error"] == (
        "TrainingError: feature service never_married_training in the registry of project 'census' lacks "
        "marital_status: run `feast apply` in feature_repo"
    )


def test_a_registry_of_another_project_is_named(store, tmp_path):
    state = store.before("publish")
    config = tmp_path / "feature_store.yaml"
    config.write_text((ROOT / "feature_repo/feature_store.yaml").read_text().replace("project: census", "project: x"))
    error = store.job(["publish"], state, env={"FEAST_FS_YAML_FILE_PATH": str(config)})["error"]
    assert error == (
        "DataError: feature view census is not in the registry of project 'x' (it has project 'census'): "
        "run `feast apply` in feature_repo"
    )


def test_an_mlflow_that_does_not_answer_is_named_within_seconds(store):
    job = store.job(["training_set"], store.before("training_set"), env={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    assert job["error"] == (
        "ConnectionError: no MLflow answers at http://127.0.0.1:9 (Connection refused): "
        "start it, or correct MLFLOW_TRACKING_URI"
    )
    assert job["seconds"] < 5


def test_mlflows_own_client_gives_up_soon_too(environment_of, tmp_path):
    settings = environment_of(tmp_path / "var")
    assert int(settings["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) <= 2
    assert int(settings["MLFLOW_HTTP_REQUEST_TIMEOUT"]) <= 30


def test_a_var_that_cannot_be_written_is_named(environment_of, tmp_path):
    (tmp_path / "file").touch()
    var = tmp_path / "file/var"
    script = ["sh", "-c", ". ./env.sh && exec python -W ignore -m local.demo"]
    given = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "VAR_DIR": str(var), "PROJECT_ROOT": str(ROOT)}
    done = subprocess.run(script, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{var} cannot be written: set VAR_DIR\n"
    assert done.stdout.strip().endswith(
        f"demo failed: {var} cannot be written (Not a directory): set VAR_DIR to a folder that can"
    )


def made(folder: Path, target: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the project's Makefile in a folder of its own, where nothing is installed."""
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    command = ["make", target, *(f"{name}={value}" for name, value in variables.items())]
    # As typed by hand: a make that runs the tests tells those below it of its jobs.
    own = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)


def stand_in(path: Path, script: str) -> Path:
    """Write a program that is called as Python with `-c` and runs `script` before the code that it is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{script}; import sys; exec(sys.argv[1])' \"$2\"\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("version", ["(3, 10, 14)", "(3, 14, 0)", "(2, 7, 18)"])
def test_a_python_that_is_too_old_or_too_new_is_named_and_nothing_is_installed(tmp_path, version):
    python = stand_in(tmp_path / "python", f"import sys; sys.version_info = {version}")
    done = made(tmp_path, "demo", PYTHON=str(python))
    assert done.returncode
    major, minor, _ = version.strip("()").split(", ")
    assert done.stderr.splitlines()[0] == (
        f"Python {major}.{minor} cannot run this project: install 3.11, 3.12 or 3.13 and name it, "
        "as in make PYTHON=python3.12"
    )
    assert not (tmp_path / ".venv").exists()


def test_a_missing_libgomp_is_named(tmp_path):
    stand_in(tmp_path / ".venv/.uv/bin/uv", "")
    (tmp_path / ".venv/.uv/bin/uv").write_text("#!/bin/sh\n")
    missing = 'import ctypes; ctypes.CDLL = lambda name: (_ for _ in ()).throw(OSError(name + ": cannot open"))'
    stand_in(tmp_path / ".venv/bin/python", missing)
    done = made(tmp_path, "demo")
    assert done.returncode
    assert "LightGBM needs libgomp.so.1, which this machine has not: install the package libgomp1" in done.stdout
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".venv/.runtime").exists()
