"""Airflow imports this module at start. The program that forks tasks takes its chance to import what they need, once.

LocalExecutor forks its workers from the scheduler, Celery from its worker, and they fork the tasks, so every task finds
the libraries in memory instead of spending seconds on each. The project's own modules are left out: an edit shows in
the next task. Nothing is computed here: OpenMP's threads do not survive a fork.
"""

import os
import sys
import warnings
from importlib import import_module

THIRD_PARTY = (
    "duckdb",
    "feast",
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
    "mlflow.store.tracking.sqlalchemy_store",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.parquet",
    "sklearn.compose",
    "sklearn.metrics",
    "sklearn.model_selection",
    "sklearn.pipeline",
    "skops.io",
)

# The production stack's stores; their libraries are not installed for one machine.
STACK = ("feast.infra.online_stores.redis", "mlflow.store.tracking.rest_store", "psycopg")

forks_tasks = "celery" if "Celery" in os.environ.get("AIRFLOW__CORE__EXECUTOR", "") else "scheduler"
if sys.argv[1:2] == [forks_tasks]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skops looks into every module there is, Airflow's deprecated names included
        for module in (*THIRD_PARTY, *(STACK if os.environ.get("FEAST_REDIS") else ())):
            import_module(module)
