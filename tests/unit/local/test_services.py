"""local/services.py: what is in the way is named, and no program outlives its owner."""

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from local.services import LocalError, check_free, only_one, port

ROOT = Path(__file__).parents[3]


def owner(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process that owns Services: `stop` ends all children, which in this process would be other tests'."""
    command = [
        sys.executable,
        "-c",
        f"import sys, time\nfrom pathlib import Path\nfrom local import services\n{script}",
        *map(str, arguments),
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output(script: str, *arguments: object) -> str:
    with owner(script, *arguments) as process:
        out, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    return out


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(true: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 10
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_taken_port_is_named_with_its_setting():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(LocalError, match=rf"^port {number} is in use: stop what uses it, or set AIRFLOW_PORT$"):
            check_free({"AIRFLOW_PORT": number})
    check_free({"AIRFLOW_PORT": number})


def test_a_port_is_read_from_its_setting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW_PORT", "12345")
    assert port("AIRFLOW_PORT") == 12345


def test_a_folder_is_held_by_one_and_free_again_after(tmp_path: Path):
    folder = tmp_path / "var"
    with only_one(folder), pytest.raises(LocalError, match=rf"^another demo or `make up` is using {folder}: stop it"):
        only_one(folder).__enter__()
    with only_one(folder):
        assert (folder / "lock").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(LocalError, match=rf"^{file}/var cannot be written \(Not a directory\): set VAR_DIR"):
        only_one(file / "var").__enter__()


def test_stop_leaves_no_grandchild(tmp_path: Path):
    # Each line of `pids` is a process in a session of its own whose parent is gone; the second one ignores SIGTERM.
    script = """
services.GRACE = 1.0
orphan = "setsid sh -c '{} echo $$ >>pids; while :; do sleep 0.1; done' &"
with services.Services(Path(sys.argv[1])) as programs:
    programs.start("first", "sh", "-c", f"cd {sys.argv[1]}; {orphan.format('')} exec sleep 300")
    programs.start("second", "sh", "-c", f"cd {sys.argv[1]}; {orphan.format('trap : TERM;')} sleep 0.1")
    pids = Path(sys.argv[1], "pids")
    while not pids.exists() or len(pids.read_text().split()) < 2:
        time.sleep(0.02)
    print(*pids.read_text().split(), *(program.pid for program in programs.programs.values()))
"""
    pids = [int(pid) for pid in output(script, tmp_path).split()]
    assert len(pids) == 4
    assert [pid for pid in pids if alive(pid)] == []


def test_programs_die_with_an_owner_that_is_killed(tmp_path: Path):
    script = """
with services.Services(Path(sys.argv[1])) as programs:
    print(programs.start("program", "sleep", "300").pid, flush=True)
    time.sleep(300)
"""
    with owner(script, tmp_path) as process:
        pid = int(process.stdout.readline())
        assert alive(pid)
        process.kill()
    assert until(lambda: not alive(pid)), f"program {pid} outlives its owner"


def test_a_terminated_owner_stops_its_programs(tmp_path: Path):
    script = """
try:
    with services.Services(Path(sys.argv[1])) as programs:
        print(programs.start("program", "sleep", "300").pid, flush=True)
        time.sleep(300)
except KeyboardInterrupt:
    print("interrupted")
"""
    with owner(script, tmp_path) as process:
        pid = int(process.stdout.readline())
        process.terminate()
        assert process.stdout.read() == "interrupted\n"
    assert not alive(pid)


@pytest.mark.parametrize("call", ["finish('migrate')", "wait('Airflow', lambda: False, 20)"])
def test_a_program_that_fails_shows_the_end_of_its_log(tmp_path: Path, call: str):
    script = f"""
with services.Services(Path(sys.argv[1])) as programs:
    programs.start("migrate", "sh", "-c", "seq 1 20; echo no such table >&2; exit 3")
    try:
        programs.{call}
    except services.LocalError as error:
        print(error)
"""
    tail = "\n".join(f"  {line}" for line in [*range(7, 21), "no such table"])
    expected = rf"migrate (failed|ended); its log {tmp_path}/migrate\.log ends:\n{re.escape(tail)}\n"
    assert re.fullmatch(expected, output(script, tmp_path))


def test_a_program_that_ends_well_finishes_and_is_forgotten(tmp_path: Path):
    script = """
with services.Services(Path(sys.argv[1])) as programs:
    programs.start("migrate", "true")
    programs.finish("migrate")
    print(programs.programs)
"""
    assert output(script, tmp_path) == "{}\n"


def test_waiting_ends_with_the_time(tmp_path: Path):
    script = """
with services.Services(Path(sys.argv[1])) as programs:
    programs.start("server", "sleep", "300")
    try:
        programs.wait("Airflow", lambda: False, 1)
    except services.LocalError as error:
        print(error)
"""
    assert output(script, tmp_path) == f"Airflow not ready after 1 s: see the logs in {tmp_path}\n"


def test_a_server_that_dies_while_it_is_asked_is_named(tmp_path: Path):
    script = """
import requests
def asked():
    raise requests.ConnectionError("refused")
with services.Services(Path(sys.argv[1])) as programs:
    programs.start("airflow-api-server", "sh", "-c", "sleep 0.5; echo killed; exit 9")
    try:
        programs.wait("a run", asked, 20)
    except services.LocalError as error:
        print(error)
"""
    assert output(script, tmp_path).startswith("airflow-api-server ended; its log ")


def test_only_a_folder_whose_last_owner_was_killed_says_so(tmp_path: Path):
    script = "with services.only_one(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(300)"
    with owner(script, tmp_path) as process:
        process.stdout.readline()
        process.kill()
    with only_one(tmp_path) as killed:
        assert killed
    with only_one(tmp_path) as killed:
        assert not killed


def test_a_port_that_is_being_given_up_is_waited_for():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        threading.Timer(0.5, taken.close).start()
        check_free({"AIRFLOW_PORT": number}, seconds=10)
