"""`make bench`: what it costs, in seconds and memory, beside the naive way and the bare limit.

PART names parts (all), SCALE the most copies of the census (1; 10 and 100 are tried on the way), SIZES the copies
themselves, ROUNDS how often each way is measured. Inputs are made once, below `var/bench`.
"""

import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

from contest import ROOT, Inputs, child, run

FOLDER = Path(os.environ.get("VAR_DIR") or ROOT / "var") / "bench"
SERVERS = ("orchestration", "serving", "materialization", "online_reads")  # measured on what a running product leaves
ALONE = ("bigquery",)  # brings its own emulator


def main() -> int:
    """Run the parts that are asked for; return the exit code."""
    from parts import PARTS

    wanted = os.environ.get("PART", "").replace(",", " ").split() or [*PARTS, *SERVERS, *ALONE]
    if unknown := sorted({*wanted} - {*PARTS, *SERVERS, *ALONE}):
        sys.exit(f"PART={unknown[0]}: there is no such part: choose of {', '.join([*PARTS, *SERVERS, *ALONE])}")
    try:
        contests([name for name in wanted if name in PARTS])
        if servers := [name for name in SERVERS if name in wanted]:
            on_the_product(servers)
        if "bigquery" in wanted:
            import bigquery

            bigquery.run()
    except KeyboardInterrupt:
        return 130
    return 0


def contests(names: list[str]) -> None:
    """Run contests, from the smallest size to the largest."""
    from figures import tell
    from inputs import prepared
    from measure import console, machine
    from parts import PARTS

    sizes = [int(size) for size in os.environ.get("SIZES", "").split()] or [
        size for size in (1, 10, 100, 1000) if size <= max(1, int(os.environ.get("SCALE") or 1))
    ]
    for name in names:
        part, found = PARTS[name], []
        for snapshots in part.snapshots:
            for copies in sizes:
                began = machine()
                rounds = int(os.environ.get("ROUNDS") or (5 if copies == 1 else 3))
                with console.status(f"{part.title}: {copies} × {snapshots}, {rounds} rounds"):
                    inputs: Inputs = prepared(FOLDER, copies, snapshots)
                    found.append((copies, snapshots, f"{began}; {rounds} rounds", run(part, inputs, rounds)))
        tell(part, found)


def on_the_product(parts: list[str]) -> None:
    """Measure what needs the running product, on a folder and ports of its own."""
    from tests.ports import PORTS, free_ports

    ports = free_ports((*PORTS, "SERVING_PORT", "SERVING_BY_PERSON_PORT"))
    given = {name: os.environ.get(name, "") for name in ("SCALE", "ROUNDS", "REDIS_SERVER")}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        print(child([__file__, *parts], Inputs(1, 1, Path(folder)), **ports, **given, MLFLOW_LOGGING_LEVEL="WARNING"))  # noqa: T201


def measure(parts: list[str]) -> None:
    """Measure and print the parts that need the running product."""
    import materialization
    import online_reads
    import orchestration
    import serving
    from measure import console, machine

    from data_engineering.settings import Settings

    warnings.simplefilter("ignore")  # MLflow's imports reset what -W says
    console.print(f"before: {machine()}")
    orchestration.run()  # the others need what it leaves
    if "serving" in parts:
        serving.run()
    if "materialization" in parts:
        materialization.run(Settings())
    if "online_reads" in parts:
        online_reads.run()
    console.print(f"after: {machine()}, at {time.strftime('%H:%M')}")


if __name__ == "__main__":
    chosen = [name for name in SERVERS if name in sys.argv[1:]]
    sys.exit(measure(chosen) if chosen else main())
