"""The machine-learning DAGs: one `train_<model>` for each entry of `training/models.py`."""

from airflow.sdk import DAG, task

from assets import CENSUS_FEATURES, champion_asset, dag_options, imported_late, skip
from promotion import PARAMS, SETTINGS, ask_first, rules
from training.models import MODELS
from triggers import started_by

steps = imported_late("training.steps")


def train(model):
    """Add the tasks that train `model`, a name in `training.models.MODELS`."""

    @task(multiple_outputs=True)
    def training_set(run_id=None, **context):
        """Pull a point-in-time correct training set from Feast."""
        return steps().training_set(SETTINGS, model, run_id, context["params"]["as_of"], started_by(context))

    @task
    def cross_validate(path, mlflow_run):
        """Score the recipe, the champion's and the baselines over the same 15 folds."""
        return steps().cross_validate(SETTINGS, model, path, mlflow_run)

    @task
    def gate(mlflow_run, **context):
        """Decide whether a model is fitted and registered, and whether it may become champion."""
        return steps().gate(SETTINGS, mlflow_run, rules(context))

    @task(multiple_outputs=True)
    def fit(decision, path, mlflow_run):
        """Fit on the whole training set and log the model; skipped if the gate refused."""
        return steps().fit(SETTINGS, model, path, mlflow_run) if decision["passed"] else skip(decision["gate_reason"])

    @task
    def register(mlflow_run, model_id, model_uri):
        """Register the model as a version, once per run, with alias `challenger`."""
        return steps().register(SETTINGS, model, mlflow_run, model_uri, model_id)

    @task(trigger_rule="none_failed_min_one_success", outlets=[champion_asset(model)])
    def promote(version):
        """Move alias `champion` to the version; skipped if the decision was against it."""
        decision = steps().promote(SETTINGS, model, version)
        return decision["reason"] if decision["promote"] else skip(decision["reason"])

    data = training_set()
    path, run = data["path"], data["run_id"]
    decision = gate(cross_validate(path, run))
    fitted = fit(decision, path, run)
    version = register(run, fitted["model_id"], fitted["model_uri"])
    ask_first(promote(version), decision, version)


for name, entry in MODELS.items():
    with DAG(f"train_{name}", schedule=CENSUS_FEATURES, params=PARAMS, **dag_options("ml-engineering", entry.about)):
        train(name)
