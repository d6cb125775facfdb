"""docker-compose.yml as it is written: no default secret, nothing published but on loopback, all of it limited."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yml").read_text()
STACK = yaml.safe_load(TEXT)
SERVICES = STACK["services"]
DONE_AT_ONCE = {"migrate-airflow", "migrate-mlflow", "apply-features", "files"}
PINNED = re.compile(r"[a-z]+:\d+\.\d+(\.\d+)?-[a-z-]*bookworm")


def variables(text: str) -> list[tuple[str, str]]:
    """Return each variable of a text with what follows its name, such as `:?…`."""
    return re.findall(r"\$\{(\w+)([^}]*)\}", text)


@pytest.fixture(params=SERVICES)
def service(request) -> dict[str, Any]:
    return {"name": request.param, **SERVICES[request.param]}


def test_every_secret_is_required_and_has_no_default():
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|FERNET|_KEY$")
    asked = {name: rest for name, rest in variables(TEXT) if secret.search(name) and name != "DATA_KEY_COLUMN"}
    assert len(asked) == 17
    assert {name: rest for name, rest in asked.items() if not rest.startswith(":?")} == {}


def test_no_service_has_a_secret_written_out(service):
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|FERNET|CONN|_URI|BROKER|REDIS|RESULT_BACKEND")
    for name, value in service.get("environment", {}).items():
        if secret.search(name) and re.search(
            r"PASSWORD|SECRET|TOKEN|FERNET|://[^/]*:[^/]*@|password=", f"{name} {value}"
        ):
            assert ":?run make secrets}" in str(value), name


def test_ports_are_published_on_loopback_unless_told_otherwise(service):
    assert all(port.startswith("${STACK_BIND:-127.0.0.1}:${") for port in service.get("ports", []))


def test_only_pages_with_logins_are_published():
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"api-server", "mlflow", "serving"}


def test_every_container_is_locked_down_and_limited(service):
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["mem_limit"]
    assert service["cpus"]
    assert service["pids_limit"]
    assert "privileged" not in service
    assert "docker.sock" not in str(service)


def test_every_container_says_whether_it_is_healthy(service):
    if service["name"] in DONE_AT_ONCE:
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["healthcheck"]["test"]


def test_nobody_is_root(service):
    assert service["image"].startswith("census-stack:") != ("user" in service)
    assert service.get("user", "1:1").split(":")[0] != "0"
    assert re.findall(r"^USER (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE) == ["census"]


def test_images_are_pinned(service):
    assert service["image"] == "census-stack:${STACK_VERSION:-latest}" or PINNED.fullmatch(service["image"])
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert all(PINNED.fullmatch(base) for base in bases)
    assert "--require-hashes" in (ROOT / "Dockerfile").read_text()


def test_databases_are_in_a_network_without_a_way_out():
    assert STACK["networks"]["data"] == {"internal": True}
    for name in ("postgres", "redis", "broker", "migrate-airflow", "migrate-mlflow", "apply-features"):
        assert SERVICES[name]["networks"] == ["data"]


def test_the_image_takes_in_neither_secrets_nor_what_runs_have_made():
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "*"
    taken = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    assert {pattern for pattern in taken if not (ROOT / pattern).exists()} == set()
    assert not {pattern for pattern in taken if pattern.startswith((".", "var", "tests"))}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"local", "tests"}
    assert packages <= taken, "a package that the image does not take in"


def test_what_the_dags_read_is_what_the_areas_settings_know():
    from data_engineering.settings import Settings as DataSettings
    from training.settings import Settings as TrainingSettings

    known = {f"DATA_{name}".upper() for name in DataSettings.model_fields}
    known |= {f"TRAINING_{name}".upper() for name in TrainingSettings.model_fields}
    told = {name for name in STACK["x-dags"] if name.startswith(("DATA_", "TRAINING_"))}
    # Features are DuckDB's here, MLflow has names of its own, artifacts are its server's, the image knows its commit.
    own = {"DATA_WAREHOUSE", "TRAINING_TRACKING_URI", "TRAINING_ARTIFACTS", "TRAINING_GIT_COMMIT"}
    assert told == known - own
