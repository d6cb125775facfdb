"""From a gate that passed to a version in MLflow's registry, and to its alias."""

import hashlib
import json
import logging

import mlflow
import numpy as np
from feast import FeatureStore
from feast.types import PrimitiveFeastType
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import get_model_info
from sklearn.pipeline import Pipeline

from training import aliases, flavor, lineage, tracking, trial
from training.errors import TrainingError
from training.features import inputs
from training.gate import decide
from training.models import ModelEntry
from training.records import Decision, Evaluation, Rules

log = logging.getLogger(__name__)

CHAMPION, CHALLENGER = "champion", "challenger"
# What a version has to carry before alias `champion` may point to it.
EVIDENCE = (
    *("evaluation.sha256", "rules.sha256", "decision.sha256", "pipeline_run"),
    *("gate", "gate.reason", "promotion", "promotion.reason", "champion.met"),
    *("accuracy", "recipe", "snapshot_id", "training_set.digest"),
)

FEAST_TO_MLFLOW = {
    PrimitiveFeastType.STRING: "string",
    PrimitiveFeastType.INT64: "long",
    PrimitiveFeastType.INT32: "integer",
    PrimitiveFeastType.FLOAT64: "double",
    PrimitiveFeastType.FLOAT32: "float",
    PrimitiveFeastType.BOOL: "boolean",
}


def recipe_digest(pipeline: Pipeline) -> str:
    """Return 16 hexadecimal digits of all that decides a fit besides the data: steps, parameters, library versions."""
    text = json.dumps(
        [repr(pipeline), pipeline.get_params(deep=True), flavor.REQUIREMENTS], default=repr, sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def champion(client: MlflowClient, entry: ModelEntry) -> ModelVersion | None:
    """Return the version that alias `champion` points to, or None before the first."""
    try:
        return client.get_model_version_by_alias(entry.name, CHAMPION)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        # Where MLflow has logins, it says no more than this of a model that is not there.
        if error.error_code == "PERMISSION_DENIED" and not client.search_registered_models(f"name = '{entry.name}'"):
            return None
        raise


def versions(client: MlflowClient, entry: ModelEntry, **tags: str) -> list[ModelVersion]:
    """Return the registered versions that carry all of `tags`, the newest first."""
    found = client.search_model_versions(f"name = '{entry.name}'")
    return sorted(
        (v for v in found if all(v.tags.get(name) == value for name, value in tags.items())),
        key=lambda v: int(v.version),
        reverse=True,
    )


def register(client: MlflowClient, entry: ModelEntry, run_id: str, model_id: str) -> str:
    """Return the version of a run's model: registered by the first call for that run, found by every other.

    The version carries the run's tags, and alias `challenger` until it becomes champion or another one challenges.
    """
    known = versions(client, entry, run_id=run_id)
    version = known[0] if known else _new_version(client, entry, run_id, model_id)
    name = str(version.version)
    newest = str(versions(client, entry)[0].version)
    if name == newest and CHAMPION not in client.get_model_version(entry.name, name).aliases:
        client.set_registered_model_alias(entry.name, CHALLENGER, name)
    return name


def _new_version(client: MlflowClient, entry: ModelEntry, run_id: str, model_id: str) -> ModelVersion:
    tags = {k: v for k, v in client.get_run(run_id).data.tags.items() if not k.startswith("mlflow.")}
    if missing := lineage.missing({**tags, "run_id": run_id}):
        raise TrainingError(f"run {run_id} has no tag {missing[0]}, and {entry.name} no full lineage: train again")
    try:
        client.create_registered_model(entry.name, description=entry.question)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        entry.name,
        f"models:/{model_id}",
        run_id=run_id,
        model_id=model_id,
        tags={**tags, "run_id": run_id},
        description=tags["promotion.reason"],
    )
    log.info("registered %s version %s", entry.name, version.version)
    return version


def check_signature(entry: ModelEntry, store: FeatureStore, model_id: str) -> None:
    """Raise TrainingError unless a logged model takes what the inference service gives: the same names and types."""
    declared = {name: FEAST_TO_MLFLOW.get(dtype, str(dtype)) for name, dtype in inputs(entry, store).items()}
    schema = get_model_info(f"models:/{model_id}").signature.inputs
    taken = {column.name: column.type.name for column in schema.inputs}
    if different := sorted(dict(declared.items() ^ taken.items())):
        name = different[0]
        raise TrainingError(
            f"models:/{model_id}: input {name} is {taken.get(name, 'not there')} in the model's signature and "
            f"{declared.get(name, 'not there')} in feature service {entry.inference_service}: train again"
        )


def judged(client: MlflowClient, model: str, version: str) -> Decision:
    """Return the decision on a version, made again from its run's records.

    They have to be those that the version was registered with: what a person wrote into a tag decides nothing.

    Raises:
        TrainingError: a record or a tag is missing or was changed.
    """
    known = client.get_model_version(model, version)
    if missing := [name for name in EVIDENCE if not known.tags.get(name)]:
        raise TrainingError(f"{model} version {version} has no tag {missing[0]}: train again, it cannot be promoted")
    evaluation = tracking.load(known.run_id, Evaluation, known.tags["evaluation.sha256"])
    rules = tracking.load(known.run_id, Rules, known.tags["rules.sha256"])
    recorded = tracking.load(known.run_id, Decision, known.tags["decision.sha256"])
    decision = decide(evaluation, rules)
    told = {name: known.tags[name] for name in decided(evaluation, decision)}
    if decision != recorded or evaluation.run_id != known.run_id or told != decided(evaluation, decision):
        raise TrainingError(
            f"{model} version {version}: its tags or its run's decision do not follow from the run's evaluation: "
            "train again"
        )
    return decision


def promote(client: MlflowClient, entry: ModelEntry, version: str) -> Decision:
    """Point alias `champion` to a version if its recorded evaluation says so; return the decision.

    The model has to answer its example in a fresh process, and the alias moves last.

    Raises:
        TrainingError: a record is missing or was changed, the model does not answer as it did, or another champion
            came since.
    """
    decision = judged(client, entry.name, version)
    if not decision.promote:
        return decision
    met = decision.champion_met
    if not aliases.moved(client, entry.name, version, expected=met):
        trial.check(f"models:/{entry.name}/{version}", mlflow.get_tracking_uri())
        by = client.get_model_version(entry.name, version).tags["pipeline_run"]
        aliases.move(client, entry.name, version, expected=met, by=by, why=decision.reason)
    if CHALLENGER in client.get_model_version(entry.name, version).aliases:
        client.delete_registered_model_alias(entry.name, CHALLENGER)
    return decision


def decided(evaluation: Evaluation, decision: Decision) -> dict[str, str]:
    """Return what a run's and a version's tags say of a decision."""
    return {
        "gate": "passed" if decision.passed else "refused",
        "gate.reason": decision.gate_reason,
        "promotion": "yes" if decision.promote else "no",
        "promotion.reason": decision.reason,
        "champion.met": decision.champion_met,
        "accuracy": repr(float(np.mean(evaluation.accuracy))),
        "recipe": evaluation.recipe,
        "snapshot_id": evaluation.snapshot_id,
        "training_set.digest": evaluation.training_set_digest,
    }
