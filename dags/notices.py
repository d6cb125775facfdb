"""What each task's log begins with, and how the DAGs give notice of tasks that failed or were skipped."""

import json
import logging
import os
from importlib import import_module

from airflow.sdk import BaseNotifier, Context

log = logging.getLogger(__name__)


def begin(context: Context) -> None:
    """Say which run this is and what the task was given: a batch, a snapshot, an MLflow run, a version."""
    task, call = context["ti"], context["task"]
    given = [*getattr(call, "op_args", []), *getattr(call, "op_kwargs", {}).values()]
    log.info("RUN %s %s %s: given %s", task.dag_id, task.run_id, task.task_id, given)


class LogNotifier(BaseNotifier):
    """Give notice in the task's log, where no other notifier is set."""

    def notify(self, context: Context) -> None:
        """Say which task of which run ended how, and why."""
        task = context["ti"]
        self.log.warning("NOTICE %s %s %s: %s", task.dag_id, task.run_id, task.task_id, context.get("exception"))


def notifier() -> BaseNotifier:
    """Return the notifier that PIPELINE_NOTIFIER names, such as a provider's, built with PIPELINE_NOTIFIER_OPTIONS."""
    module, _, name = os.environ.get("PIPELINE_NOTIFIER", "").rpartition(".")
    options = json.loads(os.environ.get("PIPELINE_NOTIFIER_OPTIONS") or "{}")
    return getattr(import_module(module), name)(**options) if name else LogNotifier()
