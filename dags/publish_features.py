"""The data-engineering DAG: census features from their source into Feast."""

from airflow.sdk import Param, dag, task

from assets import CENSUS_FEATURES, dag_options, imported_late, skip
from data_engineering.settings import Settings
from lineage import BEGIN_READING, SNAPSHOTS, STAGING, dataset, emitted
from triggers import RUN_TYPES, cron

SETTINGS = Settings()
steps = imported_late("data_engineering.steps")
PARAMS = {
    "source": Param(None, type=["null", "string"], description="File, URL or bigquery:// table; empty: DATA_SOURCE"),
    "force": Param(False, type="boolean", description="Publish a snapshot even if the content is unchanged"),
}


@dag(schedule=cron(SETTINGS.schedule), params=PARAMS, allowed_run_types=RUN_TYPES, **dag_options("data-engineering"))
def publish_features():
    """Publish US Census features into Feast, then tell the models. No backfill: the source keeps no history."""

    @task(on_execute_callback=BEGIN_READING, outlets=[STAGING])
    def extract(run_id=None, params=None):
        """Read the source once into an immutable raw snapshot with a manifest."""
        return steps().extract(SETTINGS, run_id, params["source"])

    @task
    def clean(batch):
        """Drop rows with nulls and exact duplicates, name unknowns, key persons; count what was dropped."""
        return steps().clean(SETTINGS, batch)

    @task
    def validate(batch):
        """Hold the clean table against the contract; a breach stops the run before anything is published."""
        return steps().validate(SETTINGS, batch)

    @task(inlets=[STAGING], outlets=[SNAPSHOTS])
    def publish(batch, params=None):
        """Commit a snapshot to the offline store; skipped if the content equals the last verified one's."""
        return steps().publish(SETTINGS, batch, force=params["force"]) or skip("unchanged since the last verified one")

    @task(inlets=[SNAPSHOTS], outlets=[dataset(CENSUS_FEATURES)])
    def materialize(snapshot_id):
        """Write the snapshot into the online store."""
        return steps().materialize(SETTINGS, snapshot_id)

    @task(inlets=[SNAPSHOTS], outlets=emitted(CENSUS_FEATURES))
    def verify(snapshot_id, outlet_events=None, params=None):
        """Compare persons online and offline, mark the snapshot verified and tell the models."""
        outlet_events[CENSUS_FEATURES].extra = steps().verify(SETTINGS, snapshot_id) | {"force": params["force"]}

    @task(trigger_rule="none_failed")
    def prune():
        """Remove what is older than DATA_KEEP_DAYS and needed by nobody: after a run that published nothing, too."""
        steps().prune(SETTINGS)

    verify(materialize(publish(validate(clean(extract()))))) >> prune()


publish_features()
