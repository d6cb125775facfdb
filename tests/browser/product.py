"""The running product that the browser looks at: one `make demo`, then `make up`, on a folder and ports of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.conftest import _environment
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
# Relative to ROOT, where all is started: tags and pictures then do not say where the checkout is.
SOURCE = "data_engineering/data/adult.data.gz"
UP_SECONDS = 300.0


@contextmanager
def serving(var: Path) -> Iterator[None]:
    """Give this process the environment of a product on `var` that has run once and serves its pages.

    Raises:
        RuntimeError: the demo or `make up` failed; the message is what it printed.
    """
    before = dict(os.environ)
    os.environ.update(_environment(var, DATA_SOURCE=SOURCE, **free_ports()))
    try:
        demo = subprocess.run(_command("local.demo"), cwd=ROOT, capture_output=True, text=True, check=False)
        if demo.returncode:
            raise RuntimeError(demo.stdout + demo.stderr)
        with _up(var.parent / "up.log"):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _up(output: Path) -> Iterator[None]:
    with output.open("w") as file:
        program = subprocess.Popen(_command("local.up"), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + UP_SECONDS
        while "Ctrl-C stops everything" not in output.read_text():
            if program.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"make up serves no pages:\n{output.read_text()}")
            time.sleep(0.5)
        yield
    finally:
        with suppress(ProcessLookupError):
            program.send_signal(signal.SIGINT)
        program.wait(timeout=60)


def _command(module: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", module]
