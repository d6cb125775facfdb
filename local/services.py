"""Start programs on this machine, and leave none behind whatever ends us."""

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import psutil
import requests

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
GRACE = 8.0  # seconds that programs get to end by themselves


class LocalError(RuntimeError):
    """Something on this machine is in the way. The message says what and what to do."""


class Services:
    """Programs that run until the `with` block ends; their output goes to one log file each."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.programs: dict[str, subprocess.Popen[bytes]] = {}
        self.libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        # What outlives its own parent becomes our child, so that `stop` finds it.
        self.libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        # SIGINT too: a shell that starts us in the background has it ignored.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a program under a name; it dies with us, even if we are killed."""
        with (self.logs / f"{name}.log").open("wb") as log:
            program = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we end the programs in order
                preexec_fn=lambda: self.libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509  single-threaded
            )
        self.programs[name] = program
        return program

    def finish(self, name: str) -> None:
        """Wait for a program to end well.

        Raises:
            LocalError: it ended otherwise.
        """
        if self.programs.pop(name).wait():
            raise LocalError(f"{name} failed; its log {self.logs / name}.log ends:\n{self._tail(name)}")

    def wait(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready`; a server that does not answer is not ready.

        Raises:
            LocalError: a program ended meanwhile, or `seconds` are over.
        """
        deadline = time.monotonic() + seconds
        while True:
            with suppress(requests.ConnectionError, requests.Timeout):
                if ready():
                    return
            self.check()
            if time.monotonic() > deadline:
                raise LocalError(f"{what} not ready after {seconds:.0f} s: see the logs in {self.logs}")
            time.sleep(0.2)

    def check(self) -> None:
        """Raise LocalError if a program has ended."""
        for name, program in self.programs.items():
            if program.poll() is not None:
                raise LocalError(f"{name} ended; its log {self.logs / name}.log ends:\n{self._tail(name)}")

    def stop(self) -> None:
        """End every program and all that it started."""
        for program in reversed(self.programs.values()):
            if program.poll() is None:
                program.terminate()
        _, alive = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=GRACE)
        while alive := [*alive, *psutil.Process().children(recursive=True)]:
            for process in alive:
                with suppress(psutil.NoSuchProcess):  # it may end between our look and our kill
                    process.kill()
            _, alive = psutil.wait_procs(alive, timeout=1)
        for program in self.programs.values():
            program.poll()  # so that it knows of its end, which others have waited for
        self.programs.clear()

    def _tail(self, name: str) -> str:
        lines = (self.logs / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-15:])


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise KeyboardInterrupt


@contextmanager
def only_one(folder: Path) -> Iterator[bool]:
    """Hold `folder` against a second demo or `make up`; give whether the last one was killed.

    Raises:
        LocalError: another one holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a+")
    except OSError as error:
        raise LocalError(f"{folder} cannot be written ({error.strerror}): set VAR_DIR to a folder that can") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(f"another demo or `make up` is using {folder}: stop it, or set VAR_DIR") from None
        lock.seek(0)
        killed = bool(lock.read())
        lock.write("in use")
        lock.flush()
        try:
            yield killed
        finally:
            lock.truncate(0)


def check_free(ports: dict[str, int], seconds: float = 0) -> None:
    """Raise LocalError if a port, by the setting that names it, is still taken after `seconds`."""
    deadline = time.monotonic() + seconds
    for setting, port in ports.items():
        while not _is_free(port):
            if time.monotonic() > deadline:
                raise LocalError(f"port {port} is in use: stop what uses it, or set {setting}")
            time.sleep(0.2)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def port(setting: str) -> int:
    """Return the port that a setting of env.sh names."""
    return int(os.environ[setting])
