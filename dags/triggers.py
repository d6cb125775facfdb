"""What starts a run: the clock, or the asset events in its context, or a person."""

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable

RUN_TYPES = ["manual", "scheduled", "asset_materialization"]  # all but backfill


def cron(expression: str | None) -> CronTriggerTimetable | None:
    """Return when a DAG runs by itself, in UTC, the first time at the expression's next instant; None: never."""
    # Airflow 3.3 else begins with the last instant, if that is but a tenth of the interval ago: a daily DAG that is
    # switched on at two in the morning would run beside the run that somebody asks for.
    return CronTriggerTimetable(expression, timezone="UTC", run_immediately=timedelta(0)) if expression else None


def forced(context: dict[str, Any]) -> bool:
    """Return whether this run, or the publication that started it, was asked for with force."""
    return context["params"]["force"] or any(event.extra.get("force") for event in _events(context))


def started_by(context: dict[str, Any]) -> str:
    """Return the newest of the asset events that started this run: when, by which DAG and run."""
    newest = max(_events(context), key=lambda event: event.timestamp, default=None)
    if newest is None:
        return "none, triggered by hand"
    by = f"{newest.source_dag_id} run {newest.source_run_id}" if newest.source_run_id else "hand"
    return f"{newest.asset.name} at {newest.timestamp.isoformat()} by {by}"


def _events(context: dict[str, Any]) -> list[Any]:
    return [event for found in context["triggering_asset_events"].values() for event in found]
