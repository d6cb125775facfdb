"""What runs with the packages of requirements/runtime.lock alone: those that tests run with are more."""

import pkgutil
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {gone}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""
PRELOADED = "import sys; sys.argv = ['airflow', 'scheduler']; import airflow_local_settings"


@pytest.fixture(scope="module")
def gone() -> set[str]:
    """Return the names of modules that no package of runtime.lock has."""
    locked = re.findall(r"^([\w.-]+)==", (ROOT / "requirements/runtime.lock").read_text(), re.MULTILINE)
    kept = {_canonical(name) for name in locked}
    found = {
        module
        for module, owners in packages_distributions().items()
        if not kept & {_canonical(name) for name in owners}
    }
    assert {"redis", "psycopg", "aiobotocore", "pytest"} <= found
    return found


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def run(code: str, gone: set[str], environment: dict[str, str]) -> None:
    """Check that code ends well in a process that finds no more than runtime.lock has."""
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT.format(gone=gone) + code]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_scheduler_and_every_module_of_ours_import_what_there_is(gone, environment_of, tmp_path):
    modules = [
        module.name
        for package in ("data_engineering", "local", "storage", "training")
        for module in pkgutil.iter_modules([str(ROOT / package)], f"{package}.")
        if not module.ispkg and not module.name.endswith("__main__")
    ]
    assert "training.trial" in modules
    imports = [PRELOADED, "assert 'feast.infra.online_stores.sqlite' in sys.modules"]
    run("\n".join([*imports, *(f"import {name}" for name in modules)]), gone, environment_of(tmp_path))
