"""What the stack costs: `tests/stack/measure.sh` on a machine with nothing else to do. Its volumes are lost.

The image has to be there: `docker compose build`.
"""

import re
import sys
import threading
import time
from datetime import datetime

from tests.stack.clients import Login, until
from tests.stack.conftest import DAGS, compose, docker, read_secrets

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def memory() -> float:
    """Return the bytes that all containers together have in memory."""
    used = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", *compose("ps", "--quiet").stdout.split())
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"^([\d.]+)(\w+) /", used, re.MULTILINE))


def cold_start() -> float:
    """Return how many seconds `up --wait` takes with no volume there."""
    compose("--profile", "*", "down", "--volumes")
    began = time.monotonic()
    compose("up", "--wait", "--detach")
    return time.monotonic() - began


def both_runs(admin: Login) -> tuple[float, dict[str, float]]:
    """Return the seconds from the first run's start to the second's end, and each task's."""
    publishing, training = DAGS
    for dag in DAGS:
        until(f"DAG {dag}", lambda dag=dag: admin.has_dag(dag))
        admin.unpause(dag)
    run = admin.trigger(publishing, force=True)
    assert admin.ended(publishing, run) == "success"
    followed = until("the training", lambda: admin.started_by(training, run))
    assert admin.ended(training, followed) == "success"
    ends = admin.run(publishing, run)["start_date"], admin.run(training, followed)["end_date"]
    began, ended = map(datetime.fromisoformat, ends)
    tasks = [*admin.tasks(publishing, run), *admin.tasks(training, followed)]
    return (ended - began).total_seconds(), {task["task_id"]: task["duration"] or 0 for task in tasks}


def main() -> None:
    """Print a table."""
    image = int(docker("image", "inspect", "--format", "{{.Size}}", "census-stack:latest"))
    start = cold_start()
    idle, peak, done = memory(), [0.0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            peak.append(memory())

    watcher = threading.Thread(target=watch)
    admin = Login("http://127.0.0.1:8080", "admin", read_secrets()["STACK_AIRFLOW_ADMIN_PASSWORD"])
    admin.login()
    watcher.start()
    try:
        seconds = [both_runs(admin) for _ in range(2)]
    finally:
        done.set()
        watcher.join()
    lines = [
        f"| image | {image / 1e9:.2f} GB |",
        f"| cold `up --wait` after the build | {start:.0f} s |",
        f"| memory of all containers, idle | {idle / 1e9:.1f} GB |",
        f"| memory of all containers, most during the runs | {max(peak) / 1e9:.1f} GB |",
        *(
            f"| both DAG runs, {which} time | {time_:.0f} s |"
            for which, (time_, _) in zip(("first", "second"), seconds, strict=True)
        ),
    ]
    sys.stdout.write("\n".join(lines) + f"\n{seconds}\n")


if __name__ == "__main__":
    main()
