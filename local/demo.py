"""`make demo`: both pipelines for real, from the source file to the registered model."""

import os
import sys
import time
import warnings

import requests
from rich.console import Console

from local.airflow_api import DONE, AirflowAPI
from local.services import LocalError, Services
from local.stack import running

PUBLISH, MODEL = "publish_features", "never_married"
TRAIN = f"train_{MODEL}"
MARKS = {
    "success": "[green]done   [/]",
    "failed": "[red]failed [/]",
    "skipped": "[yellow]skipped[/]",
    "upstream_failed": "[red]not run[/]",
}
COMMANDS = (
    f"lineage {MODEL}@champion",
    f"reproduce {MODEL}@champion",
    f'rollback {MODEL} --to VERSION --reason "…"',
)
ASSET_SECONDS, RUN_SECONDS = 60.0, 1800.0

# A pipe has no width of its own.
console = Console(width=None if sys.stdout.isatty() else 110, soft_wrap=True, highlight=False)


def main() -> int:
    """Run the demo; return the exit code."""
    force = os.environ.get("FORCE", "") not in {"", "0"}
    began = time.monotonic()
    try:
        with (
            console.status("starting Airflow and applying the Feast definitions (20-60 s)") as status,
            running() as (services, api),
        ):
            status.stop()
            console.print(f"Airflow is up after {time.monotonic() - began:.0f} s")
            run_pipelines(services, api, force=force)
    except (LocalError, RuntimeError, requests.RequestException) as error:
        console.print(f"[bold red]demo failed:[/] {error}")
        return 1
    except KeyboardInterrupt:
        console.print("stopped; nothing is left running")
        return 130
    console.print(f"Done in {time.monotonic() - began:.0f} s. Next:")
    console.print("  [bold]make up[/]     look at the runs, the model and the features in a browser")
    console.print("  [bold]make shell[/]  type feast, airflow and mlflow commands, or python, or of the model:")
    for command in COMMANDS:
        console.print(f"              python -m training {command}")
    return 0


def run_pipelines(services: Services, api: AirflowAPI, *, force: bool) -> None:
    """Publish features, wait for the training that this starts, and print what came of both."""
    published = api.trigger(PUBLISH, force=force)
    from local import summary  # MLflow and Feast take seconds to import; Airflow is at work meanwhile

    warnings.simplefilter("ignore")  # MLflow's use of SQLAlchemy warns on every start, and resets what -W says
    follow(services, api, PUBLISH, published)
    if states(api, PUBLISH, published)["publish"] == "skipped":
        console.print(
            f"unchanged: the source's content equals snapshot {summary.newest_snapshot()}, so nothing was published"
        )
        if summary.champion():
            console.print("and nothing is trained anew. [bold]make demo FORCE=1[/] publishes and trains all the same.")
            summary.show(console, api, {PUBLISH: published})
            return
        trained = api.trigger(TRAIN)  # an earlier demo was stopped before it had a model
    else:
        trained = wait_for_asset(services, api, published)
    follow(services, api, TRAIN, trained)
    summary.show(console, api, {PUBLISH: published, TRAIN: trained})


def wait_for_asset(services: Services, api: AirflowAPI, published: str) -> str:
    """Return the training run that the publication's Asset event starts."""
    found: list[str] = []

    def started() -> bool:
        found.extend(filter(None, [api.started_by(TRAIN, published)]))
        return bool(found)

    services.wait(f"a run of {TRAIN} started by the Asset", started, ASSET_SECONDS)
    return found[0]


def follow(services: Services, api: AirflowAPI, dag: str, run: str) -> None:
    """Show a run's tasks until it has ended.

    Raises:
        LocalError: it failed.
    """
    shown: set[str] = set()
    console.print(f"[bold]{dag}[/] {run}")
    with console.status("waiting for the scheduler") as status:

        def ended() -> bool:
            over = api.run(dag, run)["state"] in DONE
            status.update(progress(api, dag, run, shown))
            return over

        services.wait(f"{dag} {run}", ended, RUN_SECONDS)
    if api.run(dag, run)["state"] == "failed":
        task = next(task for task in api.tasks(dag, run) if task["state"] == "failed")
        raise LocalError(f"{dag}: task {task['task_id']}: {api.failure(dag, run, task['task_id'], task['try_number'])}")


def progress(api: AirflowAPI, dag: str, run: str, shown: set[str]) -> str:
    """Print each task that has ended since the last call; return the ones at work."""
    tasks = api.tasks(dag, run)
    for task in tasks:
        if task["state"] in MARKS and task["task_id"] not in shown:
            shown.add(task["task_id"])
            seconds = f"{task['duration']:5.1f} s" if task["duration"] else ""
            console.print(f"  {MARKS[task['state']]} {task['task_id']:<16}{seconds}")
    return ", ".join(task["task_id"] for task in tasks if task["state"] == "running") or "waiting for the scheduler"


def states(api: AirflowAPI, dag: str, run: str) -> dict[str, str]:
    """Return the state of each of a run's tasks."""
    return {task["task_id"]: task["state"] for task in api.tasks(dag, run)}


if __name__ == "__main__":
    sys.exit(main())
