"""Ports for programs that tests and benchmarks start beside whatever else this machine runs."""

import socket
import sys
from collections.abc import Sequence

PORTS = ("AIRFLOW_PORT", "AIRFLOW_LOG_PORT", "MLFLOW_PORT", "FEAST_UI_PORT")


def free_ports(names: Sequence[str] = PORTS) -> dict[str, str]:
    """Return a free port of this machine for each of the settings' names."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = {name: str(held.getsockname()[1]) for name, held in zip(names, sockets, strict=True)}
    for held in sockets:
        held.close()
    return ports


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}={port}\n" for name, port in free_ports(sys.argv[1:]).items())
