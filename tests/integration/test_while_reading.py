"""Redis is read, and the registry is written by others, while a snapshot is materialized."""

import pytest
from feast import FeatureStore
from feast.infra.registry.sql import FeastRegistrySchemaError

from data_engineering import registered, steps
from data_engineering.lake import instant_of
from data_engineering.settings import Settings
from tests.integration import clients
from training import features

LINES = 3_000
DEFINITIONS = {"never_married", "never_married_training", "high_income", "high_income_training"}


@pytest.fixture(scope="module")
def snapshots(runs, tmp_path_factory) -> list[str]:
    """Return the snapshot that is online, and one that is not yet, in which the same persons have another income."""
    first = features.snapshot(FeatureStore())["snapshot_id"]
    source = clients.other_incomes(tmp_path_factory.mktemp("source"), LINES)
    settings = Settings(max_row_change=1)
    batch = steps.validate(settings, steps.clean(settings, steps.extract(settings, "other", str(source))))
    return [first, steps.publish(settings, batch, force=False)]


def test_eight_clients_see_whole_rows_while_one_materializes_and_two_apply(snapshots):
    found = clients.watched(snapshots, ["materialize", "apply", "apply"], pause=0.01)
    assert found["exitcodes"] == [0, 0, 0], found["log"][-3000:]
    assert [wrong for client in found["seen"] for wrong in client["wrong"]] == []
    assert len(found["seen"]) == 8
    assert {snapshot for client in found["seen"] for snapshot in client["counts"]} == set(snapshots)

    store = FeatureStore()
    registered.check(store, Settings())
    assert {service.name for service in store.list_feature_services()} == DEFINITIONS
    steps.verify(Settings(), snapshots[1])
    assert features.snapshot(FeatureStore())["event_timestamp"] == instant_of(snapshots[1]).isoformat()


def test_a_registry_without_tables_says_which_command_makes_them(stack, monkeypatch):
    monkeypatch.setenv("FEAST_REGISTRY_URI", stack.postgres.uri("mlflow_auth"))
    with pytest.raises(FeastRegistrySchemaError, match="Run 'feast registry create-schema' to create them"):
        FeatureStore().list_projects()
