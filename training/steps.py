"""The training DAG's tasks: each loads what it needs by id, calls one function and saves the result.

A task that is tried again finds what it did before and does nothing twice.
"""

import logging
import math
from dataclasses import asdict
from datetime import datetime
from typing import Any

import mlflow.sklearn
from feast import FeatureStore
from mlflow.entities.model_registry import ModelVersion
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from training import (
    dataset as datasets,
    evaluate,
    flavor,
    gate as gates,
    lineage,
    register as registry,
    report,
    tracking,
    upkeep,
)
from training.dataset import TrainingSet
from training.errors import TrainingError
from training.models import MODELS
from training.settings import Settings

log = logging.getLogger(__name__)


def training_set(
    settings: Settings, model: str, run: str, as_of: str | None, event: str = lineage.BY_HAND
) -> dict[str, str]:
    """Return the path of the training set and the id of the MLflow run that follows it; `event` started the run."""
    entry, client, store = MODELS[model], tracking.connect(settings), FeatureStore()
    table = datasets.pull(entry, store, _instant(as_of) if as_of else None)
    dataset, path = datasets.parse(entry, table), datasets.save(table, settings.workspace)
    tags = {"pipeline_run": run, "asset.event": event, **lineage.tags(settings, entry, store, dataset)}
    return {"path": str(path), "run_id": tracking.start(client, settings, entry, dataset, tags)}


def _instant(as_of: str) -> datetime:
    try:
        return datetime.fromisoformat(as_of)
    except ValueError:
        raise TrainingError(f"as_of is {as_of!r}: give an instant, such as 2026-11-22T20:25:31+00:00") from None


def cross_validate(settings: Settings, model: str, path: str, run_id: str) -> str:
    """Score the model's recipe, and the champion's on the same folds, into the run; return the run's id."""
    entry, client = MODELS[model], tracking.connect(settings)
    with tracking.resumed(client, run_id):
        dataset = datasets.load(entry, path)
        pipeline = evaluate.recipe(entry, dataset)
        scores = evaluate.cross_validate(pipeline, dataset, settings.threads)
        recipe = registry.recipe_digest(pipeline)
        champion = registry.champion(client, entry)
        tags = {
            "recipe": recipe,
            "accuracy": repr(scores.mean),
            "champion.met": str(champion.version) if champion else "none",
        }
        if champion:
            same = champion.tags.get("recipe") == recipe
            tags["champion.accuracy"] = repr(scores.mean if same else _champion_accuracy(champion, dataset, settings))
        parameters = {k: str(v) for k, v in pipeline["classify"].get_params().items()}
        tracking.log_evaluation(client, run_id, scores, parameters, tags)
        label = dataset.label.to_numpy()
        client.log_figure(run_id, report.confusion_matrix(label, scores), "confusion_matrix.png")
        client.log_figure(run_id, report.roc_curve(label, scores), "roc_curve.png")
        beside = evaluate.side_by_side(settings.threads)
        log.info(
            "accuracy %.4f ± %.4f over %s folds, %s side by side with 1 LightGBM thread each",
            scores.mean,
            scores.std,
            len(scores.accuracy),
            beside,
        )
    return run_id


def _champion_accuracy(champion: ModelVersion, dataset: TrainingSet, settings: Settings) -> float:
    """Return the mean accuracy of the champion's recipe, refitted in each fold, or NaN if it needs other inputs.

    The fitted champion itself has seen the rows, and would look better than it is.
    """
    fitted: Pipeline = mlflow.sklearn.load_model(f"models:/{champion.name}/{champion.version}")
    wanted = list(fitted.feature_names_in_)
    if missing := set(wanted) - set(dataset.inputs.columns):
        log.warning(
            "champion %s needs %s, which this training set has not", champion.version, ", ".join(sorted(missing))
        )
        return math.nan
    return evaluate.cross_validate(clone(fitted), dataset.only(wanted), settings.threads).mean


def gate(settings: Settings, model: str, run_id: str, min_accuracy: float, *, force: bool) -> dict[str, Any]:
    """Return the verdict, and leave it in the run's tags and note."""
    entry, client = MODELS[model], tracking.connect(settings)
    tags = client.get_run(run_id).data.tags
    champion = registry.champion(client, entry)
    alike = champion and all(champion.tags.get(name) == tags[name] for name in ("recipe", "training_set.digest"))
    same_version = str(champion.version) if champion and alike and champion.run_id != run_id else None
    verdict = gates.gate(float(tags["accuracy"]), min_accuracy, same_version, force=force)
    outcome = {"gate": "passed" if verdict.passed else "refused", "gate.reason": verdict.reason}
    note = {"mlflow.note.content": f"Gate {outcome['gate']}: {verdict.reason}."}
    tracking.set_tags(client, run_id, {**outcome, **note, "min_accuracy": repr(min_accuracy)})
    if not verdict.passed:
        client.set_terminated(run_id, "FINISHED")
    log.info("gate %s: %s", outcome["gate"], verdict.reason)
    return asdict(verdict)


def fit(settings: Settings, model: str, path: str, run_id: str) -> dict[str, str]:
    """Fit on the whole training set and log the model; return its id and URI."""
    entry, client = MODELS[model], tracking.connect(settings)
    with tracking.resumed(client, run_id):
        dataset = datasets.load(entry, path)
        fitted = evaluate.fit(evaluate.recipe(entry, dataset), dataset, settings.threads)
        client.log_figure(run_id, report.importance(fitted), "importance.png")
        logged = flavor.log_model(client, entry, run_id, fitted, dataset)
    return {"model_id": logged.model_id, "model_uri": logged.model_uri}


def register(settings: Settings, model: str, run_id: str, model_uri: str, model_id: str) -> str:
    """Return the version of the run's model in the registry."""
    entry, client = MODELS[model], tracking.connect(settings)
    with tracking.resumed(client, run_id):
        # Before the version is there, so that no version is ever there without its snapshot.
        upkeep.pin(FeatureStore(), entry, client.get_run(run_id).data.tags["snapshot_id"])
        return registry.register(client, entry, run_id, model_uri, model_id)


def promote(settings: Settings, model: str, run_id: str, version: str) -> str:
    """Give the version alias `champion` if it deserves it; return why, and leave it in the run's tags."""
    client = tracking.connect(settings)
    with tracking.resumed(client, run_id):
        reason = registry.promote(client, MODELS[model], version)
        tracking.set_tags(client, run_id, {"promotion": reason, "version": version})
        client.set_terminated(run_id, "FINISHED")
    log.info("%s version %s: %s", model, version, reason)
    return reason
