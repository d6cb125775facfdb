"""Who may do what in Airflow, beside its own roles `Admin` and `Viewer`: a role for each area, with its DAGs."""

from typing import Any

from training.models import MODELS

DAGS = {
    "data-engineering": ("publish_features",),
    "ml-engineering": (*(f"train_{name}" for name in MODELS), "score_people"),
}
OF_A_DAG = ("can_read", "can_edit")
# What goes with a DAG: its runs, tasks, logs. Airflow grants none of it without the DAG itself.
SEEN = (
    "Asset Aliases",
    "Assets",
    "DAG Code",
    "DAG Dependencies",
    "DAG Runs",
    "DAG Versions",
    "DAG Warnings",
    "HITL Detail",
    "ImportError",
    "Jobs",
    "My Password",
    "My Profile",
    "Pools",
    "Task Instances",
    "Task Logs",
    "Website",
    "XComs",
)
MENUS = ("Assets", "Browse", "DAGs", "Docs", "Documentation", "HITL Detail")
BESIDE = {
    "can_read": SEEN,
    "can_create": ("DAG Runs",),
    "can_edit": ("DAG Runs", "HITL Detail", "My Password", "My Profile", "Task Instances"),
    "menu_access": MENUS,
}


def roles() -> list[dict[str, Any]]:
    """Return the roles as Airflow's security manager takes them: a name, and pairs of action and resource."""
    beside = [(action, resource) for action, resources in BESIDE.items() for resource in resources]
    return [
        {"role": area, "perms": [*beside, *((action, f"DAG:{dag}") for dag in dags for action in OF_A_DAG)]}
        for area, dags in DAGS.items()
    ]
