"""Seconds by the clock and of the processor, and how they are told."""

import contextlib
import io
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from training.settings import CORES

RESULTS = Path(__file__).parent / "results"
console = Console(highlight=False)


@dataclass
class Seconds:
    """What one call took: `wall` by the clock, `cpu` of the processor in all threads."""

    wall: float
    cpu: float


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what libraries print."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def timed(call: Callable[[], Any]) -> tuple[Any, Seconds]:
    """Return what `call` returns and what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def childrens_cpu() -> float:
    """Return the processor's seconds that the programs we started have used, their ended children's too."""
    found = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            found += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return found


def interleaved(calls: dict[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, Any], dict[str, Seconds]]:
    """Return the last result and the median seconds of each call; the calls take turns, so that noise hits all."""
    results: dict[str, Any] = {}
    taken: dict[str, list[Seconds]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            results[name], seconds = timed(call)
            taken[name].append(seconds)
    return results, {name: median(values) for name, values in taken.items()}


def median(values: list[Seconds]) -> Seconds:
    """Return the median of each of the two figures."""
    return Seconds(statistics.median(v.wall for v in values), statistics.median(v.cpu for v in values))


def verdict(found: float, limit: float, *, at_least: bool = False) -> str:
    """Return a ratio beside its target and whether it meets it."""
    met = found >= limit if at_least else found <= limit
    return f"{found:.2f} (target {'≥' if at_least else '≤'} {limit:g}: {'met' if met else 'MISSED'})"


def machine() -> str:
    """Return the number of cores, and how many programs wanted one in the last minute: above it, figures are high."""
    return f"{CORES} cores, load average {os.getloadavg()[0]:.1f}"


def save(name: str, figures: dict[str, Any]) -> None:
    """Leave the figures as JSON."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine(), **figures}, indent=2))
