"""Bring MLflow's two databases to this version, with the admin and the services' users."""

import os

from mlflow.db import upgrade
from mlflow.server.auth.config import read_auth_config
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

USERS = ("training", "serving")


def main() -> None:
    """Migrate; create users where missing. The services' passwords follow the environment, the admin's stays."""
    upgrade.callback(os.environ["MLFLOW_BACKEND_STORE_URI"])
    config, store = read_auth_config(), SqlAlchemyStore()
    store.init_db(config.database_uri)
    if not any(user.is_admin for user in store.list_users()):  # who has made others may have deleted the first
        store.create_user(config.admin_username, config.admin_password, is_admin=True)
    for user in USERS:
        password = os.environ[f"MLFLOW_{user.upper()}_PASSWORD"]
        if not store.has_user(user):
            store.create_user(user, password)
        elif not store.authenticate_user(user, password):
            store.update_user(user, password=password)


if __name__ == "__main__":
    main()
