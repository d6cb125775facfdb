"""How a model is stored: MLflow's scikit-learn flavor in skops, which loads without unpickling, and a pyfunc of ours.

MLflow's own pyfunc of a scikit-learn model answers with a class or with probabilities, not with both.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema
from sklearn.pipeline import Pipeline

from training import feature_row_scorer
from training.dataset import TrainingSet
from training.models import ModelEntry

# What skops may build when the model is loaded, besides scikit-learn's and NumPy's own types.
TRUSTED_TYPES = ["collections.OrderedDict", "lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier"]
REQUIREMENTS = [
    f"{name}=={version(name)}" for name in ("mlflow", "lightgbm", "scikit-learn", "skops", "pandas", "numpy")
]

MLFLOW_TYPES = {"object": "string", "int64": "long", "float64": "double", "bool": "boolean"}
ANSWER = Schema([ColSpec("boolean", "prediction"), ColSpec("double", "probability")])


def signature(dataset: TrainingSet) -> ModelSignature:
    """Return the inference service's columns in, class and probability out."""
    columns = [ColSpec(MLFLOW_TYPES[str(dtype)], name) for name, dtype in dataset.inputs.dtypes.items()]
    return ModelSignature(inputs=Schema(columns), outputs=ANSWER)


def log_model(
    client: MlflowClient, entry: ModelEntry, run_id: str, pipeline: Pipeline, dataset: TrainingSet
) -> LoggedModel:
    """Return the run's model in MLflow: logged by the first call that completes, found by every other."""
    experiment = client.get_run(run_id).info.experiment_id
    for known in client.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'"):
        if known.status == LoggedModelStatus.READY:
            return known
        client.delete_logged_model(known.model_id)  # an earlier try was stopped while it wrote
    # Each column's commonest value, so that no person's row travels with the model.
    typical = pd.DataFrame(dataset.inputs.mode()).iloc[:1].astype(dataset.inputs.dtypes)
    mlflow.set_experiment(experiment_id=experiment)  # a logged model goes to the active experiment, whatever its run's
    logged = Model.log(
        artifact_path=None,
        name=entry.name,
        flavor=_flavor,
        run_id=run_id,
        pipeline=pipeline,
        signature=signature(dataset),
        input_example=typical,
    )
    return client.get_logged_model(logged.model_id)


class _flavor:  # noqa: N801  what Model.log takes for a flavor is anything with save_model; modules are the usual case
    @staticmethod
    def save_model(path: str, mlflow_model: Model, pipeline: Pipeline, **options: Any) -> None:
        scorer = Path(feature_row_scorer.__file__)
        mlflow.sklearn.save_model(
            pipeline,
            path,
            mlflow_model=mlflow_model,
            serialization_format="skops",
            skops_trusted_types=TRUSTED_TYPES,
            pip_requirements=REQUIREMENTS,
            code_paths=[str(scorer)],
            **options,
        )
        pyfunc = mlflow_model.flavors["python_function"]
        pyfunc.pop("model_path")  # our pyfunc gets the folder, and loads its scikit-learn flavor
        pyfunc["loader_module"] = scorer.stem
        mlflow_model.save(str(Path(path) / "MLmodel"))
