"""What the DAGs share: the Assets that join them, and how their tasks retry, time out and end."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from airflow.sdk import Asset, ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowSkipException

from connections import sign_in
from notices import begin, notifier
from places import check_shared

CENSUS_FEATURES = Asset("census_features", uri="feast://census/census", group="features")


def champion_asset(model: str) -> Asset:
    """Return the Asset that has an event whenever alias `champion` of a model was moved by its DAG."""
    return Asset(f"{model}_champion", uri=f"mlflow://{model}/champion", group="models")


def imported_late(module: str) -> Callable[[], ModuleType]:
    """Return a call that imports a module: in the task, not each time the DAG file is parsed."""
    return partial(import_module, module)


def dag_options(owner: str, doc_md: str | None = None) -> dict[str, Any]:
    """Return what both DAGs are run with; a DAG made by `@dag` has its docstring for `doc_md`.

    Raises:
        ValueError: the tasks would not find each other's files, which the page of import errors then says.
    """
    check_shared()
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
        "pre_execute": sign_in,  # no callback: Airflow logs what one raises, and the task would go on as somebody else
        "on_execute_callback": begin,
        **dict.fromkeys(("on_failure_callback", "on_skipped_callback"), notifier()),
    }


def skip(reason: str) -> NoReturn:
    """End the task, and so all that need it, as skipped."""
    raise AirflowSkipException(reason)
