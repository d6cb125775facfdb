"""Nobody gets in without the right login, nor with it further than their area; no secret lies about."""

import json
import re

import pytest
import requests

from tests.stack.conftest import ROLES, compose, docker, inside

OTHERS = {
    "airflow": ("mlflow", "mlflow_auth", "feast", "postgres"),
    "mlflow": ("airflow", "feast", "postgres"),
    "feast": ("airflow", "mlflow", "mlflow_auth", "postgres"),
    "serving": ("airflow", "mlflow", "mlflow_auth", "postgres"),
}


def test_only_pages_with_logins_are_published(pages):
    assert set(pages) == {"api-server", "mlflow", "serving"}


@pytest.mark.parametrize("path", ["/api/v2/dags", "/api/v2/connections", "/api/v2/variables", "/auth/fab/v1/users"])
def test_airflow_refuses_who_has_no_login(pages, path):
    page = f"{pages['api-server']}{path}"
    assert requests.get(page, timeout=60).status_code == 401
    assert requests.get(page, headers={"Authorization": "Bearer made-up"}, timeout=60).status_code in {401, 403}
    assert requests.get(page, auth=("admin", "admin"), timeout=60).status_code == 401


@pytest.mark.parametrize("password", ["admin", "airflow", "wrong", ""])
def test_airflow_gives_no_token_for_a_wrong_password(pages, password):
    body = {"username": "admin", "password": password}
    assert requests.post(f"{pages['api-server']}/auth/token", json=body, timeout=60).status_code in {400, 401}


def test_the_tasks_part_of_airflows_api_wants_a_tasks_token(pages, admin):
    run = f"{pages['api-server']}/execution/variables/any"
    assert requests.get(run, timeout=60).status_code in {401, 403}
    assert admin.session.get(run, timeout=60).status_code in {401, 403}


@pytest.mark.parametrize("path", ["/", "/api/2.0/mlflow/registered-models/search", "/metrics", "/graphql", "/gateway/"])
def test_mlflow_refuses_who_has_no_login(pages, path):
    for auth in (None, ("admin", "password1234"), ("admin", "admin"), ("training", "training")):
        assert requests.get(f"{pages['mlflow']}{path}", auth=auth, timeout=60).status_code == 401, auth


def test_mlflow_refuses_artifacts_to_who_has_no_login(pages):
    page = f"{pages['mlflow']}/api/2.0/mlflow-artifacts/artifacts/secret.txt"
    assert requests.put(page, data=b"x", timeout=60).status_code == 401
    assert requests.get(page, timeout=60).status_code == 401


def test_mlflow_checks_under_which_host_it_is_asked(pages, registry):
    page = f"{pages['mlflow']}/api/2.0/mlflow/registered-models/search"
    answer = requests.get(page, headers={"Host": "evil.example.com"}, auth=registry.auth, timeout=60)
    assert (answer.status_code, "Invalid Host" in answer.text) == (403, True)


def test_each_role_sees_its_own_dags_alone(users, trained):
    def seen(name: str) -> set[str]:
        return {dag["dag_id"] for dag in users[name].call("GET", "/dags")["dags"]}

    trainings = {"train_never_married", "train_high_income"}
    assert seen("engineer") == {"publish_features"}
    assert seen("scientist") == {*trainings, "score_people"}
    assert seen("viewer") == {"publish_features", *trainings, "score_people"}


@pytest.mark.parametrize(
    ("name", "dag"),
    [
        ("engineer", "train_never_married"),
        ("engineer", "score_people"),
        ("scientist", "publish_features"),
        ("viewer", "publish_features"),
        ("viewer", "train_never_married"),
    ],
)
def test_another_areas_dag_is_neither_triggered_nor_paused(users, trained, name, dag):
    body = {"logical_date": None, "conf": {}}
    assert users[name].status("POST", f"/api/v2/dags/{dag}/dagRuns", json=body) == 403
    assert users[name].status("PATCH", f"/api/v2/dags/{dag}", json={"is_paused": True}) == 403


def test_another_areas_runs_and_logs_are_not_shown(users, trained):
    run = trained["train_never_married"]
    path = f"/api/v2/dags/train_never_married/dagRuns/{run}"
    for part in ("", "/taskInstances", "/taskInstances/gate/logs/1", "/taskInstances/gate/xcomEntries/return_value"):
        assert users["engineer"].status("GET", path + part) == 403, part
        assert users["scientist"].status("GET", path + part) == 200, part


@pytest.mark.parametrize("name", ROLES)
def test_only_the_admin_reads_connections_and_makes_users(users, name):
    assert users[name].status("GET", "/api/v2/connections") == 403
    assert users[name].status("GET", "/api/v2/variables") == 403
    assert users[name].status("GET", "/auth/fab/v1/users") == 403


def test_the_services_mlflow_users_are_no_admins(pages, registry, secrets):
    training = ("training", secrets["STACK_MLFLOW_TRAINING_PASSWORD"])
    for auth in (training, registry.auth):
        body = {"username": "intruder", "password": "a-long-password-1"}
        assert (
            requests.post(
                f"{pages['mlflow']}/api/2.0/mlflow/users/create", json=body, auth=auth, timeout=60
            ).status_code
            == 403
        )


def test_who_may_read_models_may_not_move_their_alias(registry, trained):
    body = {"name": "never_married", "alias": "champion", "version": "1"}
    answer = requests.post(f"{registry.base}/registered-models/alias", json=body, auth=registry.auth, timeout=60)
    assert answer.status_code == 403


@pytest.mark.parametrize("user", OTHERS)
def test_no_program_connects_to_anothers_database(secrets, user):
    password = secrets[f"STACK_{user.upper()}_DB_PASSWORD"]
    own = "feast" if user == "serving" else user
    script = (
        "import sys, psycopg\n"
        "user, password = sys.stdin.read().split()\n"
        "for database in sys.argv[1:]:\n"
        "    try:\n"
        "        psycopg.connect(host='postgres', user=user, password=password, dbname=database).close()\n"
        "        print(database, 'open')\n"
        "    except psycopg.OperationalError as error:\n"
        "        print(database, 'denied' if 'permission denied' in str(error) else error)\n"
    )
    said = inside("mlflow", "python", "-c", script, own, *OTHERS[user], input=f"{user} {password}").stdout.split("\n")
    assert [line for line in said if line] == [f"{own} open", *(f"{name} denied" for name in OTHERS[user])]


@pytest.mark.parametrize("user", OTHERS)
def test_postgres_wants_the_right_password(user):
    script = f"import psycopg; psycopg.connect(host='postgres', user='{user}', password='{user}', dbname='feast')"
    assert "authentication failed" in inside("mlflow", "python", "-c", script, check=False).stderr


def test_redis_wants_a_login_and_lets_serving_read_only(secrets):
    def redis(*command: str, user: str = "", password: str = "") -> str:
        login = ["--user", user, "--pass", password, "--no-auth-warning"] if user else []
        done = inside("redis", "redis-cli", *login, *command, check=False)
        return done.stdout + done.stderr

    serving = {"user": "serving", "password": secrets["STACK_REDIS_SERVING_PASSWORD"]}
    assert "NOAUTH" in redis("PING")
    assert "WRONGPASS" in redis("PING", user="feast", password="feast")
    assert "NOPERM" in redis("SET", "probe", "1", **serving)
    assert "NOPERM" in redis("CONFIG", "GET", "*", user="feast", password=secrets["STACK_REDIS_PASSWORD"])


def holders(secrets: dict[str, str]) -> dict[str, set[str]]:
    """Return which secrets each service's container was started with."""
    found = {}
    for line in compose("ps", "--all", "--format", "{{.Service}} {{.ID}}").stdout.splitlines():
        service, container = line.split()
        about = docker("inspect", container)
        found[service] = {name for name, value in secrets.items() if name.startswith("STACK_") and value in about}
    return found


def test_a_service_knows_no_secret_but_its_own(secrets, trained):
    held = holders(secrets)
    databases = {f"STACK_{name}_DB_PASSWORD" for name in ("AIRFLOW", "MLFLOW", "FEAST", "SERVING")}
    airflow = {"STACK_AIRFLOW_DB_PASSWORD", "STACK_FERNET_KEY"}
    feast = {"STACK_FEAST_DB_PASSWORD", "STACK_REDIS_PASSWORD"}
    expected = {
        "postgres": {"STACK_POSTGRES_PASSWORD", *databases},
        "redis": {"STACK_REDIS_PASSWORD", "STACK_REDIS_SERVING_PASSWORD"},
        "migrate-airflow": {*airflow, "STACK_AIRFLOW_ADMIN_PASSWORD"},
        "migrate-mlflow": {
            "STACK_MLFLOW_DB_PASSWORD",
            "STACK_MLFLOW_ADMIN_PASSWORD",
            "STACK_MLFLOW_TRAINING_PASSWORD",
            "STACK_MLFLOW_SERVING_PASSWORD",
        },
        "apply-features": feast,
        "api-server": {*airflow, "STACK_JWT_SECRET", "STACK_API_SECRET_KEY"},
        "scheduler": {
            *airflow,
            *feast,
            "STACK_JWT_SECRET",
            "STACK_BROKER_PASSWORD",
            "STACK_MLFLOW_TRAINING_PASSWORD",
        },
        "dag-processor": airflow,
        "triggerer": airflow,
        "mlflow": {"STACK_MLFLOW_DB_PASSWORD", "STACK_MLFLOW_SECRET_KEY"},
    }
    assert {service: held[service] for service in expected} == expected


def test_no_secret_is_in_a_log(secrets, trained):
    written = compose("logs", "--no-color").stdout
    written += inside("scheduler", "sh", "-c", "cat $(find /logs -type f)").stdout
    assert len(written) > 10_000
    assert [name for name, value in secrets.items() if name.startswith("STACK_") and value in written] == []


def test_no_secret_is_in_a_command_line(secrets, trained):
    shown = compose("top").stdout
    assert "airflow scheduler" in shown
    assert [name for name, value in secrets.items() if name.startswith("STACK_") and value in shown] == []


def test_no_secret_is_in_the_image(secrets):
    image = json.loads(compose("config", "--format", "json").stdout)["services"]["mlflow"]["image"]
    known = [value for name, value in secrets.items() if name.startswith("STACK_")]
    about = docker("history", "--no-trunc", image) + docker("inspect", image)
    assert [value for value in known if value in about] == []
    found = inside("mlflow", "grep", "-rlFf", "-", "/app", "/opt/venv/bin", input="\n".join(known), check=False)
    assert (found.returncode, found.stdout) == (1, "")  # grep's way to say that it read all and found nothing
    assert ".env" not in inside("mlflow", "ls", "-a", "/app").stdout.split()


def test_containers_are_locked_down(trained):
    ids = compose("ps", "--quiet").stdout.split()
    for about in json.loads(docker("inspect", *ids)):
        host, name = about["HostConfig"], about["Name"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert host["Memory"], name
        assert host["NanoCpus"], name
        assert about["Config"]["User"] not in {"", "root", "0"}, name


def test_databases_have_no_way_out_and_none_in(pages):
    network = json.loads(compose("config", "--format", "json").stdout)["networks"]["data"]
    assert network["internal"] is True
    for service in ("postgres", "redis"):
        assert not re.search(r"->\d+", compose("ps", service, "--format", "{{.Ports}}").stdout)


def test_a_later_start_takes_from_a_role_what_is_not_its_own(admin):
    inside(
        "api-server", "airflow", "roles", "add-perms", "data-engineering", "--resource", "Variables", "-a", "can_read"
    )
    assert ("Variables", "can_read") in held("data-engineering")
    before = held("ml-engineering")
    compose("run", "--rm", "migrate-airflow")
    assert ("Variables", "can_read") not in held("data-engineering")
    assert ("DAG:publish_features", "can_edit") in held("data-engineering")
    assert held("ml-engineering") == before


def held(role: str) -> set[tuple[str, str]]:
    """Return the resources and actions of a role."""
    listed = json.loads(inside("api-server", "airflow", "roles", "list", "--permission", "--output", "json").stdout)
    return {(row["resource"], action) for row in listed if row["name"] == role for action in row["action"].split(",")}


def test_the_first_admin_is_made_again_only_where_there_is_no_admin(admin):
    named = ("--firstname", "S", "--lastname", "A", "--email", "second@example.com", "--use-random-password")
    inside("api-server", "airflow", "users", "create", "--role", "Admin", "--username", "second", *named)
    inside("api-server", "airflow", "users", "delete", "--username", "admin")
    compose("run", "--rm", "migrate-airflow")
    assert "admin" not in usernames()
    inside("api-server", "airflow", "users", "delete", "--username", "second")
    compose("run", "--rm", "migrate-airflow")
    assert "admin" in usernames()
    admin.login()


def usernames() -> set[str]:
    return {
        user["username"]
        for user in json.loads(inside("api-server", "airflow", "users", "list", "--output", "json").stdout)
    }
