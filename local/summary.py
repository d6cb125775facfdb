"""What the demo says at its end, read from where each fact is kept: Airflow, the lake, MLflow and Feast."""

import os
from typing import Any

import mlflow
from feast import FeatureStore
from mlflow.entities.model_registry import ModelVersion
from rich.console import Console
from rich.table import Table

from data_engineering import lake
from local.airflow_api import AirflowAPI
from storage.places import place
from training import features, register, report, tracking
from training.models import never_married
from training.offline import limited
from training.settings import Settings

REPORT = "report, in make up"


def newest_snapshot() -> str:
    """Return the id of the newest verified snapshot."""
    return features.snapshot(FeatureStore())["snapshot_id"]


def champion() -> ModelVersion | None:
    """Return the champion of `never_married`."""
    return register.champion(tracking.connect(Settings()), never_married)


def show(console: Console, api: AirflowAPI, runs: dict[str, str]) -> None:
    """Print rows, snapshot, scores, verdict, model, one person's prediction and the seconds of each step."""
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    facts = {**_data(), **_model(runs.get("train_never_married")), **_person(), **_seconds(api, runs)}
    address = facts.pop(REPORT)
    for name, value in facts.items():
        table.add_row(name, value)
    console.print(table)
    console.print(f" [bold]{REPORT}[/] {address}")  # in the table it would be folded, and be no link any more


def _data() -> dict[str, str]:
    snapshot = newest_snapshot()
    folder = place(os.environ["DATA_LAKE"])
    counts = lake.read_json(lake.staged(folder, lake.batch_of(snapshot), "clean.json"))
    rows = int(features.snapshot(FeatureStore())["rows"])
    return {
        "rows read": f"{counts['rows_in']:,}",
        "rows cleaned": f"{counts['rows_out']:,}",
        "rows dropped": f"{counts['with_null']:,} with nulls, {counts['duplicates']:,} duplicates",
        "rows published": f"{rows:,}",
        "snapshot": snapshot,
    }


def _model(pipeline_run: str | None) -> dict[str, str]:
    client = tracking.connect(Settings())
    best = champion()
    run_id = best.run_id if best else None
    if pipeline_run:
        experiment = client.get_experiment_by_name(never_married.name)
        run_id = client.search_runs([experiment.experiment_id], f"tags.pipeline_run = '{pipeline_run}'")[0].info.run_id
    run = client.get_run(run_id)
    tags, metrics = run.data.tags, run.data.metrics
    found = {
        "accuracy": f"{metrics['accuracy']:.4f} ± {metrics['accuracy_std']:.4f} over 15 folds",
        "gate": f"{tags['gate']}: {tags['gate.reason']}",
    }
    if tags["gate"] == "passed":
        found["champion"] = f"{tags['promotion']}: {tags['promotion.reason']}"
    if best:
        found["model"] = f"{best.name} version {best.version}, alias {register.CHAMPION}"
    where = report.place(run.info.experiment_id, run.info.run_id)
    return found | {REPORT: f"http://127.0.0.1:{os.environ['MLFLOW_PORT']}/{where}"}


def _person() -> dict[str, str]:
    store = FeatureStore()
    with limited(Settings()):
        person = features.persons(store, features.snapshot(store))["person_id"].min()
    service = store.get_feature_service(never_married.inference_service)
    rows = store.get_online_features(service, [{"person_id": person}]).to_df()
    names = [feature.name for view in service.feature_view_projections for feature in view.features]
    values = rows.loc[0, names].to_dict()  # in the service's order; Feast's answer has one of its own
    if not champion():
        return {"one person, online": _listed(values)}
    model = mlflow.pyfunc.load_model(f"models:/{never_married.name}@{register.CHAMPION}")
    answer = model.predict(rows[names]).iloc[0]
    yes = "yes" if answer["prediction"] else "no"
    return {
        "one person, online": _listed(values),
        "prediction": f"{never_married.name} is {yes}, probability {answer['probability']:.3f}",
    }


def _listed(values: dict[Any, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _seconds(api: AirflowAPI, runs: dict[str, str]) -> dict[str, str]:
    found = {}
    for dag, run in runs.items():
        found[f"seconds, {dag.split('_')[0]}"] = ", ".join(
            f"{task['task_id']} {task['duration']:.1f}" for task in api.tasks(dag, run) if task["duration"]
        )
    return found
