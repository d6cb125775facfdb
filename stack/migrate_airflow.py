"""Bring Airflow's database to this version, with the areas' roles and the first admin. What is there stays."""

import os
from typing import Any

from stack.roles import roles


def main() -> None:
    """Run Airflow's own commands, in one process: each would import for seconds, and show the password to `ps`."""
    from airflow.cli.cli_parser import get_parser
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    parser = get_parser()
    for command in (["db", "migrate"], ["sync-perm"]):
        given = parser.parse_args(command)
        given.func(given)
    with get_application_builder() as builder:
        builder.sm.bulk_sync_roles(roles())
        for area in roles():
            revoke_others(builder.sm, area["role"], area["perms"])
        admins = [
            user for user in builder.sm.get_all_users() if user.active and "Admin" in {role.name for role in user.roles}
        ]
    if not admins:
        given = parser.parse_args(["users", "create", *(f"--{name}={value}" for name, value in admin().items())])
        given.func(given)


def revoke_others(manager: Any, name: str, wanted: list[tuple[str, str]]) -> None:
    """Take from a role what an earlier version of this project has given it; Airflow's own call only adds."""
    role = manager.find_role(name)
    for permission in list(role.permissions):
        if (permission.action.name, permission.resource.name) not in wanted:
            manager.remove_permission_from_role(role, permission)


def admin() -> dict[str, str]:
    """Return the first admin, who is made where there is none: who has made others may have deleted this one."""
    return {
        "username": "admin",
        "firstname": "First",
        "lastname": "Admin",
        "role": "Admin",
        "email": os.environ["AIRFLOW_ADMIN_EMAIL"],
        "password": os.environ["AIRFLOW_ADMIN_PASSWORD"],
    }


if __name__ == "__main__":
    main()
