"""Airflow's connection to Google Cloud, for libraries that know no Airflow: BigQuery's client, gcsfs, Feast, MLflow."""

import logging
import os
from importlib.util import find_spec
from pathlib import Path

from airflow.sdk import Connection, Context
from airflow.sdk.exceptions import AirflowNotFoundException

log = logging.getLogger(__name__)

GOOGLE = "google_cloud_default"
CREDENTIALS = "GOOGLE_APPLICATION_CREDENTIALS"


def sign_in(context: Context) -> None:  # noqa: ARG001
    """Make the connection's key the Application Default Credentials of this task's process.

    They stay as they are without Airflow's Google provider, without the connection, and if it has no key.
    """
    if not find_spec("airflow.providers") or not find_spec("airflow.providers.google"):
        return
    try:
        Connection.get(GOOGLE)
    except AirflowNotFoundException:
        return
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

    with GoogleBaseHook(gcp_conn_id=GOOGLE).provide_gcp_credential_file_as_context() as path:
        if path:
            # The file ends with this block; one in memory ends with the process, however that ends.
            held = os.memfd_create(GOOGLE)
            os.write(held, Path(path).read_bytes())
            key = f"/proc/self/fd/{held}"
    if path:
        os.environ[CREDENTIALS] = key
        log.info("Google Cloud: signed in as connection %s says", GOOGLE)
