"""The form of a model that is asked with person ids: `<model>_by_person` in MLflow's registry."""

import hashlib
import json
import logging
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema

from training import flavor
from training.features import KEY
from training.models import ModelEntry
from training.register import CHAMPION

log = logging.getLogger(__name__)

CODE = Path(__file__).with_name("person_scorer.py")
REQUIREMENTS = [*flavor.REQUIREMENTS, f"feast[duckdb]=={version('feast')}"]
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("string", KEY)]), outputs=Schema([*flavor.ANSWER.inputs, ColSpec("string", "version")])
)
DIGEST = "code.sha256"


def ensure_person_scorer(client: MlflowClient, entry: ModelEntry) -> str:
    """Return the version of `<model>_by_person` that is this code, to which its alias `champion` now points.

    Registered by the first call for this code, found by every other. It follows the model's own champion by itself:
    a new champion needs no new version of it.
    """
    name = f"{entry.name}_by_person"
    config = {"model": entry.name, "service": entry.inference_service}
    digest = hashlib.sha256(json.dumps([CODE.read_text(), REQUIREMENTS, config]).encode()).hexdigest()
    found = [v for v in client.search_model_versions(f"name = '{name}'") if v.tags.get(DIGEST) == digest]
    number = str(found[0].version) if found else _register(client, entry, name, config, digest)
    if str(client.get_registered_model(name).aliases.get(CHAMPION)) != number:  # a database says 1, a server "1"
        client.set_registered_model_alias(name, CHAMPION, number)
    return number


def _register(client: MlflowClient, entry: ModelEntry, name: str, config: dict[str, str], digest: str) -> str:
    about = f"{entry.name} by person_id: features from the online store, answered by {entry.name}@{CHAMPION}"
    try:
        client.create_registered_model(name, description=about)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id = _logged(client, entry, name, config, digest)
    number = client.create_model_version(name, f"models:/{model_id}", model_id=model_id, tags={DIGEST: digest}).version
    log.info("registered %s version %s", name, number)
    return str(number)


def _logged(client: MlflowClient, entry: ModelEntry, name: str, config: dict[str, str], digest: str) -> str:
    """Return the id of this code's model in MLflow: begun by the first call, completed by one that is not stopped."""
    experiment_id = client.get_experiment_by_name(entry.name).experiment_id
    known = client.search_logged_models([experiment_id], f"name = '{name}'")
    model = next((model for model in known if model.tags.get(DIGEST) == digest), None)
    model = model or client.create_logged_model(experiment_id, name, tags={DIGEST: digest})
    model_id: str = model.model_id
    if model.status != LoggedModelStatus.READY:
        described = Model(artifact_path=model.artifact_location, model_uuid=model_id, model_id=model_id)
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*An input example was not provided")  # it would be a person's key
            path = f"{folder}/model"
            mlflow.pyfunc.save_model(
                path,
                python_model=str(CODE),
                model_config=config,
                mlflow_model=described,
                signature=SIGNATURE,
                pip_requirements=REQUIREMENTS,
            )
            client.log_model_artifacts(model_id, path)
        client.finalize_logged_model(model_id, LoggedModelStatus.READY)
    return model_id
