"""MLflow's server on PostgreSQL, with logins; its registry is emptied here, so before any DAG has run."""

import os
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
import requests
from mlflow import MlflowClient

from local.services import Services
from tests.objects import stores
from tests.ports import free_ports

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


@pytest.mark.sweep
@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_the_server_keeps_artifacts_in_a_bucket_that_its_clients_need_not_reach(scheme, tmp_path, monkeypatch):
    port = free_ports(["MLFLOW"])["MLFLOW"]
    options = ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--port", port, "--workers", "1"]
    options += ["--default-artifact-root", "mlflow-artifacts:/"]
    bucket = f"{scheme}://{stores.BUCKET}/mlflow"
    with stores.running(tmp_path / "stores") as reached, Services(tmp_path / "logs") as services:
        with monkeypatch.context() as patch:
            for name, value in reached.items():
                patch.setenv(name, value)
            services.start("mlflow", "mlflow", "server", *options, "--artifacts-destination", bucket)
        uri = f"http://127.0.0.1:{port}"
        services.wait("MLflow", lambda: requests.get(f"{uri}/health", timeout=5).ok, seconds=120)
        client = MlflowClient(uri)
        run = client.create_run(client.create_experiment("kept"))
        client.log_text(run.info.run_id, "a model card", "report/card.md")
        assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
        card = client.download_artifacts(run.info.run_id, "report/card.md", str(tmp_path))
        assert Path(card).read_text() == "a model card"
        for name, value in reached.items():
            monkeypatch.setenv(name, value)
        names = fsspec.filesystem(scheme, skip_instance_cache=True).find(bucket)
        assert names == [f"{stores.BUCKET}/mlflow/{run.info.experiment_id}/{run.info.run_id}/artifacts/report/card.md"]
