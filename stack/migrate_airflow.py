"""Bring Airflow's database to this version, with the areas' roles and the first admin. What is there stays."""

import os

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
    given = parser.parse_args(["users", "create", *(f"--{name}={value}" for name, value in admin().items())])
    given.func(given)


def admin() -> dict[str, str]:
    """Return the first admin, who is made where there is no user of that name."""
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
