"""Exit with 0 if a container's program works: `http URL`, `job TYPE` (Airflow's) or `worker` (Celery's).

Airflow's and Celery's own checks import Airflow, which is seconds of a core each time; these take 0.1 to 0.5.
"""

import os
import socket
import sys
import urllib.request

SILENT = 60  # seconds without a heartbeat; Airflow's programs give one each 5


def http() -> bool:
    """Return whether a page answers."""
    with urllib.request.urlopen(sys.argv[2], timeout=10) as answer:  # noqa: S310  our own healthcheck names it
        return bool(answer.status == 200)


def job() -> bool:
    """Return whether Airflow's job of this type on this host has given a heartbeat lately."""
    import psycopg

    query = """
        SELECT 1 FROM job WHERE job_type = %s AND hostname = %s AND state = 'running'
        AND latest_heartbeat > now() - make_interval(secs => %s)"""
    uri = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg", "")
    with psycopg.connect(uri, connect_timeout=10) as connection:
        return connection.execute(query, (sys.argv[2], socket.getfqdn(), SILENT)).fetchone() is not None


def worker() -> bool:
    """Return whether Celery's worker on this host answers through the broker."""
    from celery import Celery

    app = Celery(broker=os.environ["AIRFLOW__CELERY__BROKER_URL"])
    return bool(app.control.ping(destination=[f"celery@{socket.gethostname()}"], timeout=5))


if __name__ == "__main__":
    sys.exit(not {"http": http, "job": job, "worker": worker}[sys.argv[1]]())
