"""The training DAG's tasks: each loads what it needs by id, calls one function and saves the result.

A task that is tried again finds what it did before and does nothing twice.
"""

import logging
from datetime import datetime
from typing import Any

import mlflow.sklearn
from feast import FeatureStore

from training import (
    dataset as datasets,
    evaluate,
    flavor,
    lineage,
    offline,
    register as registry,
    report as reports,
    serving,
    tracking,
    upkeep,
)
from training.errors import TrainingError
from training.gate import decide
from training.models import MODELS
from training.opponents import Opponents
from training.records import Decision, Evaluation, Rules
from training.register import decided
from training.settings import Settings
from training.slices import slices

log = logging.getLogger(__name__)
FOLLOWS = "MLflow run %s, snapshot %s"


def training_set(
    settings: Settings, model: str, run: str, as_of: str | None, event: str = lineage.BY_HAND
) -> dict[str, str]:
    """Return the path of the training set and the id of the MLflow run that follows it; `event` started the run."""
    entry, client, store = MODELS[model], tracking.connect(settings), FeatureStore()
    with offline.limited(settings):
        table = datasets.pull(entry, store, _instant(as_of) if as_of else None, settings.holdout_share)
    dataset, path = datasets.parse(entry, table), datasets.save(table, settings.workspace / model)
    tags = {"pipeline_run": run, "asset.event": event, **lineage.tags(settings, entry, store, dataset)}
    run_id = tracking.start(client, settings, entry, dataset, tags)
    log.info(FOLLOWS, run_id, dataset.snapshot_id)
    return {"path": str(path), "run_id": run_id}


def _instant(as_of: str) -> datetime:
    try:
        return datetime.fromisoformat(as_of)
    except ValueError:
        raise TrainingError(f"as_of is {as_of!r}: give an instant, such as 2026-11-22T20:25:31+00:00") from None


def cross_validate(settings: Settings, model: str, path: str, run_id: str) -> str:
    """Score the model's recipe, and all that it is compared with on the same folds, into the run; return its id."""
    entry, client = MODELS[model], tracking.connect(settings)
    with tracking.resumed(client, run_id):
        dataset = datasets.load(entry, path)
        log.info(FOLLOWS, run_id, dataset.snapshot_id)
        pipeline = evaluate.recipe(entry, dataset)
        scores = evaluate.cross_validate(pipeline, dataset, settings.threads)
        ours, recipe = scores.accuracy.tolist(), registry.recipe_digest(pipeline)
        met = Opponents(client, settings, entry, dataset, run_id)
        baselines_digest, baselines = met.baselines()
        label = dataset.label.to_numpy()
        evaluation = Evaluation(
            run_id=run_id,
            recipe=recipe,
            snapshot_id=dataset.snapshot_id,
            training_set_digest=dataset.digest,
            accuracy=ours,
            baselines=baselines,
            champion=met.champion(recipe, ours),
            best=met.best(),
            slices=slices(dataset.slices, label, scores.out_of_fold, settings.min_slice_rows),
        )
        tracking.log_scores(client, run_id, scores, {k: str(v) for k, v in pipeline["classify"].get_params().items()})
        tracking.log_opponents(client, run_id, evaluation)
        tracking.save_out_of_fold(client, run_id, scores)
        # Last: with this tag the run counts as evaluated, for its own gate and for the trainings after it.
        sha256 = tracking.save(client, run_id, evaluation)
        tracking.set_tags(client, run_id, {"baselines": baselines_digest, "evaluation.sha256": sha256})
        log.info(
            "accuracy %.4f ± %.4f over %s folds, %s side by side with 1 LightGBM thread each",
            scores.mean,
            scores.std,
            len(ours),
            evaluate.side_by_side(settings.threads),
        )
    return run_id


def gate(settings: Settings, run_id: str, rules: dict[str, Any]) -> dict[str, Any]:
    """Return the decision under `rules` and the settings; leave both in the run, with its tags and note."""
    client = tracking.connect(settings)
    tags = client.get_run(run_id).data.tags
    log.info(FOLLOWS, run_id, tags["snapshot_id"])
    judged_by = Rules(alpha=settings.alpha, margin=settings.margin, **rules)
    evaluation = tracking.load(run_id, Evaluation, tags["evaluation.sha256"])
    decision = decide(evaluation, judged_by)
    told = {
        **decided(evaluation, decision),
        "min_accuracy": repr(judged_by.min_accuracy),
        "policy": judged_by.policy,
        "rules.sha256": tracking.save(client, run_id, judged_by),
        "decision.sha256": tracking.save(client, run_id, decision),
    }
    note = f"Gate {told['gate']}: {decision.gate_reason}."
    if decision.passed:
        note += f" Promotion: {told['promotion']}: {decision.reason}."
    tracking.set_tags(client, run_id, {**told, "mlflow.note.content": note})
    for check in decision.checks:
        if check.name == "champion" and check.difference is not None and check.p_value is not None:
            tracking.log_figures(client, run_id, {"difference": check.difference, "p_value": check.p_value})
        log.info("%s %s: %s", "yes" if check.passed else "NO ", check.name, check.reason)
    if not decision.passed:
        client.set_terminated(run_id, "FINISHED")
    return decision.model_dump()


def fit(settings: Settings, model: str, path: str, run_id: str) -> str:
    """Fit on the whole training set and log the model; return its id."""
    entry, client = MODELS[model], tracking.connect(settings)
    with tracking.resumed(client, run_id):
        dataset = datasets.load(entry, path)
        log.info(FOLLOWS, run_id, dataset.snapshot_id)
        fitted = evaluate.fit(evaluate.recipe(entry, dataset), dataset, settings.threads)
        if held_out := dataset.held_out:
            tracking.log_figures(client, run_id, evaluate.held_out_figures(fitted, held_out))
        logged = flavor.log_model(client, entry, run_id, fitted, dataset)
    return str(logged.model_id)


def register(settings: Settings, model: str, run_id: str, model_id: str) -> str:
    """Return the version of the run's model in the registry."""
    entry, client, store = MODELS[model], tracking.connect(settings), FeatureStore()
    with tracking.resumed(client, run_id):
        registry.check_signature(entry, store, model_id)
        # Before the version is there, so that no version is ever there without its snapshot.
        snapshot_id = client.get_run(run_id).data.tags["snapshot_id"]
        log.info(FOLLOWS, run_id, snapshot_id)
        upkeep.pin(store, entry, snapshot_id)
        version = registry.register(client, entry, run_id, model_id)
        client.set_terminated(run_id, "FINISHED")  # a promotion may wait for a person, or never come
    return version


def promote(settings: Settings, model: str, version: str) -> dict[str, Any]:
    """Point alias `champion` to the version if its decision says so; return the decision."""
    entry, client = MODELS[model], tracking.connect(settings)
    found = client.get_model_version(entry.name, version)
    run_id = found.run_id
    log.info(FOLLOWS, run_id, found.tags.get("snapshot_id"))
    with tracking.resumed(client, run_id):
        decision = registry.promote(client, entry, version)
        if decision.promote:
            serving.ensure_person_scorer(client, entry)
        tracking.set_tags(client, run_id, {"version": version})
        client.set_terminated(run_id, "FINISHED")
    outcome = "promoted" if decision.promote else "not promoted"
    log.info("%s version %s: %s: %s", model, version, outcome, decision.reason)
    return decision.model_dump()


def report(settings: Settings, model: str, path: str, run_id: str, version: str | None) -> None:
    """Leave report, model card and pictures in the run; link the report from its version, if the gate let it be."""
    entry, client = MODELS[model], tracking.connect(settings)
    dataset = datasets.load(entry, path)
    log.info(FOLLOWS, run_id, dataset.snapshot_id)
    grouped = evaluate.cross_validate_grouped(evaluate.recipe(entry, dataset), dataset, settings.threads)
    tracking.log_figures(client, run_id, {"grouped_accuracy": grouped.mean})
    run = client.get_run(run_id)
    facts = reports.Facts(
        entry=entry,
        evaluation=tracking.load(run_id, Evaluation),
        rules=tracking.load(run_id, Rules),
        decision=tracking.load(run_id, Decision),
        tags=run.data.tags,
        metrics=run.data.metrics,
        dataset=dataset,
        out_of_fold=tracking.load_out_of_fold(run_id),
        fitted=mlflow.sklearn.load_model(f"models:/{model}/{version}") if version else None,
        version=version,
    )
    client.log_figure(run_id, reports.confusion_matrix(facts.label, facts.out_of_fold), "confusion_matrix.png")
    client.log_figure(run_id, reports.roc_curve(facts.label, facts.out_of_fold), "roc_curve.png")
    if facts.fitted is not None:
        client.log_figure(run_id, reports.importance(facts.fitted), "importance.png")
    client.log_text(run_id, reports.page(facts), reports.PAGE_ARTIFACT)
    client.log_text(run_id, reports.card(facts), reports.CARD_ARTIFACT)
    if version:
        link = reports.link(run.info.experiment_id, run_id)
        client.update_model_version(model, version, f"{facts.decision.gate_reason}\n\n{link}")
