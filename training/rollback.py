"""The champion put back to an earlier version, after that version has proved that it still works."""

import logging

import mlflow
import pandas as pd
from feast import FeatureStore
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from training import aliases, features, lineage, register as registry, trial
from training.errors import TrainingError
from training.features import KEY
from training.register import CHALLENGER

log = logging.getLogger(__name__)

SAMPLE = 100


def rollback(  # noqa: PLR0913  who, why and whether by force are no options
    client: MlflowClient, store: FeatureStore, found: ModelVersion, *, by: str, why: str, force: bool = False
) -> str:
    """Point alias `champion` to a version that loads, answers its example as ever, and a sample of persons; say so.

    Raises:
        TrainingError: the version did not pass its gates and `force` is not given, does not answer, or another champion
            came meanwhile.
    """
    if not why.strip():
        raise TrainingError("a rollback without a reason: say in --reason why, for those who read the history")
    version = str(found.version)
    if not force:
        decision = registry.judged(client, found.name, version)
        if not decision.promote:
            raise TrainingError(
                f"{found.name} version {version} did not pass its gates ({decision.reason}): --force overrules"
            )
    expected = aliases.champion(client, found.name)
    if version == expected:
        return f"{found.name} version {version} is the champion: nothing to do"
    answers = trial.check(f"models:/{found.name}/{version}", client.tracking_uri, sample(store, found))
    aliases.move(client, found.name, version, expected=expected, by=by, why=why)
    if CHALLENGER in found.aliases:
        client.delete_registered_model_alias(found.name, CHALLENGER)
    log.info("%s: champion moved from version %s to %s by %s: %s", found.name, expected, version, by, why)
    return f"{found.name}: champion moved from version {expected} to {version}, which answered {len(answers)} persons"


def sample(store: FeatureStore, found: ModelVersion, size: int = SAMPLE) -> pd.DataFrame:
    """Return a version's inputs of up to `size` persons of the newest snapshot, as the online store has them now."""
    persons = features.persons(store, features.snapshot(store))[KEY]
    chosen = [{KEY: person} for person in persons.iloc[:: max(1, len(persons) // size)]]
    inputs = mlflow.models.get_model_info(f"models:/{found.name}/{found.version}").signature.inputs.input_names()
    references = [name for name in lineage.complete(found)["feast.features"].split(",") if name.split(":")[1] in inputs]
    found_online = store.get_online_features(references, chosen).to_arrow().select(inputs)
    rows: pd.DataFrame = found_online.drop_null().to_pandas()  # in Arrow: in pandas a null makes all integers floats
    if rows.empty:
        raise TrainingError(f"the online store has none of {len(chosen)} sampled persons: run publish_features again")
    return rows
