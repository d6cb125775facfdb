"""The stack's pages as their users meet them: Airflow, MLflow, and the served champion."""

import time
from collections.abc import Callable
from typing import Any

import requests

from local.airflow_api import DONE, AirflowAPI


def until(what: str, ready: Callable[[], Any], seconds: float = 120) -> Any:
    """Return what `ready` returns as soon as it is true; a page that does not answer is not ready."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := ready():
                return found
        except (requests.ConnectionError, requests.Timeout, requests.HTTPError):
            pass
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.5)


class Login(AirflowAPI):
    """Airflow's REST API, as one of its users."""

    def __init__(self, base: str, user: str, password: str) -> None:
        self.base, self.session, self.user, self.secret = base, requests.Session(), user, password

    def login(self) -> None:
        """Get a token."""
        body = {"username": self.user, "password": self.secret}
        answer = requests.post(f"{self.base}/auth/token", json=body, timeout=60)
        answer.raise_for_status()
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def status(self, method: str, path: str, **options: Any) -> int:
        """Return the HTTP status of a call."""
        return self.session.request(method, f"{self.base}{path}", timeout=60, **options).status_code

    def ended(self, dag: str, run: str, seconds: float = 300) -> str:
        """Return the state in which a run ended."""
        return until(f"{dag} {run}", lambda: (state := self.run(dag, run)["state"]) in DONE and state, seconds)

    def clear(self, dag: str, run: str, task: str) -> None:
        """Have a failed task run again, and what needs it."""
        body = {"dag_run_id": run, "task_ids": [task], "include_downstream": True, "dry_run": False}
        self.call("POST", f"/dags/{dag}/clearTaskInstances", json=body)

    def states(self, dag: str, run: str) -> dict[str, str]:
        """Return each task's state."""
        return {task["task_id"]: task["state"] for task in self.tasks(dag, run)}


class Registry:
    """MLflow's REST API, as one of its users."""

    def __init__(self, base: str, user: str, password: str) -> None:
        self.base, self.auth = f"{base}/api/2.0/mlflow", (user, password)

    def champion(self, model: str = "never_married") -> str:
        """Return the version that alias champion points to."""
        answer = requests.get(
            f"{self.base}/registered-models/alias",
            params={"name": model, "alias": "champion"},
            auth=self.auth,
            timeout=60,
        )
        answer.raise_for_status()
        return str(answer.json()["model_version"]["version"])

    def tags(self, version: str, model: str = "never_married") -> dict[str, str]:
        """Return a version's tags."""
        asked = {"name": model, "version": version}
        answer = requests.get(f"{self.base}/model-versions/get", params=asked, auth=self.auth, timeout=60)
        answer.raise_for_status()
        return {tag["key"]: tag["value"] for tag in answer.json()["model_version"]["tags"]}


class Serving:
    """The champion by person id, as somebody who has the token."""

    def __init__(self, base: str, token: str) -> None:
        self.base, self.headers = base, {"Authorization": f"Bearer {token}"}

    def predictions(self, *persons: str) -> list[dict[str, Any]]:
        """Return an answer for each person."""
        ask = {"dataframe_records": [{"person_id": person} for person in persons]}
        answer = requests.post(f"{self.base}/invocations", json=ask, headers=self.headers, timeout=60)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["predictions"]
        return found
