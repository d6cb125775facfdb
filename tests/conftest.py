"""The environment that tests run in: env.sh's, on a folder of their own."""

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).parent.parent
FAULTS = "tests/faults/"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests of training run on a tracking server, whose models and experiments they remove."""
    parser.addoption("--mlflow-server", help="address of the server; its login is the environment's")
    parser.addoption("--mlflow-artifacts", help="folder in which the server keeps artifacts")


class ByFile(LoadFileScheduling):
    """Gives each worker whole files; those of faults to one, since they share a store that takes long to make."""

    def _split_scope(self, nodeid: str) -> str:
        return FAULTS if nodeid.startswith(FAULTS) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Let pytest-xdist share the tests out so."""
    return ByFile(config, log)


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


@pytest.fixture(scope="session")
def object_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run emulators of S3 and Google Cloud Storage, and let the client libraries of this process find them."""
    from fsspec.config import conf

    from tests.objects import stores

    with stores.running(tmp_path_factory.mktemp("stores")) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setitem(conf, "gs", {"token": "anon"})  # fsspec has read its variables before
        yield environment


@pytest.fixture
def lake_on(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Return the call that gives a new, empty place: a `folder`, or on `s3` or `gs`."""

    def address(store: str) -> str:
        if store == "folder":
            return str(tmp_path / "lake")
        request.getfixturevalue("object_stores")
        return f"{store}://census/{secrets.token_hex(6)}"

    return address
