"""Serving over HTTP, one person and batches of 100, beside the same questions put to the model in this process."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import requests
from feast import FeatureStore
from measure import console, save
from rich.table import Table

from local.services import Services, port
from training import dataset as datasets, features, serving, tracking
from training.models import never_married
from training.settings import Settings

SINGLES, BATCHES, BATCH = 300, 30, 100
FORMS = {never_married.name: "SERVING_PORT", f"{never_married.name}_by_person": "SERVING_BY_PERSON_PORT"}
Records = list[dict[str, Any]]
Call = Callable[[Records], Any]


def run() -> None:
    """Measure, print and save; the model has a champion, and its persons are online."""
    serving.ensure_person_scorer(tracking.connect(Settings()), never_married)
    figures: dict[str, dict[str, float]] = {}
    with console.status("starting MLflow's servers, and asking them"), served() as calls:
        for name, (what, records) in zip(FORMS, asked().items(), strict=True):
            ways = {f"{what}, predict": in_process(name), f"{what}, HTTP": calls[name]}
            first, second = (call(records[:BATCH]) for call in ways.values())
            assert first == second, f"{name} answers otherwise over HTTP"
            figures |= {way: measured(call, records) for way, call in ways.items()}
    tell(figures)


def asked() -> dict[str, Records]:
    """Return the same persons as feature rows and as ids."""
    table = datasets.pull(never_married, FeatureStore()).slice(0, SINGLES + BATCH * BATCHES)
    rows = datasets.parse(never_married, table).inputs.to_dict("records")
    return {"feature rows": rows, "person ids": table.select([features.KEY]).to_pylist()}


@contextmanager
def served() -> Iterator[dict[str, Call]]:
    """Give a call to each form's server, over a connection that is kept."""
    with Services(Path(os.environ["VAR_DIR"]) / "logs") as services, requests.Session() as session:

        def call(address: str, records: Records) -> Any:
            response = session.post(f"{address}/invocations", json={"dataframe_records": records}, timeout=60)
            response.raise_for_status()
            return response.json()["predictions"]

        addresses = {name: f"http://127.0.0.1:{port(setting)}" for name, setting in FORMS.items()}
        for name, setting in FORMS.items():
            options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port(setting))]
            services.start(f"serve-{name}", "mlflow", "models", "serve", "-m", f"models:/{name}@champion", *options)
        for name, address in addresses.items():
            services.wait(name, partial(answers, f"{address}/ping"), seconds=180)
        yield {name: partial(call, address) for name, address in addresses.items()}


def answers(address: str) -> bool:
    """Return whether a server answers."""
    return requests.get(address, timeout=5).ok


def in_process(name: str) -> Call:
    """Return the call that asks a form in this process, from records to records as its server does."""
    model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    return lambda records: model.predict(pd.DataFrame(records)).to_dict("records")


def measured(call: Call, records: Records) -> dict[str, float]:
    """Return the milliseconds of single questions, and how many persons a second are answered in batches."""
    singles, batches = [], [records[at : at + BATCH] for at in range(SINGLES, len(records), BATCH)]
    for record in records[:SINGLES]:
        began = time.perf_counter()
        call([record])
        singles.append((time.perf_counter() - began) * 1000)
    began = time.perf_counter()
    count = sum(len(call(batch)) for batch in batches)
    p50, p99 = np.percentile(singles, [50, 99])
    return {"p50": float(p50), "p99": float(p99), "persons a second": count / (time.perf_counter() - began)}


def tell(figures: dict[str, dict[str, float]]) -> None:
    """Print the table and save the figures."""
    table = Table("(d) serving", "one person, p50 ms", "p99 ms", f"persons/s, {BATCH} at once")
    for name, found in figures.items():
        table.add_row(name, f"{found['p50']:.1f}", f"{found['p99']:.1f}", f"{found['persons a second']:,.0f}")
    console.print(table)
    save("serving", dict(figures))
