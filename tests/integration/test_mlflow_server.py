"""MLflow's server on PostgreSQL, with logins; its registry is emptied here, so before any DAG has run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).parents[2]
# Not test_register.py: it puts a file database back between its tests.
ALIASES_AND_ROLLBACK = [f"tests/unit/training/test_{name}.py" for name in ("aliases", "rollback")]


@pytest.mark.sweep
def test_aliases_and_rollback_go_the_same_way_on_the_server(stack, mlflow_server):
    options = ["-q", "-m", "", "--mlflow-server", mlflow_server, "--mlflow-artifacts", str(stack.artifacts)]
    command = [sys.executable, "-m", "pytest", *options, *ALIASES_AND_ROLLBACK]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout


def test_mlflow_asks_for_a_login_and_counts_requests(mlflow_server, stack):
    login = stack.environment["MLFLOW_TRACKING_USERNAME"], stack.environment["MLFLOW_TRACKING_PASSWORD"]
    for page in ("api/2.0/mlflow/experiments/search?max_results=1", "metrics"):
        assert requests.get(f"{mlflow_server}/{page}", timeout=30).status_code == 401
    found = requests.get(f"{mlflow_server}/metrics", auth=login, timeout=30)
    assert "mlflow_http_request_total" in found.text
