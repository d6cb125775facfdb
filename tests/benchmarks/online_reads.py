"""Eight processes that read single persons from Redis, undisturbed and while all persons are written anew."""

import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from measure import console, quiet, save
from rich.table import Table

from data_engineering import steps
from data_engineering.settings import Settings
from local.services import Services
from tests.applying import init_registry
from tests.integration import clients
from tests.servers import postgres, valkey

ROOT = Path(__file__).parents[2]
SECONDS = 10.0


def run() -> None:
    """Measure, print and save, on a lake, a registry in PostgreSQL and a Redis of this part's own."""
    before = dict(os.environ)
    try:
        with ExitStack() as stack, console.status("eight clients read from Redis"):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="reads-")))
            services = stack.enter_context(Services(folder / "logs"))
            server = stack.enter_context(postgres(services, ["feast"]))
            os.environ["DATA_LAKE"] = str(folder / "lake")
            os.environ["FEAST_FS_YAML_FILE_PATH"] = str(ROOT / "feature_repo/feature_store.stack.yaml")
            os.environ["FEAST_REGISTRY_URI"] = server.uri("feast")
            os.environ["FEAST_REDIS"] = valkey(services, folder).feast
            with quiet():
                snapshots = published(folder)
            figures = {
                "undisturbed": told(clients.watched(snapshots, [], SECONDS)),
                "32,537 persons written meanwhile": told(clients.watched(snapshots, ["materialize"])),
            }
    finally:
        os.environ.clear()
        os.environ.update(before)
    tell(figures)


def published(folder: Path) -> list[str]:
    """Return a snapshot that is online and one with other values for the same persons that is not yet."""
    (folder / "lake/census").mkdir(parents=True)
    init_registry()
    settings, ids = Settings(), []
    for source in (None, str(clients.other_incomes(folder))):
        batch = steps.validate(settings, steps.clean(settings, steps.extract(settings, f"reads of {source}", source)))
        ids.append(steps.publish(settings, batch, force=True) or "")
    steps.materialize(settings, ids[0])
    return ids


def told(found: dict[str, Any]) -> dict[str, float]:
    """Return how many reads there were, how many failed or were not whole, and their milliseconds."""
    assert not any(found["exitcodes"]), found["log"]
    milliseconds = np.concatenate([client["milliseconds"] for client in found["seen"]])
    p50, p99 = np.percentile(milliseconds, [50, 99])
    errors = sum(client["errors"] for client in found["seen"])
    return {"reads": len(milliseconds), "errors": errors, "p50": p50, "p99": p99, "worst": milliseconds.max()}


def tell(figures: dict[str, dict[str, float]]) -> None:
    """Print the table and save the figures."""
    table = Table("(e) online reads, 8 processes", "reads", "errors", "p50 ms", "p99 ms", "worst ms")
    for name, found in figures.items():
        table.add_row(
            name, f"{found['reads']:,}", str(found["errors"]), *(f"{found[k]:.1f}" for k in ("p50", "p99", "worst"))
        )
    console.print(table)
    save("online_reads", {name: {k: float(v) for k, v in found.items()} for name, found in figures.items()})
