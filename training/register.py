"""From a gate that passed to a version in MLflow's registry, and to its alias."""

import hashlib
import json
import logging
import math

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from sklearn.pipeline import Pipeline

from training import flavor, lineage
from training.errors import TrainingError
from training.models import ModelEntry

log = logging.getLogger(__name__)

CHAMPION = "champion"
# What a version has to carry before an alias may point to it.
EVIDENCE = ("gate", "accuracy", "min_accuracy", "training_set.digest", "snapshot_id", "recipe", "champion.met")


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
        raise


def versions(client: MlflowClient, entry: ModelEntry, **tags: str) -> list[ModelVersion]:
    """Return the registered versions that carry all of `tags`, the newest first."""
    found = client.search_model_versions(f"name = '{entry.name}'")
    return sorted(
        (v for v in found if all(v.tags.get(name) == value for name, value in tags.items())),
        key=lambda v: int(v.version),
        reverse=True,
    )


def register(client: MlflowClient, entry: ModelEntry, run_id: str, model_uri: str, model_id: str) -> str:
    """Return the version of a run's model: registered by the first call for that run, found by every other.

    The version carries the run's tags, so that `promote` needs nothing else.
    """
    if known := versions(client, entry, run_id=run_id):
        return str(known[0].version)
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
        model_uri,
        run_id=run_id,
        model_id=model_id,
        tags={**tags, "run_id": run_id},
        description=tags["gate.reason"],
    )
    log.info("registered %s version %s", entry.name, version.version)
    return str(version.version)


def promote(client: MlflowClient, entry: ModelEntry, version: str) -> str:
    """Return why alias `champion` now points to `version`, or does not; only the version's own tags are trusted.

    The first version takes the alias, and so does one that is not worse than the champion's recipe on the same folds.

    Raises:
        TrainingError: the version carries no complete evaluation, or another champion came since.
    """
    tags = client.get_model_version(entry.name, version).tags
    compared = ["champion.accuracy"] if tags.get("champion.met", "none") != "none" else []
    if missing := [name for name in (*EVIDENCE, *compared) if not tags.get(name)]:
        raise TrainingError(
            f"{entry.name} version {version} has no tag {missing[0]}: train again, it cannot be promoted"
        )
    if tags["gate"] != "passed" or not _figure(tags["accuracy"]) >= _figure(tags["min_accuracy"]):
        raise TrainingError(f"{entry.name} version {version} did not pass the gate: {tags.get('gate.reason')}")
    now = champion(client, entry)
    met = str(now.version) if now else "none"
    if met not in {version, tags["champion.met"]}:
        raise TrainingError(
            f"{entry.name}: the champion is version {met} now, and version {version} was evaluated against "
            f"{tags['champion.met']}: train again"
        )
    reason = "there was no champion"
    if compared:
        met_first = tags["champion.met"]  # what a try that was stopped after it moved the alias had met
        reason = f"accuracy {tags['accuracy']} against {tags['champion.accuracy']} of version {met_first}'s recipe"
        if not _figure(tags["accuracy"]) >= _figure(tags["champion.accuracy"]):
            return f"not promoted: {reason}"
    if met != version:
        client.set_registered_model_alias(entry.name, CHAMPION, version)
    return f"promoted: {reason}"


def _figure(text: str) -> float:
    """Return the finite number in a tag, or NaN, which fails every comparison."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
