"""Both DAG runs under the real scheduler, beside the same work called as plain functions in one warm process."""

import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from measure import Seconds, childrens_cpu, console, quiet, save, timed, verdict
from rich.table import Table

from data_engineering import steps as engineering
from data_engineering.settings import Settings as DataSettings
from local.airflow_api import DONE, AirflowAPI
from local.services import Services
from local.stack import running
from training import register, steps, tracking
from training.models import never_married
from training.settings import Settings

PUBLISH, TRAIN = "publish_features", "train_never_married"
MODEL = never_married.name
OFF_PATH = {"prune", "report", "needs_approval", "approval"}  # the alias does not wait for them, or they do no work
ARTICLE = 163.0  # seconds of the article's single DAG on a machine of this kind


def run() -> tuple[Path, str]:
    """Measure, print and save; return a training set and the batch it comes from."""
    with console.status("starting Airflow"), running() as (services, api):
        orchestrated(services, api)  # warm
        whole, tasks = orchestrated(services, api)
    with console.status("the same work as plain functions"), quiet():
        plainly("warm")
        (path, batch, parts), plain = timed(lambda: plainly("measured"))
    tell(tasks, parts, whole, plain)
    return path, batch


def orchestrated(services: Services, api: AirflowAPI) -> tuple[Seconds, list[dict[str, Any]]]:
    """Return what it took from the trigger until the alias moved, and the tasks of both runs in order."""
    client = tracking.connect(Settings())
    before, cpu, began = register.champion(client, never_married), childrens_cpu(), time.time()
    published = api.trigger(PUBLISH, force=True)
    trained: list[str] = []

    def moved() -> bool:
        if not trained:
            trained.extend(filter(None, [api.started_by(TRAIN, published)]))
        for dag, runs in ((PUBLISH, [published]), (TRAIN, trained)):
            if any(api.run(dag, found)["state"] == "failed" for found in runs):
                raise RuntimeError(f"{dag} failed")
        now = register.champion(client, never_married)
        return now is not None and (before is None or now.version != before.version)

    services.wait("a new champion", moved, seconds=600)
    taken = Seconds(time.time() - began, childrens_cpu() - cpu)
    services.wait("the end of the run", lambda: api.run(TRAIN, trained[0])["state"] in DONE, seconds=60)
    ends, found = began, []
    for task in [*api.tasks(PUBLISH, published), *api.tasks(TRAIN, trained[0])]:
        if task["task_id"] in OFF_PATH:
            continue
        start, end = (datetime.fromisoformat(task[name]).timestamp() for name in ("start_date", "end_date"))
        found.append({"task": task["task_id"], "waited": start - ends, "took": end - start})
        ends = end
    return taken, found


def plainly(run_: str) -> tuple[Path, str, dict[str, Seconds]]:
    """Do what both DAGs do; return the training set, the batch and what each step took."""
    data, settings, parts = DataSettings(), Settings(), {}

    def step(function: Any, *arguments: Any, **options: Any) -> Any:
        result, parts[function.__name__] = timed(lambda: function(*arguments, **options))
        return result

    batch = step(engineering.extract, data, run_, None)
    step(engineering.clean, data, batch)
    step(engineering.validate, data, batch)
    snapshot_id = step(engineering.publish, data, batch, force=True)
    step(engineering.materialize, data, snapshot_id)
    step(engineering.verify, data, snapshot_id)
    pulled = step(steps.training_set, settings, MODEL, run_, None)
    path, run_id = pulled["path"], pulled["run_id"]
    step(steps.cross_validate, settings, MODEL, path, run_id)
    step(steps.gate, settings, run_id, {"force": True})
    fitted = step(steps.fit, settings, MODEL, path, run_id)
    version = step(steps.register, settings, MODEL, run_id, fitted)
    assert step(steps.promote, settings, MODEL, version)["promote"]
    return Path(path), batch, parts


def tell(tasks: list[dict[str, Any]], parts: dict[str, Seconds], whole: Seconds, plain: Seconds) -> None:
    """Print the table and save the figures."""
    table = Table("(a) step", "waited before, s", "task, s", "plain, s", "plain, CPU s")
    for task in tasks:
        alone = parts[task["task"]]
        figures = task["waited"], task["took"], alone.wall, alone.cpu
        table.add_row(task["task"], *(f"{figure:.2f}" for figure in figures))
    table.add_section()
    sums = (sum(task[name] for task in tasks) for name in ("waited", "took"))
    table.add_row("sum", *(f"{figure:.2f}" for figure in (*sums, plain.wall, plain.cpu)))
    console.print(table)
    price = whole.wall - plain.wall
    console.print(f"  trigger to alias moved  {whole.wall:.1f} s, CPU {whole.cpu:.1f} s with all of Airflow's programs")
    console.print(f"  goal in all             {verdict(whole.wall, 30)}; the article's single DAG: {ARTICLE:.0f} s")
    console.print(f"  orchestration's price   {verdict(price, 12)}, CPU {whole.cpu - plain.cpu:.1f} s")
    figures_ = {"orchestrated": asdict(whole), "plain": asdict(plain), "price": price, "tasks": tasks}
    save("orchestration", figures_ | {"steps": {name: asdict(taken) for name, taken in parts.items()}})
