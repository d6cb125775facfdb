"""dags/triggers.py: what started a run, in words that a version carries."""

from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def triggers(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "dags")
    return import_module("triggers")


def event(minute: int, run: str | None = "scheduled__1", **extra: bool) -> Any:
    at = datetime(2026, 1, 2, 3, minute, tzinfo=UTC)
    dag = run and "publish_features"
    asset = SimpleNamespace(name="census_features")
    return SimpleNamespace(asset=asset, timestamp=at, source_dag_id=dag, source_run_id=run, extra=extra)


def context(*events: Any, force: bool = False) -> dict[str, Any]:
    return {"triggering_asset_events": {"asset": list(events)} if events else {}, "params": {"force": force}}


def test_the_newest_event_is_the_one_that_started_the_run(triggers):
    newest = "census_features at 2026-01-02T03:09:00+00:00 by publish_features run b"
    assert triggers.started_by(context(event(4, "a"), event(9, "b"), event(5, "c"))) == newest
    assert triggers.started_by(context(event(4, None))) == "census_features at 2026-01-02T03:04:00+00:00 by hand"
    assert triggers.started_by(context()) == "none, triggered by hand"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (context(), False),
        (context(force=True), True),
        (context(event(1)), False),
        (context(event(1), event(2, force=True)), True),
    ],
)
def test_force_comes_from_the_run_or_from_the_publication(triggers, given: dict[str, Any], expected: bool):
    assert bool(triggers.forced(given)) is expected
