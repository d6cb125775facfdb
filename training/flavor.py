"""How a model is stored: MLflow's scikit-learn flavor in skops, which loads without unpickling, and a pyfunc of ours.

MLflow's own pyfunc of a scikit-learn model answers with a class or with probabilities, not with both.
"""

import json
import platform
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import mlflow.sklearn
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric, RunTag
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema
from sklearn.pipeline import Pipeline

from training import feature_row_scorer, trial
from training.dataset import TrainingSet
from training.encoded import as_served
from training.models import ModelEntry

# What skops may build when the model is loaded, besides scikit-learn's and NumPy's own types.
TRUSTED_TYPES = ["collections.OrderedDict", "lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier"]
REQUIREMENTS = [
    f"{name}=={version(name)}" for name in ("mlflow", "lightgbm", "scikit-learn", "skops", "pandas", "numpy")
]

# Where and with what a model was fitted, as tags of its run; reproduce compares.
ENVIRONMENT = {
    "requirements": " ".join([*REQUIREMENTS, f"python=={platform.python_version()}"]),
    "platform": f"{platform.system()} {platform.machine()}",
}

MLFLOW_TYPES = {"category": "string", "object": "string", "int64": "long", "float64": "double", "bool": "boolean"}
ANSWER = Schema(
    [
        ColSpec(kind, name, required=False)  # a row that cannot be answered has an error alone
        for kind, name in (("boolean", "prediction"), ("double", "probability"), ("string", "error"))
    ]
)


def signature(dataset: TrainingSet) -> ModelSignature:
    """Return the inference service's columns in, class, probability and error out."""
    columns = [ColSpec(MLFLOW_TYPES[str(dtype)], name) for name, dtype in dataset.inputs.dtypes.items()]
    return ModelSignature(inputs=Schema(columns), outputs=ANSWER)


def log_model(
    client: MlflowClient, entry: ModelEntry, run_id: str, pipeline: Pipeline, dataset: TrainingSet
) -> LoggedModel:
    """Return the run's model in MLflow: begun by the first call, completed by the first that is not stopped.

    `Model.log` would begin another one each time, and leave the stopped one's files and its place in the run.
    """
    run = client.get_run(run_id)
    known = client.search_logged_models([run.info.experiment_id], filter_string=f"source_run_id = '{run_id}'")
    model = (
        known[0]
        if known
        else client.create_logged_model(run.info.experiment_id, entry.name, run_id, params=run.data.params)
    )
    if model.status == LoggedModelStatus.READY:
        return model
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        _save(path, model, run_id, pipeline, dataset)
        for cache in path.rglob("__pycache__"):  # saving tries the example, and so imports the code
            shutil.rmtree(cache)
        client.log_model_artifacts(model.model_id, str(path))
    if model.model_id not in {output.model_id for output in run.outputs.model_outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    at = run.info.start_time  # one time for all, so that a retry repeats points and adds none
    metrics = [Metric(k, v, at, 0, model_id=model.model_id, run_id=run_id) for k, v in run.data.metrics.items()]
    tags = [RunTag(k, v) for k, v in ENVIRONMENT.items()]
    client.log_batch(run_id, [metric for metric in metrics if not metric.key.startswith("fold_")], tags=tags)
    return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _save(path: Path, model: LoggedModel, run_id: str, pipeline: Pipeline, dataset: TrainingSet) -> None:
    # Each column's commonest value, so that no person's row travels with the model.
    typical = as_served(pd.DataFrame(dataset.inputs.mode()).iloc[:1].astype(dataset.inputs.dtypes))
    described = Model(
        artifact_path=model.artifact_location, run_id=run_id, model_uuid=model.model_id, model_id=model.model_id
    )
    scorer = Path(feature_row_scorer.__file__)
    mlflow.sklearn.save_model(
        pipeline,
        str(path),
        mlflow_model=described,
        signature=signature(dataset),
        input_example=typical,
        serialization_format="skops",
        skops_trusted_types=TRUSTED_TYPES,
        pip_requirements=REQUIREMENTS,
        code_paths=[str(scorer)],
    )
    pyfunc = described.flavors["python_function"]
    pyfunc.pop("model_path")  # our pyfunc gets the folder, and loads its scikit-learn flavor
    pyfunc["loader_module"] = scorer.stem
    described.save(str(path / "MLmodel"))
    answer = feature_row_scorer.FeatureRowScorer(pipeline).predict(typical)
    (path / trial.ANSWER).write_text(json.dumps(answer.to_dict("records")))
