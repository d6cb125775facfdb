"""Where a model comes from, and what came from a feature or a snapshot: kept in the tags of runs and versions."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from feast import FeatureService, FeatureStore
from google.protobuf.json_format import MessageToDict
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

from training import flavor
from training.dataset import TrainingSet
from training.errors import TrainingError
from training.models import ModelEntry
from training.settings import Settings

BY_HAND = "none, triggered by hand"
# The links from a source to a version; `register` refuses a version that lacks one.
CHAIN = (
    *("source", "source.sha256", "snapshot_id", "snapshot.event_timestamp", "snapshot.run"),
    *("feast.feature_view", "feast.feature_service", "feast.training_service", "feast.features", "feast.definitions"),
    *("question", "label", "training_set.digest", "training_set.rows", "holdout_share", "recipe"),
    *("pipeline_run", "asset.event", "run_id", "git_commit", *flavor.ENVIRONMENT),
)


def tags(settings: Settings, entry: ModelEntry, store: FeatureStore, dataset: TrainingSet) -> dict[str, str]:
    """Return where a training set comes from, as tags of its run and of the version that comes of it.

    Raises:
        TrainingError: the names of all features together are longer than MLflow keeps.
    """
    snapshot = dataset.lineage
    services = [store.get_feature_service(name) for name in (entry.inference_service, entry.training_service)]
    references = ",".join(features(services[1]))
    if len(references) > MAX_TAG_VAL_LENGTH:
        raise TrainingError(
            f"feature service {entry.training_service}: its {len(references):,} characters of feature names do not fit "
            f"into a tag, which holds {MAX_TAG_VAL_LENGTH:,}: take fewer features, or shorter names"
        )
    return {
        "question": entry.question,
        "label": f"{entry.label} = {entry.positive}",
        "feast.feature_view": snapshot["view"],
        "feast.feature_service": entry.inference_service,
        "feast.training_service": entry.training_service,
        "feast.features": references,
        "feast.definitions": json.dumps(definitions(store, services)),
        "snapshot_id": dataset.snapshot_id,
        "snapshot.event_timestamp": snapshot["event_timestamp"],
        "snapshot.run": snapshot["run"],
        "source": snapshot["source"],
        "source.sha256": snapshot["source_sha256"],
        "training_set.digest": dataset.digest,
        "training_set.rows": str(len(dataset.label)),
        "holdout_share": repr(dataset.holdout_share),
        "git_commit": settings.git_commit or _git_commit(),
    }


def _git_commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def features(service: FeatureService) -> list[str]:
    """Return the references, such as `census:age`, of all that a service names."""
    return [
        f"{view.name_to_use()}:{feature.name}" for view in service.feature_view_projections for feature in view.features
    ]


def definitions(store: FeatureStore, services: list[FeatureService]) -> dict[str, str]:
    """Return SHA-256 of the definitions of services and of the views that they read, by name."""
    views = sorted({view.name for service in services for view in service.feature_view_projections})
    return {
        **{f"view {name}": digest(store.registry.get_any_feature_view(name, store.project)) for name in views},
        **{f"service {service.name}": digest(service) for service in services},
    }


def digest(definition: Any) -> str:
    """Return SHA-256 of a Feast object as defined, whenever it was applied or materialized."""
    text = json.dumps(_timeless(MessageToDict(definition.to_proto().spec)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _timeless(value: Any) -> Any:
    """Return a message without what Feast notes of its sources' life, which it keeps among their definitions."""
    if isinstance(value, dict):
        return {name: _timeless(part) for name, part in value.items() if name != "meta"}
    return [_timeless(part) for part in value] if isinstance(value, list) else value


def missing(tags: dict[str, str]) -> list[str]:
    """Return the links of the chain that tags lack, or have empty."""
    return [name for name in CHAIN if not tags.get(name)]


def complete(found: ModelVersion) -> dict[str, str]:
    """Return a version's tags, or raise TrainingError if a link of the chain is missing."""
    if gaps := missing(found.tags):
        raise TrainingError(
            f"{found.name} version {found.version} has no tag {gaps[0]}: it is of an older kind, or somebody removed it"
        )
    tags: dict[str, str] = found.tags
    return tags


def resolve(client: MlflowClient, named: str) -> ModelVersion:
    """Return the registered version that `NAME@ALIAS` or `NAME/VERSION` names.

    Raises:
        TrainingError: there is none.
    """
    try:
        if "@" in named:
            return client.get_model_version_by_alias(*named.rsplit("@", 1))
        return client.get_model_version(*named.rsplit("/", 1))
    except (MlflowException, TypeError, ValueError) as error:
        if getattr(error, "error_code", "") not in {"", "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        raise TrainingError(f"there is no {named}: give a registered NAME@ALIAS or NAME/VERSION") from None


def affected(client: MlflowClient, *, feature: str | None = None, snapshot_id: str | None = None) -> list[ModelVersion]:
    """Return the versions of all models that were trained on a feature (`age` or `census:age`), or on a snapshot."""
    found, page = [], None
    while page != "":
        versions = client.search_model_versions(page_token=page)
        found += [v for v in versions if _depends(v.tags, feature, snapshot_id)]
        page = versions.token or ""
    return sorted(found, key=lambda v: (v.name, int(v.version)))


def _depends(tags: dict[str, str], feature: str | None, snapshot_id: str | None) -> bool:
    if feature is None:
        return tags.get("snapshot_id") == snapshot_id
    references = tags.get("feast.features", "").split(",")
    return bool(feature) and feature in {*references, *(reference.split(":")[-1] for reference in references)}


def chain(store: FeatureStore, found: ModelVersion) -> list[tuple[str, str]]:
    """Return each link from the source to a version, as a name and a text; "not recorded" where one is missing."""
    tags = {name: found.tags.get(name) or "not recorded" for name in (*CHAIN, "gate", "gate.reason", "promotion")}
    kept = store.list_saved_datasets(tags={"verified": "true", "snapshot_id": tags["snapshot_id"]})
    return [
        ("source", f"{tags['source']}\nsha256 {tags['source.sha256']}"),
        (
            "snapshot",
            f"{tags['snapshot_id']}, {'kept' if kept else 'pruned since'}\nread at {tags['snapshot.event_timestamp']}",
        ),
        ("published by", f"publish_features run {tags['snapshot.run']}"),
        *_definitions_now(store, json.loads(found.tags.get("feast.definitions") or "{}")),
        ("features", tags["feast.features"].replace(",", ", ")),
        ("label", tags["label"]),
        (
            "training set",
            f"{tags['training_set.rows']} rows, {tags['feast.training_service']}\nsha256 {tags['training_set.digest']}",
        ),
        ("asset event", tags["asset.event"]),
        ("trained by", f"train_{found.name} run {tags['pipeline_run']}\nat commit {tags['git_commit']}"),
        ("MLflow run", tags["run_id"]),
        ("recipe", f"{tags['recipe']}\n{tags['requirements']}\n{tags['platform']}"),
        ("decision", f"gate {tags['gate']}: {tags['gate.reason']}\npromotion: {tags['promotion']}"),
        ("version", " ".join([found.name, str(found.version), *(f"@{alias}" for alias in found.aliases)])),
    ]


def _definitions_now(store: FeatureStore, then: dict[str, str]) -> list[tuple[str, str]]:
    """Return each definition's digest, and whether the feature store defines it so today."""
    names = {service.name for service in store.list_feature_services()}
    services = [
        store.get_feature_service(n.split()[1]) for n in then if n.startswith("service ") and n.split()[1] in names
    ]
    now = definitions(store, services)
    says = {True: "as today", False: "defined otherwise today"}
    return [
        (name, f"sha256 {sha}, {says[now[name] == sha] if name in now else 'gone today'}") for name, sha in then.items()
    ]
