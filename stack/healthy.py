"""Exit with 0 if a container's program works.

`http URL`, `airflow URL` (its API server), `mlflow URL`, `job TYPE` (Airflow's others) or `worker` (Celery's).

Airflow's and Celery's own checks import Airflow, which is seconds of a core each time; these take 0.1 to 0.5.
"""

import json
import os
import socket
import sys
import urllib.request

SILENT = 60  # seconds without a heartbeat; Airflow's programs give one each 5


def http() -> bool:
    """Return whether a page answers."""
    with urllib.request.urlopen(sys.argv[2], timeout=10) as answer:  # noqa: S310  our own healthcheck names it
        return bool(answer.status == 200)


def airflow() -> bool:
    """Return whether Airflow's API server answers that it has its database; it answers 200 without one too."""
    with urllib.request.urlopen(sys.argv[2], timeout=10) as answer:  # noqa: S310  our own healthcheck names it
        return bool(json.load(answer)["metadatabase"]["status"] == "healthy")


def mlflow() -> bool:
    """Return whether MLflow's page answers, which says nothing of its database, and the database does."""
    return http() and _found("MLFLOW_BACKEND_STORE_URI", "SELECT 1")


def job() -> bool:
    """Return whether this program is Airflow's job of this type on this host, and has given a heartbeat lately."""
    import psutil

    query = """
        SELECT 1 FROM job WHERE job_type = %s AND hostname = %s AND state = 'running'
        AND latest_heartbeat > now() - make_interval(secs => %s) AND start_date > to_timestamp(%s)"""
    # Not one that was killed in this container, whose last heartbeat was lately too.
    began = psutil.Process(1).create_time() - 1
    return _found("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", query, sys.argv[2], socket.getfqdn(), SILENT, began)


def _found(uri: str, query: str, *arguments: object) -> bool:
    """Return whether a query at the database of a setting has a row."""
    import psycopg

    with psycopg.connect(os.environ[uri].replace("+psycopg", ""), connect_timeout=10) as connection:
        return connection.execute(query, arguments).fetchone() is not None


def worker() -> bool:
    """Return whether Celery's worker on this host answers through the broker."""
    from celery import Celery

    app = Celery(broker=os.environ["AIRFLOW__CELERY__BROKER_URL"])
    return bool(app.control.ping(destination=[f"celery@{socket.gethostname()}"], timeout=5))


if __name__ == "__main__":
    sys.exit(not {"http": http, "airflow": airflow, "mlflow": mlflow, "job": job, "worker": worker}[sys.argv[1]]())
