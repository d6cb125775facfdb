"""What started a run: the asset events in its context, or a person."""

from typing import Any


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
