"""Airflow and Feast on this machine, in the order in which they have to come up."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from local.airflow_api import AirflowAPI
from local.services import Services, check_free, only_one, port

ENDING_SECONDS = 60.0
DYING_SECONDS = 1.0  # a program's connections may end before its process can be seen to have ended
DAGS = ("publish_features", "train_never_married")


@contextmanager
def running(*more_ports: str) -> Iterator[tuple[Services, AirflowAPI]]:
    """Give the programs and a logged-in client once both DAGs can be triggered; end all of it after the block.

    Raises:
        LocalError: the folder or a port is taken, or a program failed.
    """
    folder = Path(os.environ["VAR_DIR"])
    with only_one(folder) as killed, Services(folder / "logs") as services:
        ports = {name: port(name) for name in ("AIRFLOW_PORT", "AIRFLOW_LOG_PORT", *more_ports)}
        check_free(ports, ENDING_SECONDS if killed else 0)  # programs of one that was killed end a little after it
        # Each step does nothing the second time.
        services.start("airflow-db-migrate", "airflow", "db", "migrate")
        services.start("feast-apply", "feast", "--chdir", feature_repo(), "apply")
        services.finish("airflow-db-migrate")
        for name in ("api-server", "scheduler", "dag-processor"):
            services.start(f"airflow-{name}", "airflow", name)
        services.finish("feast-apply")
        api = AirflowAPI()
        services.wait("Airflow", api.healthy, seconds=180)
        api.login()
        for dag in DAGS:
            services.wait(f"DAG {dag}", lambda dag=dag: api.has_dag(dag), seconds=120)  # type: ignore[misc]
            api.unpause(dag)
        try:
            yield services, api
        except requests.ConnectionError:
            time.sleep(DYING_SECONDS)
            services.check()  # says which program ended, if that is why
            raise


def feature_repo() -> str:
    """Return the folder of the Feast definitions."""
    return str(Path(os.environ["FEAST_FS_YAML_FILE_PATH"]).parent)
