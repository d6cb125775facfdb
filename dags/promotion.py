"""How the form asks by what a training is judged, and whether a person is asked before its model becomes champion."""

from datetime import timedelta
from typing import Any, get_args

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, XComArg, task

from assets import skip
from training.records import Policy, Rules
from training.settings import Settings
from triggers import forced

SETTINGS = Settings()
THRESHOLD = {"type": ["null", "number"], "minimum": -1, "maximum": 1}
PARAMS = {
    "min_accuracy": Param(SETTINGS.min_accuracy, type="number", minimum=0, maximum=1, description="Accuracy to reach"),
    "as_of": Param(None, type=["null", "string"], format="date-time", description="Empty: newest verified snapshot"),
    "force": Param(default=False, type="boolean", description="Register even what the champion already is"),
    "policy": Param("not_worse", type="string", enum=[*get_args(Policy)], description="How to meet the champion's"),
    "worst_lift": Param(None, **THRESHOLD, description="Least accuracy of a slice above its own majority"),
    "largest_gap": Param(None, **THRESHOLD, description="Largest difference in accuracy between slices of one column"),
    "require_approval": Param(default=False, type="boolean", description="Ask a person before the champion changes"),
}
# One task at a time, for each takes all cores; and the alias before the report, unless a person is asked, who reads it.
OPTIONS: dict[str, Any] = {"params": PARAMS, "max_active_tasks": 1}
FIRST: dict[str, Any] = {"trigger_rule": "none_failed_min_one_success", "priority_weight": 2}


def rules(context: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of `training.records.Rules` that a run's Params set."""
    return {k: v for k, v in context["params"].items() if k in Rules.model_fields} | {"force": forced(context)}


def promoted(decision: dict[str, Any], version: str, event: Any) -> str:
    """Return why the alias moved to the version, or end the task as skipped: the champion's Asset then has no event."""
    event.extra = {"version": version} if decision["promote"] else skip(decision["reason"])
    return str(decision["reason"])


def ask_first(promotion: XComArg, decision: XComArg, version: XComArg) -> None:
    """Ask a person before `promotion`, if `require_approval` says so: "Reject" skips it, no answer in time fails it."""

    @task.branch
    def needs_approval(decision: dict[str, Any], params: dict[str, Any] | None = None) -> str | None:
        """Send the promotion past a person, or not; without a model, nowhere."""
        asked = decision["promote"] and (params or {})["require_approval"]
        return ("approval" if asked else "promote") if decision["passed"] else None

    approval = ApprovalOperator(
        task_id="approval",
        doc_md="Wait for a person's answer, in the page Required Actions or over REST.",
        subject="{{ dag.dag_id }}: shall version {{ ti.xcom_pull('register') }} become champion?",
        body="{{ ti.xcom_pull('gate')['reason'] }}",
        response_timeout=timedelta(hours=SETTINGS.approval_hours),
        execution_timeout=None,
        retries=0,
    )
    version >> approval >> promotion
    needs_approval(decision) >> [approval, promotion]
