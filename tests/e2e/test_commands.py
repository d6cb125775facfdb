"""The ecosystem's own commands, typed in the shell that `make shell` opens."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).parents[2]


NOTEBOOK = (ROOT / "README.md").read_text().split("<!-- notebook -->")[1].split("```python\n")[1].split("```")[0]
COMMANDS = {
    "airflow dags list": "airflow dags list --output json",
    "feast apply": "cd feature_repo && feast apply",
    "feast feature-views list": "cd feature_repo && feast feature-views list",
    "feast materialize": "cd feature_repo && feast materialize 2020-01-01T00:00:00 2020-01-02T00:00:00",
    "lineage": "for did in lineage reproduce; do python -m training $did never_married/1; done",
    "notebook": f"{sys.executable} -W ignore -c '{NOTEBOOK}'",
}


@pytest.fixture(scope="module")
def printed(up, environment) -> dict[str, str]:
    """Type all commands, two at a time: most of each is the import of its libraries. Return what they printed."""

    def run(command: str) -> str:
        done = subprocess.run(
            command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(COMMANDS, pool.map(run, COMMANDS.values()), strict=True))


def test_up_prints_addresses_and_the_generated_login(up, environment):
    for name in ("AIRFLOW_PORT", "MLFLOW_PORT", "FEAST_UI_PORT"):
        assert f"http://127.0.0.1:{environment[name]}" in up.printed
    assert "user admin, password " in up.printed


def test_mlflow_and_feast_serve_their_pages(up, environment):
    mlflow = f"http://127.0.0.1:{environment['MLFLOW_PORT']}"
    assert "MLflow" in requests.get(mlflow, timeout=30).text
    found = requests.get(f"{mlflow}/api/2.0/mlflow/registered-models/get", params={"name": "never_married"}, timeout=30)
    assert "champion" in {alias["alias"] for alias in found.json()["registered_model"]["aliases"]}
    assert "Feast" in requests.get(f"http://127.0.0.1:{environment['FEAST_UI_PORT']}", timeout=30).text


def test_airflow_lists_both_dags(printed):
    listed = printed["airflow dags list"]
    found = {dag["dag_id"] for dag in json.loads(listed[listed.index("[{") :])}
    assert {"publish_features", "train_never_married"} <= found


def test_feast_apply_on_a_materialized_registry_changes_no_definition(printed):
    # Feast 0.67 takes a view's materialized intervals for a change of the view; nothing else may differ.
    changes = ("Created", "Updated", "Deleted")
    changed = {line for line in printed["feast apply"].splitlines() if line.startswith(changes)}
    assert changed <= {"Updated feature view census"}
    assert "No changes to infrastructure" in printed["feast apply"]


def test_feast_lists_the_view(printed):
    assert re.search(r"^census +\{'person'\} +FeatureView", printed["feast feature-views list"], re.MULTILINE)


def test_feast_materializes_an_interval(printed):
    assert "Materializing" in printed["feast materialize"]
    assert "census" in printed["feast materialize"]


def test_readme_notebook_lines_give_the_dags_scores(printed):
    assert "0.8390 ± 0.0030" in printed["notebook"]


def test_a_version_is_explained_and_made_again(printed):
    chain = printed["lineage"]
    for link in (
        "source",
        "snapshot",
        "view census",
        "service never_married",
        "training set",
        "asset event",
        "MLflow run",
    ):
        assert re.search(rf"^{link} ", chain, re.MULTILINE), link
    assert "there was no champion" in chain
    assert "never_married version 1: identical, encoders and trees" in chain
