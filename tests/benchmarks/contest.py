"""A contest: ways to one result, each measured in a process of its own, in turns, for its seconds and its memory.

`python tests/benchmarks/contest.py <part> <way>` is such a process: it runs under env.sh on inputs that are made ready,
and prints a line of JSON.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from measure import childrens_cpu

ROOT = Path(__file__).parents[2]
CENSUS = 32_561  # rows of the official file


@dataclass(frozen=True)
class Inputs:
    """The official file `copies` times with jittered numbers, published in `snapshots` snapshots, in `folder`."""

    copies: int
    snapshots: int
    folder: Path

    @property
    def source(self) -> Path:
        """Return the source file."""
        return self.folder / "census.csv"


Ready = tuple[Callable[[], Any], Callable[[Any], object]]
Way = Callable[[Inputs], Ready]
"""Makes itself ready outside the clock; returns what is measured, and what makes a digest of its result."""


@dataclass(frozen=True)
class Part:
    """Ways by name, `ours` and `bare` among them; the largest ratio to `bare`, and the largest memory in GB at 100.

    `most` has, for a way that does not do for all sizes, the most copies times snapshots that it is tried on; `other`
    the ways that come to another result by their nature.
    """

    name: str
    title: str
    ways: dict[str, Way]
    ratio: float
    memory: float
    snapshots: tuple[int, ...] = (1,)
    most: dict[str, int] = field(default_factory=dict)
    other: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """Seconds by the clock, of the processor in all threads, and the process's largest memory in GB."""

    wall: float
    cpu: float
    peak: float


def measured(way: Way, inputs: Inputs) -> dict[str, object]:
    """Return what one call took in this process, and the digest of its result."""
    call, digest = way(inputs)
    wall, cpu = time.perf_counter(), time.process_time() + childrens_cpu()
    result = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() + childrens_cpu() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {**asdict(Measured(wall, cpu, peak)), "digest": str(digest(result))}


def child(arguments: list[str], inputs: Inputs, **settings: str) -> str:
    """Return what a script of this folder prints, run under env.sh on the inputs' own folder."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    environment = {**kept, "VAR_DIR": str(inputs.folder / "var"), "PROJECT_ROOT": str(ROOT), **settings}
    shell = ["sh", "-c", '. ./env.sh && exec python -W ignore "$@"', "sh", *arguments]
    size = [str(inputs.copies), str(inputs.snapshots), str(inputs.folder)]
    done = subprocess.run([*shell, *size], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def run(part: Part, inputs: Inputs, rounds: int) -> dict[str, Measured]:
    """Return each way's medians over `rounds` in turns; the ways' results must be equal."""
    size = inputs.copies * inputs.snapshots
    ways = [way for way in part.ways if size <= part.most.get(way, size)]
    found: dict[str, list[Measured]] = {way: [] for way in ways}
    digests: dict[str, str] = {}
    for _ in range(rounds):
        for way in ways:
            *_, line = child([__file__, part.name, way], inputs).splitlines()
            answer = json.loads(line)
            digests[way] = answer.pop("digest")
            found[way].append(Measured(**answer))
    if len({digest for way, digest in digests.items() if way not in part.other}) != 1:
        raise RuntimeError(f"{part.name}: the ways give different results: {digests}")
    return {way: _median(values) for way, values in found.items()}


def _median(values: list[Measured]) -> Measured:
    columns = ([getattr(value, name) for value in values] for name in ("wall", "cpu", "peak"))
    return Measured(*(statistics.median(column) for column in columns))


def main(part: str, way: str, copies: str, snapshots: str, folder: str) -> None:
    """Measure one way and print it."""
    from parts import PARTS

    warnings.simplefilter("ignore")  # MLflow's imports reset what -W says
    inputs = Inputs(int(copies), int(snapshots), Path(folder))
    print(json.dumps(measured(PARTS[part].ways[way], inputs)))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
