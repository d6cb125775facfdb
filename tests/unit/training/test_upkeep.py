"""training/upkeep.py: a registered version pins its snapshot in Feast; old files and unused pins go."""

import os
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from training import steps, tracking, upkeep
from training.errors import TrainingError
from training.models import never_married

LONG_AGO = (datetime.now(UTC) - timedelta(days=40)).isoformat()


def pins(publisher) -> list[dict[str, str]]:
    return [pin.tags for pin in publisher.store.list_saved_datasets(tags={"pin": "true"})]


def registry(*snapshots: str) -> Any:
    """Return what stands in for MLflow's registry: versions of these snapshots."""
    versions = [SimpleNamespace(tags={"snapshot_id": snapshot}) for snapshot in snapshots]
    return SimpleNamespace(search_model_versions=lambda _: versions)


def aged(publisher, snapshot_id: str) -> None:
    (pin,) = publisher.store.list_saved_datasets(tags={"pin": "true", "snapshot_id": snapshot_id})
    pin.tags["pinned_at"] = LONG_AGO
    publisher.store.registry.apply_saved_dataset(pin, publisher.store.project)


def test_the_snapshot_is_pinned_before_its_version_is_there(publisher, settings, monkeypatch):
    run = SimpleNamespace(data=SimpleNamespace(tags={"snapshot_id": publisher.first}))
    client = SimpleNamespace(get_run=lambda _: run, set_terminated=lambda *_: None)
    monkeypatch.setattr(tracking, "connect", lambda _: client)
    monkeypatch.setattr(tracking, "resumed", lambda *_: nullcontext())
    seen: list[dict[str, str]] = []
    monkeypatch.setattr(steps.registry, "check_signature", lambda *_: None)
    monkeypatch.setattr(steps.registry, "register", lambda *_: seen.extend(pins(publisher)) or "1")
    for _ in range(2):
        assert steps.register(settings, "never_married", "run", "model") == "1"
    assert len(pins(publisher)) == 1
    assert [(pin["model"], pin["snapshot_id"], pin["view"]) for pin in seen] == [
        ("never_married", publisher.first, "census")
    ] * 2


def test_pins_are_not_taken_for_verified_snapshots(publisher):
    later = publisher.verified(publisher.lines[:290])
    upkeep.pin(publisher.store, never_married, publisher.first)
    from training.features import snapshot

    assert snapshot(publisher.store)["snapshot_id"] == later


def test_a_snapshot_that_was_pruned_meanwhile_is_an_error(publisher):
    publisher.store.registry.delete_saved_dataset(f"census_{publisher.first}", publisher.store.project)
    with pytest.raises(TrainingError, match=f"^snapshot {publisher.first} was pruned while a model was trained on it"):
        upkeep.pin(publisher.store, never_married, publisher.first)
    assert pins(publisher) == []


def test_a_pin_goes_when_it_is_old_and_no_version_needs_it(publisher, settings):
    upkeep.pin(publisher.store, never_married, publisher.first)

    def pruned(*snapshots: str, keep_days: int = 30, **options: bool) -> list[str]:
        given = settings.model_copy(update={"keep_days": keep_days})
        return list(upkeep.prune(publisher.store, registry(*snapshots), given, **options))

    assert pruned(keep_days=0) == []  # young: its version may come yet
    aged(publisher, publisher.first)
    assert pruned(publisher.first) == []
    line = f"pin of snapshot {publisher.first}: no registered version of never_married needs it"
    assert pruned("another", dry_run=True) == [f"would remove {line}"]
    assert pruned("another") == [f"removed {line}"]
    assert pins(publisher) == []


def test_old_training_sets_go(publisher, settings):
    old, young, draft = (settings.workspace / name for name in ("old.parquet", "young.parquet", ".draft.parquet.01ab"))
    settings.workspace.mkdir()
    for path in (old, young, draft):
        path.write_bytes(b"rows")
    for path in (old, draft):
        os.utime(path, (datetime.fromisoformat(LONG_AGO).timestamp(),) * 2)
    lines = list(upkeep.prune(publisher.store, registry(), settings))
    assert lines == ["removed training set .draft.parquet.01ab", "removed training set old.parquet"]
    assert list(settings.workspace.iterdir()) == [young]


def test_training_sets_of_every_model_are_pruned(publisher, settings):
    path = settings.workspace / "never_married" / "old.parquet"
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (0, 0))
    assert list(upkeep.prune(publisher.store, registry(), settings)) == ["removed training set old.parquet"]
    assert not path.exists()


def test_old_predictions_go_but_for_each_models_newest(publisher, settings):
    names = ["one/2026Z-ab-v9", "one/2026Z-ab-v10", "other/2025Z-cd-v1", "one/2024Z-ef-v1"]  # the last is young
    paths = [settings.predictions / f"{name}.parquet" for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"rows")
    for path in paths[:3]:
        os.utime(path, (datetime.fromisoformat(LONG_AGO).timestamp(),) * 2)
    line = f"predictions one/{paths[0].name}"
    assert list(upkeep.prune(publisher.store, registry(), settings, dry_run=True)) == [f"would remove {line}"]
    assert list(upkeep.prune(publisher.store, registry(), settings)) == [f"removed {line}"]
    assert [path for path in paths if path.exists()] == paths[1:]
