"""dags/: the exact tasks and their edges, how they retry and what they say, and that parsing them stays light."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stack import roles

ROOT = Path(__file__).parents[3]
DAGS = ROOT / "dags"
HEAVY = {"feast", "mlflow", "pandas", "sklearn", "lightgbm", "ibis", "duckdb", "matplotlib"}
TRAINING = {
    "training_set": {"cross_validate", "fit", "register", "report"},
    "cross_validate": {"gate"},
    "gate": {"fit", "needs_approval"},
    "fit": {"register"},
    "register": {"approval", "promote", "report"},
    "needs_approval": {"approval", "promote"},
    "approval": {"promote"},
    "promote": set(),
    "report": set(),
}
EDGES = {
    "publish_features": {
        "extract": {"clean"},
        "clean": {"validate"},
        "validate": {"publish"},
        "publish": {"materialize"},
        "materialize": {"verify"},
        "verify": {"prune"},
        "prune": set(),
    },
    "train_never_married": TRAINING,
    "train_high_income": TRAINING,
    "score_people": {"score_never_married": set(), "score_high_income": set()},
}
TRAININGS = [name for name in EDGES if name.startswith("train_")]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, environment_of: Callable[..., dict[str, str]]) -> Iterator[Path]:
    """Give this module the environment of env.sh on a folder of its own, and what the DAG processor has on its path."""
    folder = tmp_path_factory.mktemp("airflow") / "var"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment_of(folder).items():
            patch.setenv(name, value)
        patch.syspath_prepend(DAGS)
        yield folder


@pytest.fixture(scope="module")
def bag(airflow: Path) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(DAGS)


@pytest.fixture(params=EDGES)
def dag(request: pytest.FixtureRequest, bag: Any) -> Any:
    return bag.dags[request.param]


@pytest.fixture
def notices(airflow: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    import notices

    return notices


def test_the_role_named_like_an_owner_has_that_owners_dags_and_no_others(bag):
    owned = {owner: {name for name, dag in bag.dags.items() if dag.owner == owner} for owner in roles.DAGS}
    assert owned == {owner: set(dags) for owner, dags in roles.DAGS.items()}
    assert set().union(*owned.values()) == set(bag.dags)


def test_the_dags_are_these_and_import_without_error(bag: Any):
    assert bag.import_errors == {}
    assert bag.captured_warnings == {}
    assert set(bag.dags) == set(EDGES)


SPANNING = "airflow.providers.celery.executors.celery_executor.CeleryExecutor"
OBJECTS = {
    "DATA_LAKE": "s3://census/lake",
    "TRAINING_WORKSPACE": "s3://census/work",
    "TRAINING_PREDICTIONS": "s3://c/p",
}


@pytest.mark.parametrize(
    ("settings", "folder"),
    [
        ({"AIRFLOW__CORE__EXECUTOR": SPANNING}, "DATA_LAKE"),
        ({"AIRFLOW__CORE__EXECUTOR": "LocalExecutor, KubernetesExecutor"}, "DATA_LAKE"),
        ({**OBJECTS, "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor", "DATA_LAKE": "file:///srv/lake"}, "DATA_LAKE"),
        ({**OBJECTS, "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor", "TRAINING_WORKSPACE": "/work"}, "TRAINING_WORKSPACE"),
    ],
)
def test_a_folder_under_an_executor_that_spans_hosts_is_an_import_error_with_the_reason(
    airflow, monkeypatch, settings, folder
):
    from airflow.dag_processing.dagbag import DagBag

    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    (error,) = DagBag(DAGS / "score_people.py").import_errors.values()
    reason = rf"{folder}=/.* is a folder, and \S*Executor runs tasks on several hosts, which would not find each other"
    assert re.search(rf"ValueError: {reason}.s files: set it to s3://.*DATA_LAKE_SHARED=true", error)


@pytest.mark.parametrize(
    "settings",
    [
        {"AIRFLOW__CORE__EXECUTOR": "LocalExecutor"},
        {"AIRFLOW__CORE__EXECUTOR": SPANNING, "DATA_LAKE_SHARED": "true"},
        {"AIRFLOW__CORE__EXECUTOR": SPANNING, **OBJECTS},
    ],
)
def test_folders_of_one_host_shared_ones_and_object_stores_are_taken(airflow, monkeypatch, settings):
    import places

    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    places.check_shared()


def test_the_edges_are_exactly_these(dag: Any):
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == EDGES[dag.dag_id]


def test_training_runs_when_features_were_published(bag: Any):
    from airflow.sdk import Asset

    features = Asset("census_features", uri="feast://census/census", group="features")
    assert all(bag.dags[name].schedule == features for name in TRAININGS)
    outlets = {
        (dag.dag_id, task.task_id): assets
        for dag in bag.dags.values()
        for task in dag.tasks
        if (assets := [outlet.uri for outlet in task.outlets if isinstance(outlet, Asset)])
    }
    assert outlets == {
        ("publish_features", "verify"): ["feast://census/census"],
        ("train_never_married", "promote"): ["mlflow://never_married/champion"],
        ("train_high_income", "promote"): ["mlflow://high_income/champion"],
    }


def test_publishing_runs_daily_and_never_at_once_when_it_is_switched_on(bag: Any):
    """Not even a minute after the expression's last instant: that run would stand beside the first one asked for."""
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    from triggers import cron

    assert bag.dags["publish_features"].schedule == cron("@daily")
    assert cron(None) is None
    now = datetime.now(UTC)
    last = now - timedelta(minutes=1)
    timetable = coerce_to_core_timetable(cron(f"{last.minute} {last.hour} * * *"))
    first = timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(earliest=None, latest=None, catchup=False)
    )
    assert now + timedelta(hours=23) < first.run_after


def test_scoring_follows_new_features_and_each_new_champion(bag: Any):
    from airflow.sdk import AssetAny

    schedule = bag.dags["score_people"].schedule
    assert isinstance(schedule, AssetAny)
    assert {asset.uri for asset in schedule.objects} == {
        "feast://census/census",
        "mlflow://never_married/champion",
        "mlflow://high_income/champion",
    }


def test_pruning_follows_a_run_that_published_nothing_and_none_that_failed(bag: Any):
    assert bag.dags["publish_features"].get_task("prune").trigger_rule == "none_failed"


def test_one_run_at_a_time_and_none_for_the_past(dag: Any):
    assert (dag.max_active_runs, dag.catchup) == (1, False)


@pytest.mark.parametrize("model", ["never_married", "high_income"])
def test_the_alias_waits_for_no_report(bag: Any, model: str):
    dag = bag.dags[f"train_{model}"]
    report, promote = dag.get_task("report"), dag.get_task("promote")
    assert (dag.max_active_tasks, report.priority_weight, promote.priority_weight) == (1, 1, 2)
    assert report.downstream_list == promote.downstream_list == []  # else their weights are sums


def test_every_task_retries_with_growing_delay_and_ends_in_time(dag: Any):
    for task in dag.tasks:
        if task.task_id == "approval":  # a person is asked once
            assert (task.retries, task.response_timeout) == (0, timedelta(hours=24))
            continue
        assert (task.retries, task.retry_delay, task.max_retry_delay) == (
            2,
            timedelta(seconds=10),
            timedelta(minutes=5),
        )
        assert task.retry_exponential_backoff == 2
        assert timedelta(0) < task.execution_timeout <= timedelta(hours=1)


def test_errors_for_a_person_are_not_retried(dag: Any):
    from airflow.sdk import RetryAction

    from data_engineering.errors import DataError
    from training.errors import TrainingError

    for task in dag.tasks:
        for error in (DataError("bad"), TrainingError("bad")):
            assert task.retry_policy.evaluate(error, 1, 2).action == RetryAction.FAIL
        assert task.retry_policy.evaluate(OSError("network"), 1, 2).action != RetryAction.FAIL


def test_every_dag_and_task_has_owner_tag_and_docs(dag: Any):
    owner = "data-engineering" if dag.dag_id == "publish_features" else "ml-engineering"
    assert dag.tags == {owner}
    assert dag.doc_md
    for task in dag.tasks:
        assert task.owner == owner
        assert task.doc_md.endswith("."), task.task_id


def test_every_task_gives_notice_of_failure_and_skip(dag: Any, notices: ModuleType):
    for task in dag.tasks:
        for callbacks in (task.on_failure_callback, task.on_skipped_callback):
            assert [type(callback).__name__ for callback in callbacks] == ["LogNotifier"]


@pytest.mark.parametrize(
    ("name", "param", "good", "bad"),
    [
        ("train_never_married", "min_accuracy", [0, 0.8, 1], [1.5, -0.1, "high", None]),
        ("train_never_married", "as_of", [None, "2026-01-31T12:00:00+00:00"], [7, 1.5, True]),
        ("train_never_married", "force", [True, False], ["yes", None]),
        ("publish_features", "source", [None, "census.csv"], [7]),
        ("publish_features", "force", [True, False], ["yes", None]),
    ],
)
def test_a_params_bad_value_is_refused(bag: Any, name: str, param: str, good: list[Any], bad: list[Any]):
    from airflow.sdk.exceptions import ParamValidationError

    found = deepcopy(bag.dags[name].params.get_param(param))
    assert [found.resolve(value) for value in good] == good
    for value in bad:
        with pytest.raises(ParamValidationError):
            found.resolve(value)


def test_params_have_these_defaults(bag: Any):
    found = {name: dag.params.dump() for name, dag in bag.dags.items()}
    assert found == {
        "publish_features": {"source": None, "force": False},
        "score_people": {},
        **{
            key: {
                "min_accuracy": 0.8,
                "as_of": None,
                "force": False,
                "policy": "not_worse",
                "worst_lift": None,
                "largest_gap": None,
                "require_approval": False,
            }
            for key in TRAININGS
        },
    }


def test_parsing_imports_nothing_heavy(airflow: Path):
    files = "publish_features, score_people, train_model"
    script = f"import sys, {files}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{DAGS}"}
    parsed = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    imported = set(parsed.stdout.splitlines()[-1].split())
    assert {"airflow", "data_engineering", "training"} <= imported
    assert HEAVY & imported == set()


@pytest.mark.parametrize("path", sorted(DAGS.glob("*.py")), ids=lambda path: path.name)
def test_a_dag_file_is_short(path: Path):
    assert len(path.read_text().splitlines()) <= 60


def imports(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, inside functions too."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_ = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in plain | from_}


@pytest.mark.parametrize(
    ("area", "not_to_import"),
    [
        ("data_engineering", {"training", "airflow", "dags", "local", "mlflow"}),
        ("training", {"data_engineering", "airflow", "dags", "local"}),
        ("feature_repo", {"data_engineering", "training", "airflow", "local"}),
    ],
)
def test_the_areas_meet_in_the_feature_store_alone(area: str, not_to_import: set[str]):
    files = list((ROOT / area).rglob("*.py"))
    assert files
    found = {path.name: imports(path) & not_to_import for path in files}
    assert {name: names for name, names in found.items() if names} == {}


def flow(bag: Any, dag: str) -> dict[str, tuple[list[str], list[str]]]:
    """Return the datasets that each task of a DAG says it reads and writes, by their last two names."""

    def names(places: list[Any]) -> list[str]:
        return ["/".join(place.url.split("/")[-2:]) for place in places if hasattr(place, "url")]

    tasks = {task.task_id: (names(task.inlets), names(task.outlets)) for task in bag.dags[dag].tasks}
    return {task: sides for task, sides in tasks.items() if sides != ([], [])}


def test_tasks_say_what_they_read_and_write_for_lineage(bag: Any):
    staging, snapshots, features = "lake/staging", "lake/census", "census/census"
    assert flow(bag, "publish_features") == {
        "extract": ([], [staging]),  # its source is the run's
        "publish": ([staging], [snapshots]),
        "materialize": ([snapshots], [features]),
        "verify": ([snapshots], [features]),
    }
    sets, model, champion = "training/high_income", "/high_income", "high_income/champion"
    assert flow(bag, "train_high_income") == {
        "training_set": ([features], [sets]),
        "cross_validate": ([sets], []),
        "fit": ([sets], []),
        "register": ([sets], [model]),
        "promote": ([model], [champion]),
    }
    assert flow(bag, "score_people")["score_high_income"] == ([features, champion], ["predictions/high_income"])


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (None, "file:///srv/census.csv"),
        ("/data/more.csv", "file:///data/more.csv"),
        ("https://example.com/a.csv", "https://example.com/a.csv"),
    ],
)
def test_the_source_of_lineage_is_the_runs_own(bag: Any, monkeypatch: pytest.MonkeyPatch, given: str | None, url: str):
    import lineage
    from data_engineering.settings import Settings

    monkeypatch.setattr(lineage, "DATA", Settings(source="/srv/census.csv"))
    task = deepcopy(bag.dags["publish_features"].get_task("extract"))
    assert lineage.read_source in task.on_execute_callback
    lineage.read_source({"task": task, "params": {"source": given}})
    assert [source.url for source in task.inlets] == [url]


def test_each_tasks_log_begins_with_its_run_and_what_it_was_given(dag: Any, notices: ModuleType, caplog: Any):
    class Instance:
        dag_id, run_id, task_id = "publish_features", "manual__1", "materialize"

    class Call:
        op_args, op_kwargs = ["20260101T000000.000000Z-0123"], {"force": True}

    with caplog.at_level("INFO"):
        notices.begin({"ti": Instance(), "task": Call()})
    assert caplog.messages == [
        "RUN publish_features manual__1 materialize: given ['20260101T000000.000000Z-0123', True]"
    ]
    assert all(task.on_execute_callback[0] == notices.begin for task in dag.tasks)


def test_notice_is_given_in_the_log_by_default(notices: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PIPELINE_NOTIFIER", raising=False)
    assert type(notices.notifier()) is notices.LogNotifier
    monkeypatch.setenv("PIPELINE_NOTIFIER", "")
    assert type(notices.notifier()) is notices.LogNotifier


def test_the_notifier_is_a_setting(notices: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "our_chat.py").write_text(
        "class Chat:\n    def __init__(self, channel, urgent=False):\n        self.said = channel, urgent\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PIPELINE_NOTIFIER", "our_chat.Chat")
    monkeypatch.setenv("PIPELINE_NOTIFIER_OPTIONS", '{"channel": "#census", "urgent": true}')
    assert notices.notifier().said == ("#census", True)


def test_a_notifier_that_is_not_there_is_an_error(notices: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIPELINE_NOTIFIER", "no_such_module.Chat")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        notices.notifier()


def test_without_the_google_provider_the_credentials_stay_application_defaults(airflow, monkeypatch):
    import connections

    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", '{"conn_type": "google_cloud_platform"}')
    before = dict(os.environ)
    connections.sign_in({})
    assert dict(os.environ) == before


def test_every_task_signs_in_where_its_own_code_begins(dag: Any, airflow: Path):
    import connections

    # There what is raised fails the task; what a callback raises, Airflow only logs.
    assert all(task._pre_execute_hook is connections.sign_in for task in dag.tasks)
