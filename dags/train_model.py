"""The machine-learning DAGs: one `train_<model>` for each entry of `training/models.py`."""

from airflow.sdk import DAG, Param, task

from assets import CENSUS_FEATURES, dag_options, imported_late, skip
from training.models import MODELS
from training.settings import Settings
from triggers import forced, started_by

SETTINGS = Settings()
steps = imported_late("training.steps")
PARAMS = {
    "min_accuracy": Param(SETTINGS.min_accuracy, type="number", minimum=0, maximum=1, description="Accuracy to reach"),
    "as_of": Param(None, type=["null", "string"], format="date-time", description="Empty: newest verified snapshot"),
    "force": Param(False, type="boolean", description="Register even what the champion already is"),
}


def train(model):
    """Add the tasks that train `model`, a name in `training.models.MODELS`."""

    @task(multiple_outputs=True)
    def training_set(run_id=None, **context):
        """Pull a point-in-time correct training set from Feast."""
        return steps().training_set(SETTINGS, model, run_id, context["params"]["as_of"], started_by(context))

    @task
    def cross_validate(path, mlflow_run):
        """Score the recipe, and the champion's, over the same 15 folds."""
        return steps().cross_validate(SETTINGS, model, path, mlflow_run)

    @task
    def gate(mlflow_run, **context):
        """Decide whether a model may be fitted and registered."""
        return steps().gate(SETTINGS, model, mlflow_run, context["params"]["min_accuracy"], force=forced(context))

    @task(multiple_outputs=True)
    def fit(verdict, path, mlflow_run):
        """Fit on the whole training set and log the model; skipped if the gate refused."""
        return steps().fit(SETTINGS, model, path, mlflow_run) if verdict["passed"] else skip(verdict["reason"])

    @task
    def register(mlflow_run, model_id, model_uri):
        """Register the model as a version, once per run."""
        return steps().register(SETTINGS, model, mlflow_run, model_uri, model_id)

    @task
    def promote(mlflow_run, version):
        """Give the version alias `champion` if it is not worse than the champion's recipe."""
        return steps().promote(SETTINGS, model, mlflow_run, version)

    data = training_set()
    run = data["run_id"]
    fitted = fit(gate(cross_validate(data["path"], run)), data["path"], run)
    promote(run, register(run, fitted["model_id"], fitted["model_uri"]))


for name, entry in MODELS.items():
    with DAG(f"train_{name}", schedule=CENSUS_FEATURES, params=PARAMS, **dag_options("ml-engineering", entry.about)):
        train(name)
