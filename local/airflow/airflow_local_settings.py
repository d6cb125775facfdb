"""Airflow imports this module at start. The program that forks tasks takes its chance to import what they need, once.

LocalExecutor forks its workers from the scheduler, Celery from its worker, and they fork the tasks, so every task finds
the libraries in memory instead of spending seconds on each. The project's own modules are left out: an edit shows in
the next task. Nothing is computed here: OpenMP's threads do not survive a fork.
"""

import os
import sys
import warnings
from contextlib import suppress
from importlib import import_module

THIRD_PARTY = (
    "duckdb",
    "feast",
    "feast.infra.data_sources.mlflow",
    "feast.infra.offline_stores.duckdb",
    "feast.infra.offline_stores.file_source",
    "feast.infra.online_stores.sqlite",
    "feast.infra.registry.sql",
    "feast.infra.compute_engines.local.compute",
    "ibis.backends.duckdb",
    "joblib",
    "lightgbm",
    "matplotlib.figure",
    "mlflow.pyfunc.scoring_server",
    "mlflow.sklearn",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.rest_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.parquet",
    "pydantic_settings",
    "sklearn.compose",
    "sklearn.metrics",
    "sklearn.model_selection",
    "sklearn.pipeline",
    "skops.io",
)

# Not installed for one machine. Feast's first online read tries to import each of its stores, whichever is in use.
IF_INSTALLED = (
    "feast.infra.online_stores.dynamodb",
    "feast.infra.online_stores.postgres_online_store.postgres",
    "feast.infra.online_stores.redis",
)

forks_tasks = "celery" if "Celery" in os.environ.get("AIRFLOW__CORE__EXECUTOR", "") else "scheduler"
if sys.argv[1:2] == [forks_tasks]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skops looks into every module there is, Airflow's deprecated names included
        for module in THIRD_PARTY:
            import_module(module)
        for module in IF_INSTALLED:
            with suppress(Exception):  # as Feast does: one that is missing or broken hinders nobody who does not use it
                import_module(module)
