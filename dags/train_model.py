"""The machine-learning DAGs: one `train_<model>` for each entry of `training/models.py`."""

from airflow.sdk import DAG, task

from assets import CENSUS_FEATURES, champion_asset, dag_options, imported_late, skip
from lineage import dataset, emitted, training_sets, versions
from promotion import FIRST, OPTIONS, SETTINGS, ask_first, promoted, rules
from training.models import MODELS
from triggers import started_by

steps = imported_late("training.steps")


def train(model):
    """Add the tasks that train `model`, a name in `training.models.MODELS`."""

    @task(inlets=[dataset(CENSUS_FEATURES)], outlets=[training_sets(model)])
    def training_set(run_id=None, **context):
        """Pull a point-in-time correct training set from Feast."""
        return steps().training_set(SETTINGS, model, run_id, context["params"]["as_of"], started_by(context))

    @task(inlets=[training_sets(model)])
    def cross_validate(data):
        """Score the recipe, the champion's and the baselines over the same 15 folds."""
        return steps().cross_validate(SETTINGS, model, **data)

    @task
    def gate(mlflow_run, **context):
        """Decide whether a model is fitted and registered, and whether it becomes champion."""
        return steps().gate(SETTINGS, mlflow_run, rules(context))

    @task(inlets=[training_sets(model)])
    def fit(decision, data):
        """Fit on the whole training set and log the model; skipped if the gate refused."""
        return steps().fit(SETTINGS, model, **data) if decision["passed"] else skip(decision["gate_reason"])

    @task(inlets=[training_sets(model)], outlets=[versions(model)])
    def register(data, model_id):
        """Register the model as a version, once per run, with alias `challenger`."""
        return steps().register(SETTINGS, model, data["run_id"], model_id)

    @task(**FIRST, inlets=[versions(model)], outlets=emitted(champion_asset(model)))
    def promote(version, outlet_events=None):
        """Move alias `champion` to the version; skipped if the decision was against it."""
        return promoted(steps().promote(SETTINGS, model, version), version, outlet_events[champion_asset(model)])

    @task(trigger_rule="none_failed")
    def report(data, version):
        """Write the report and the model card, of a training that the gate refused as well."""
        steps().report(SETTINGS, model, **data, version=version)

    decision = gate(cross_validate(data := training_set()))
    version = register(data, fit(decision, data))
    ask_first(promote(version), decision, version)
    report(data, version)


for name, entry in MODELS.items():
    with DAG(f"train_{name}", schedule=CENSUS_FEATURES, **OPTIONS, **dag_options("ml-engineering", entry.about)):
        train(name)
