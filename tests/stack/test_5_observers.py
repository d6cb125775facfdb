"""Metrics and lineage events reach whoever is set to get them."""

import json
import os
from collections import Counter

import pytest

from tests.stack.conftest import DAGS, compose, inside, until

PUBLISHING, TRAINING = DAGS
METRICS, HEARTBEAT = "/v1/metrics", "airflow.scheduler_heartbeat"
RECEIVER = """
import gzip, http.server, json
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with open("/tmp/received", "a") as file:
            text = body.decode() if self.path.endswith("lineage") else repr(body)
            file.write(json.dumps([self.path, text]) + chr(10))
        self.send_response(200)
        self.end_headers()
http.server.ThreadingHTTPServer(("0.0.0.0", 4318), Receiver).serve_forever()
"""
OBSERVED = {
    **os.environ,
    "AIRFLOW__METRICS__OTEL_ON": "True",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://mlflow:4318",
    "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "http", "url": "http://mlflow:4318"}),
}


@pytest.fixture
def received(trained, admin):
    """Set a receiver in the stack's network, and return what has come to it; afterwards nothing is set."""
    compose("exec", "-d", "mlflow", "python", "-c", RECEIVER)
    compose("up", "--wait", "--detach", env=OBSERVED)
    until("Airflow", admin.healthy)
    admin.login()

    def posts() -> list[tuple[str, str]]:
        lines = inside("mlflow", "cat", "/tmp/received", check=False).stdout.splitlines()
        return [tuple(json.loads(line)) for line in lines]

    yield posts
    compose("up", "--wait", "--detach")


def test_metrics_and_lineage_events_of_a_run_are_sent(received, admin):
    run = admin.trigger(PUBLISHING, force=True)
    assert admin.ended(PUBLISHING, run) == "success"

    def complete() -> Counter[str]:
        events = [json.loads(body) for path, body in received() if path.endswith("/lineage")]
        jobs = Counter(event["job"]["name"] for event in events if event["eventType"] == "COMPLETE")
        return jobs if jobs[PUBLISHING] else Counter()

    jobs = until("the run's event", complete)
    assert {f"{PUBLISHING}.{task}" for task in ("extract", "publish", "verify")} <= set(jobs)
    until("the scheduler's metrics", lambda: any(HEARTBEAT in body for path, body in received() if METRICS in path))
    followed = until("the training", lambda: admin.started_by(TRAINING, run))  # whoever comes next shall find it ended
    assert admin.ended(TRAINING, followed) == "success"
