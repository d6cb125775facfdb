"""feature_repo/: what Feast finds there, and what the registry says after `feast apply`."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from feast import FeatureStore
from feast.repo_operations import get_repo_files
from feast.types import Int64, String

from data_engineering.schema import COLUMNS, FEATURES
from training.models import MODELS

REPO = Path(__file__).parents[3] / "feature_repo"


@pytest.fixture
def store(publisher) -> FeatureStore:
    return publisher.store


def columns(store: FeatureStore, service: str) -> list[str]:
    (projection,) = store.get_feature_service(service).feature_view_projections
    assert projection.name == "census"
    return [feature.name for feature in projection.features]


def test_feast_sees_exactly_these_files():
    assert get_repo_files(REPO) == [REPO / "census.py"]


def test_one_entity_and_one_feature_view(store: FeatureStore):
    assert [(entity.name, entity.join_key) for entity in store.list_entities()] == [("person", "person_id")]
    (view,) = store.list_feature_views()
    assert (view.name, view.entities, view.online) == ("census", ["person"], True)
    assert store.list_on_demand_feature_views() == store.list_stream_feature_views() == []


def test_the_view_has_the_clean_columns_the_age_bin_and_the_snapshot(store: FeatureStore):
    types = {field.name: field.dtype for field in store.get_feature_view("census").features}
    wanted = {name: Int64 if COLUMNS[name] is int else String for name in FEATURES}
    assert len(wanted) == 12
    assert types == {**wanted, "age_bin": Int64, "snapshot_id": String}


def test_the_source_is_the_folder_of_snapshots_with_both_timestamps(store: FeatureStore):
    source = store.get_feature_view("census").batch_source
    assert source.path == f"{os.environ['DATA_LAKE']}/census"
    assert (source.timestamp_field, source.created_timestamp_column) == ("event_timestamp", "created_timestamp")


def test_each_model_has_its_two_services_and_there_are_no_others(store: FeatureStore):
    wanted = {name for entry in MODELS.values() for name in (entry.inference_service, entry.training_service)}
    assert {service.name for service in store.list_feature_services()} == wanted


@pytest.mark.parametrize("entry", MODELS.values(), ids=MODELS)
def test_inference_has_no_label_and_training_adds_age_bin_label_and_snapshot(store: FeatureStore, entry):
    inference = columns(store, entry.inference_service)
    assert not {entry.label, "snapshot_id", "relationship"} & set(inference)
    assert sorted(columns(store, entry.training_service)) == sorted([*inference, "age_bin", entry.label, "snapshot_id"])


def test_every_definition_says_what_it_is_and_whose(store: FeatureStore):
    views, services = store.list_feature_views(), store.list_feature_services()
    for thing in (*store.list_entities(), *views, *services, store.get_project("census")):
        assert thing.description
        assert thing.owner.endswith("@example.com")
    assert [field.name for field in views[0].schema if not field.description] == []


def test_applying_twice_says_no_changes(
    feast_apply: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("FEAST_REGISTRY_URI", f"sqlite:///{tmp_path}/registry.db")
    feast_apply()
    assert "Created feature view census" in capsys.readouterr().out
    feast_apply()
    assert "No changes to registry" in capsys.readouterr().out


def test_applying_after_a_publication_keeps_what_was_published(publisher, feast_apply: Callable[[], None]):
    """Feast takes a materialized view for a changed one; what it knows of the snapshot has to survive that."""
    before = publisher.store.get_feature_view("census")
    feast_apply()
    after = publisher.store.get_feature_view("census")
    assert after == before
    assert len(after.materialization_intervals) == 1
    assert [mark.name for mark in publisher.store.list_saved_datasets()] == [f"census_{publisher.first}"]
