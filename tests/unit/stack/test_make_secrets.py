"""`make secrets`: everything that is required, strong, for its owner alone, and never a second time."""

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stack import make_secrets

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path) -> Path:
    shutil.copy(ROOT / "env.sh", tmp_path)
    return tmp_path


def written(folder: Path) -> dict[str, str]:
    lines = (folder / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_every_required_secret_is_written_and_strong(folder):
    make_secrets.main(folder)
    found = written(folder)
    assert list(found) == make_secrets.required((ROOT / "docker-compose.yml").read_text())
    assert all(name.startswith("STACK_") for name in found)
    assert len(base64.urlsafe_b64decode(found.pop("STACK_FERNET_KEY"))) == 32
    assert {len(bytes.fromhex(value)) for value in found.values()} == {32}
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_only_the_owner_may_read_them(folder, mask):
    before = os.umask(mask)
    try:
        make_secrets.main(folder)
    finally:
        os.umask(before)
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir() if path.name.startswith(".env")] == [".env"]


def test_a_second_call_changes_nothing(folder, capsys):
    make_secrets.main(folder)
    before = (folder / ".env").read_bytes()
    capsys.readouterr()
    make_secrets.main(folder)
    assert (folder / ".env").read_bytes() == before
    assert "nothing is missing" in capsys.readouterr().out


def test_what_is_there_stays_and_only_what_is_missing_is_added(folder):
    own = "# mine\nDATA_SCHEDULE=@hourly\nSTACK_JWT_SECRET=chosen-by-me"
    (folder / ".env").write_text(own)
    (folder / ".env").chmod(0o644)
    make_secrets.main(folder)
    text = (folder / ".env").read_text()
    assert text.startswith(own + "\n")
    assert text.count("STACK_JWT_SECRET=") == 1
    assert len(written(folder)) == len(make_secrets.required((ROOT / "docker-compose.yml").read_text())) + 1
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600


def test_what_was_written_is_not_shown(folder, capsys):
    make_secrets.main(folder)
    said = capsys.readouterr().out
    assert not [value for value in written(folder).values() if value in said]


def test_the_stacks_secrets_do_not_reach_the_programs_of_one_machine(folder):
    make_secrets.main(folder)
    with (folder / ".env").open("a") as env:
        env.write("DATA_SCHEDULE=@hourly\n")
    command = ["sh", "-c", ". ./env.sh && env"]
    environment = {"PATH": os.environ["PATH"], "PROJECT_ROOT": str(folder), "VAR_DIR": str(folder / "var")}
    shown = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
    assert "DATA_SCHEDULE=@hourly" in shown
    assert "STACK_" not in shown
