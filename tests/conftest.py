"""The environment that tests run in: env.sh's, on a folder of their own."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests of training run on a tracking server, whose models and experiments they remove."""
    parser.addoption("--mlflow-server", help="address of the server; its login is the environment's")
    parser.addoption("--mlflow-artifacts", help="folder in which the server keeps artifacts")


def _environment(var: Path, **settings: str) -> dict[str, str]:
    """Return what a shell has after `. ./env.sh` with VAR_DIR and `settings`, and nothing of this process's own."""
    given = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    given |= {"PROJECT_ROOT": str(ROOT), "VAR_DIR": str(var), **settings}
    script = ["sh", "-c", ". ./env.sh && env -0"]
    shell = subprocess.run(script, cwd=ROOT, env=given, capture_output=True, check=True, text=True)
    return dict(line.split("=", 1) for line in shell.stdout.split("\0") if "=" in line)


@pytest.fixture(scope="session")
def environment_of() -> Callable[..., dict[str, str]]:
    """Return the environment that env.sh makes for a var folder and settings."""
    return _environment


@pytest.fixture
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give this process the environment of env.sh on a fresh folder, which is returned."""
    folder = tmp_path / "var"
    for name, value in _environment(folder).items():
        monkeypatch.setenv(name, value)
    return folder
