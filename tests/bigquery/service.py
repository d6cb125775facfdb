"""The BigQuery emulator as a process of its own, and what the real client libraries need to speak to it."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv/.bqemulator/bin/python"
PROJECT = "emulated"
START_SECONDS = 60.0


@contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Run the emulator, healthy, until the block ends; give the environment in which programs find it.

    Their client libraries are the real ones and sign in as a workload identity does.
    `storage_api` on PYTHONPATH leads them to the emulator's Storage Read API, of which they know no emulator.
    """
    ports = free_ports(("rest", "grpc"))
    address = f"http://127.0.0.1:{ports['rest']}"
    command = [PYTHON, Path(__file__).with_name("emulator.py")]
    options = ["--rest-port", ports["rest"], "--grpc-port", ports["grpc"], "--log-level", "error"]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "emulator.log").open("wb") as log:
        program = subprocess.Popen(
            [*map(str, command), *options],
            env={"BQEMU_ENABLE_FORMAT_EXTENSIONS": "false", "BQEMU_DEFAULT_PROJECT_ID": PROJECT},
            stdout=log,
            stderr=log,
        )
    try:
        _wait(address, program, folder / "emulator.log")
        yield {
            "BIGQUERY_EMULATOR_HOST": address,
            "BIGQUERY_STORAGE_EMULATOR": f"127.0.0.1:{ports['grpc']}",
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "GOOGLE_APPLICATION_CREDENTIALS": str(identity(folder, f"{address}/token")),
            "PYTHONPATH": str(Path(__file__).with_name("storage_api")),
        }
    finally:
        program.terminate()
        program.wait(timeout=20)


def identity(folder: Path, token_url: str) -> Path:
    """Write the configuration of a workload identity whose tokens come from `token_url`; return its path."""
    subject, path = folder / "subject", folder / "credentials.json"
    subject.write_text("somebody")
    says = {
        "type": "external_account",
        "audience": "emulated",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": token_url,
        "credential_source": {"file": str(subject)},
    }
    path.write_text(json.dumps(says))
    return path


def _wait(address: str, program: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        if program.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the BigQuery emulator did not start: {log.read_text()[-2000:]}")
        try:
            if requests.get(f"{address}/readyz", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)


def main() -> int:
    """Run a command while the emulator runs, in an environment that leads to it; return its exit code."""
    import os
    import tempfile

    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as environment:
        path = os.pathsep.join(filter(None, [environment.pop("PYTHONPATH"), os.environ.get("PYTHONPATH")]))
        return subprocess.run(
            sys.argv[1:], env={**os.environ, **environment, "PYTHONPATH": path}, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
