"""The few calls of Airflow's REST API that the demo and the tests need."""

import json
import os
from pathlib import Path
from typing import Any

import requests

DONE = {"success", "failed"}


class AirflowAPI:
    """A logged-in client of the API server on this machine."""

    def __init__(self) -> None:
        self.base = f"http://127.0.0.1:{os.environ['AIRFLOW_PORT']}"
        self.session = requests.Session()

    def healthy(self) -> bool:
        """Return whether API server, scheduler and DAG processor are up."""
        try:
            answer = self.session.get(f"{self.base}/api/v2/monitor/health", timeout=5)
        except (requests.ConnectionError, requests.Timeout):
            return False
        if not answer.ok:
            return False
        health = answer.json()
        return all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))

    def login(self) -> None:
        """Log in as admin, and let the API server warm up the part that tasks talk to."""
        body = {"username": "admin", "password": password()}
        answer = self.session.post(f"{self.base}/auth/token", json=body, timeout=30)
        answer.raise_for_status()
        self.session.get(f"{self.base}/execution/health", timeout=60).raise_for_status()
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Return the answer to a call below `/api/v2`."""
        answer = self.session.request(method, f"{self.base}/api/v2{path}", timeout=60, **options)
        if not answer.ok:
            raise requests.HTTPError(f"{method} {path}: {answer.status_code} {answer.text[:500]}", response=answer)
        return answer.json()

    def has_dag(self, dag: str) -> bool:
        """Return whether the DAG processor has read the DAG.

        Raises:
            RuntimeError: a DAG file cannot be imported.
        """
        if errors := self.call("GET", "/importErrors")["import_errors"]:
            raise RuntimeError(errors[0]["stack_trace"])
        return dag in {found["dag_id"] for found in self.call("GET", "/dags")["dags"]}

    def unpause(self, dag: str) -> None:
        """Let the scheduler run the DAG."""
        self.call("PATCH", f"/dags/{dag}", json={"is_paused": False})

    def trigger(self, dag: str, **conf: Any) -> str:
        """Start a run with these Params and return its id."""
        run = self.call("POST", f"/dags/{dag}/dagRuns", json={"logical_date": None, "conf": conf})
        return str(run["dag_run_id"])

    def run(self, dag: str, run: str) -> dict[str, Any]:
        """Return a run."""
        found: dict[str, Any] = self.call("GET", f"/dags/{dag}/dagRuns/{run}")
        return found

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """Return a run's task instances, in the order of their start."""
        found: list[dict[str, Any]] = self.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return sorted(found, key=lambda task: (task["start_date"] or "9", task["task_id"]))

    def started_by(self, dag: str, source_run: str) -> str | None:
        """Return the run of `dag` that an Asset event of `source_run` started, if there is one yet."""
        newest = {"run_type": "asset_triggered", "order_by": "-run_after", "limit": 10}
        for run in self.call("GET", f"/dags/{dag}/dagRuns", params=newest)["dag_runs"]:
            if not run["start_date"]:  # Airflow 3.3 answers 500 for the events of a run that is still queued
                continue
            events = self.call("GET", f"/dags/{dag}/dagRuns/{run['dag_run_id']}/upstreamAssetEvents")["asset_events"]
            if source_run in {event["source_run_id"] for event in events}:
                return str(run["dag_run_id"])
        return None

    def log(self, dag: str, run: str, task: str, attempt: int = 1) -> list[dict[str, Any]]:
        """Return the entries of a task's log."""
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}"
        return [entry for entry in self.call("GET", path)["content"] if isinstance(entry, dict)]

    def failure(self, dag: str, run: str, task: str, attempt: int = 1) -> str:
        """Return the error that ended a task."""
        details = [detail for entry in self.log(dag, run, task, attempt) for detail in entry.get("error_detail") or []]
        return f"{details[-1]['exc_type']}: {details[-1]['exc_value']}" if details else "no error in its log"

    def xcom(self, dag: str, run: str, task: str) -> Any:
        """Return what a task returned."""
        return self.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/return_value")["value"]


def password() -> str:
    """Return the password that Airflow generated for `admin`."""
    path = Path(os.environ["AIRFLOW_HOME"]) / "simple_auth_manager_passwords.json.generated"
    return str(json.loads(path.read_text())["admin"])
