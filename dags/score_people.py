"""The batch-scoring DAG: what each model's champion says of every person, into the lake."""

from airflow.sdk import AssetAny, dag, task

from assets import CENSUS_FEATURES, champion_asset, dag_options, imported_late, skip
from lineage import dataset, predictions
from training.models import MODELS
from training.settings import Settings

SETTINGS = Settings()
scoring = imported_late("training.score")


@dag(schedule=AssetAny(CENSUS_FEATURES, *map(champion_asset, MODELS)), **dag_options("ml-engineering"))
def score_people():
    """Predict for every person of the newest snapshot, whenever there is a new snapshot or a new champion."""

    @task
    def score(model):
        """Write the champion's predictions, once per snapshot and version."""
        done = scoring().score(SETTINGS, model)
        return done["path"] if "path" in done else skip(done["skipped"])

    for model in MODELS:
        read = [dataset(CENSUS_FEATURES), dataset(champion_asset(model))]
        score.override(task_id=f"score_{model}", inlets=read, outlets=[predictions(model)])(model)


score_people()
