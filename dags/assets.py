"""What the DAGs share: the Assets that join them, and how their tasks retry, time out and end."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from airflow.sdk import Asset, CronTriggerTimetable, ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowSkipException

from notices import begin, notifier

CENSUS_FEATURES = Asset("census_features", uri="feast://census/census", group="features")


def champion_asset(model: str) -> Asset:
    """Return the Asset that has an event whenever alias `champion` of a model was moved by its DAG."""
    return Asset(f"{model}_champion", uri=f"mlflow://{model}/champion", group="models")


def cron(expression: str | None) -> CronTriggerTimetable | None:
    """Return when a DAG runs by itself, in UTC, the first time at the expression's next instant; None: never."""
    # Airflow 3.3 else begins with the last instant, if that is but a tenth of the interval ago: a daily DAG that is
    # switched on at two in the morning would run beside the run that somebody asks for.
    return CronTriggerTimetable(expression, timezone="UTC", run_immediately=timedelta(0)) if expression else None


def imported_late(module: str) -> Callable[[], ModuleType]:
    """Return a call that imports a module: in the task, not each time the DAG file is parsed."""
    return partial(import_module, module)


def dag_options(owner: str, doc_md: str | None = None) -> dict[str, Any]:
    """Return what both DAGs are run with; a DAG made by `@dag` has its docstring for `doc_md`."""
    defaults = task_defaults(owner)
    return {"catchup": False, "max_active_runs": 1, "tags": [owner], "doc_md": doc_md, "default_args": defaults}


def task_defaults(owner: str) -> dict[str, Any]:
    """Return the default arguments of a DAG's tasks. Bad input is not tried again: it stays bad."""
    never_again = ["data_engineering.errors.DataError", "training.errors.TrainingError"]
    return {
        "owner": owner,
        "retries": 2,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": 2,
        "max_retry_delay": timedelta(minutes=5),
        "retry_policy": ExceptionRetryPolicy(rules=[RetryRule(exception=never_again, action=RetryAction.FAIL)]),
        "execution_timeout": timedelta(minutes=30),
        "on_execute_callback": begin,
        "on_failure_callback": notifier(),
        "on_skipped_callback": notifier(),
    }


def skip(reason: str) -> NoReturn:
    """End the task, and so all that need it, as skipped."""
    raise AirflowSkipException(reason)
