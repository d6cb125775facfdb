"""The machine-learning DAGs: one `train_<model>` for each entry of `training/models.py`."""

from airflow.sdk import DAG, task

from assets import CENSUS_FEATURES, champion_asset, dag_options, imported_late, skip
from promotion import PARAMS, SETTINGS, ask_first, promoted, rules
from training.models import MODELS

steps = imported_late("training.steps")


def train(model):
    """Add the tasks that train `model`, a name in `training.models.MODELS`."""

    @task(multiple_outputs=True)
    def training_set(run_id=None, params=None):
        """Pull a point-in-time correct training set from Feast."""
        return steps().training_set(SETTINGS, model, run_id, params["as_of"])

    @task
    def cross_validate(path, mlflow_run):
        """Score the recipe, the champion's and the baselines over the same 15 folds."""
        return steps().cross_validate(SETTINGS, model, path, mlflow_run)

    @task
    def gate(mlflow_run, **context):
        """Decide whether a model is fitted and registered, and whether it becomes champion."""
        return steps().gate(SETTINGS, mlflow_run, rules(context))

    @task
    def fit(decision, path, mlflow_run):
        """Fit on the whole training set and log the model; skipped if the gate refused."""
        return steps().fit(SETTINGS, model, path, mlflow_run) if decision["passed"] else skip(decision["gate_reason"])

    @task
    def register(mlflow_run, model_id):
        """Register the model as a version, once per run, with alias `challenger`."""
        return steps().register(SETTINGS, model, mlflow_run, model_id)

    @task(trigger_rule="none_failed_min_one_success", outlets=[champion_asset(model)])
    def promote(version):
        """Move alias `champion` to the version; skipped if the decision was against it."""
        return promoted(steps().promote(SETTINGS, model, version))

    @task(trigger_rule="none_failed")
    def report(path, mlflow_run, version):
        """Write the report and the model card, of a training that the gate refused as well."""
        steps().report(SETTINGS, model, path, mlflow_run, version)

    data = training_set()
    path, run = data["path"], data["run_id"]
    decision = gate(cross_validate(path, run))
    version = register(run, fit(decision, path, run))
    ask_first(promote(version), decision, version)
    report(path, run, version)


for name, entry in MODELS.items():
    with DAG(f"train_{name}", schedule=CENSUS_FEATURES, params=PARAMS, **dag_options("ml-engineering", entry.about)):
        train(name)
