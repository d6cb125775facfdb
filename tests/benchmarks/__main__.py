"""`make bench`: what it costs. The first process makes a folder and finds ports; the second measures under env.sh."""

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from tests.ports import PORTS, free_ports

ROOT = Path(__file__).parents[2]
SERVING_PORTS = ("SERVING_PORT", "SERVING_BY_PERSON_PORT")


def main() -> int:
    """Run all parts on a folder and on ports of their own; return the exit code."""
    script = ["sh", "-c", '. ./env.sh && exec python -W ignore "$0" measure', str(Path(__file__).parent)]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        kept = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TERM", "TMPDIR", "SCALE") if name in os.environ
        }
        settings = {
            **kept,
            **free_ports((*PORTS, *SERVING_PORTS)),
            "VAR_DIR": f"{folder}/var",
            "PROJECT_ROOT": str(ROOT),
            "MLFLOW_LOGGING_LEVEL": "WARNING",
        }
        program = subprocess.Popen(script, cwd=ROOT, env=settings)
        while True:
            try:
                return program.wait()
            except KeyboardInterrupt:  # the other process has it too, and stops what it started
                continue


def measure() -> int:
    """Measure and print everything; return the exit code."""
    import cross_validation
    import materialization
    import online_reads
    import orchestration
    import publishing
    import serving
    from measure import RESULTS, console, machine

    from data_engineering.settings import Settings

    warnings.simplefilter("ignore")  # MLflow's imports reset what -W says
    try:
        console.print(f"before: {machine()}")
        path, batch = orchestration.run()
        publishing.run(Settings(), batch)
        materialization.run(Settings())
        serving.run()
        online_reads.run()
        cross_validation.run(path)
        console.print(f"after: {machine()}; figures in {RESULTS.relative_to(ROOT)}/")
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(measure() if sys.argv[1:] == ["measure"] else main())
