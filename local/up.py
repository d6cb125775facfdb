"""`make up`: Airflow's, MLflow's and Feast's pages on this machine until Ctrl-C."""

import os
import sys
import time

import requests
from rich.console import Console

from local.airflow_api import password
from local.services import LocalError, Services, port
from local.stack import feature_repo, running

PORTS = ("MLFLOW_PORT", "FEAST_UI_PORT")

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Serve the pages; return the exit code."""
    try:
        with (
            console.status("starting Airflow, MLflow and Feast (20-60 s)") as status,
            running("MLFLOW_PORT", "FEAST_UI_PORT") as (services, _),
        ):
            pages = start_pages(services)
            status.stop()
            console.print(f"Airflow  http://127.0.0.1:{port('AIRFLOW_PORT')}  user admin, password {password()}")
            for name, page in pages.items():
                console.print(f"{name:<8} {page}")
            console.print("Ctrl-C stops everything.")
            while True:
                services.check()
                time.sleep(1)
    except LocalError as error:
        console.print(f"[bold red]make up failed:[/] {error}")
        return 1
    except KeyboardInterrupt:
        console.print("stopped; nothing is left running")
        return 0


def start_pages(services: Services) -> dict[str, str]:
    """Start MLflow's and Feast's servers; return their addresses once they answer."""
    feast_ui = os.environ["FEAST_UI_PORT"]
    services.start("mlflow", "mlflow", "server")  # MLFLOW_* of env.sh say where and what
    services.start("feast-ui", "feast", "--chdir", feature_repo(), "ui", "--host", "127.0.0.1", "--port", feast_ui)
    pages = {"MLflow": f"http://127.0.0.1:{port('MLFLOW_PORT')}", "Feast": f"http://127.0.0.1:{feast_ui}"}
    for name, page in pages.items():
        services.wait(name, lambda page=page: _answers(page), seconds=120)  # type: ignore[misc]
    return pages


def _answers(page: str) -> bool:
    try:
        return requests.get(page, timeout=5).ok
    except (requests.ConnectionError, requests.Timeout):
        return False


if __name__ == "__main__":
    sys.exit(main())
