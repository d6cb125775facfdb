"""Runs the DAGs' steps in processes that may be killed: reads a job a line, forks for it, and says how it ended.

Importing Feast and MLflow takes seconds; the forks find them in memory. Nothing else happens in this process, so that
no thread is lost by forking.
"""

import json
import os
import random
import re
import resource
import signal
import sqlite3
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DATA_STAGES = ["extract", "clean", "validate", "publish", "materialize", "verify"]
MODEL_STAGES = ["training_set", "cross_validate", "gate", "fit", "register", "promote"]
MODEL, RUN = "never_married", "scheduled__1"


def stage(name: str, state: dict[str, Any]) -> None:
    """Do one task as its DAG does, with what the tasks before it returned."""
    from data_engineering import steps
    from data_engineering.settings import Settings
    from training import steps as model_steps
    from training.settings import Settings as ModelSettings

    data, model = Settings(), ModelSettings()
    do: dict[str, Callable[[], Any]] = {
        "extract": lambda: steps.extract(data, state["run"], state["source"]),
        "clean": lambda: steps.clean(data, state["extract"]),
        "validate": lambda: steps.validate(data, state["extract"]),
        "publish": lambda: steps.publish(data, state["extract"], force=False),
        "materialize": lambda: steps.materialize(data, state["publish"]),
        "verify": lambda: steps.verify(data, state["publish"]),
        "training_set": lambda: model_steps.training_set(model, MODEL, RUN, None),
        "cross_validate": lambda: model_steps.cross_validate(model, MODEL, **state["training_set"]),
        "gate": lambda: model_steps.gate(model, state["training_set"]["run_id"], {"min_accuracy": 0.6}),
        "fit": lambda: model_steps.fit(model, MODEL, **state["training_set"]),
        "register": lambda: model_steps.register(model, MODEL, state["training_set"]["run_id"], state["fit"]),
        "promote": lambda: model_steps.promote(model, MODEL, state["register"]),
    }
    state[name] = do[name]()


def feast_apply(state: dict[str, Any]) -> None:
    from feast.repo_config import load_repo_config
    from feast.repo_operations import apply_total

    repo = Path(os.environ.get("REPO", ROOT / "feature_repo"))
    sys.path.insert(0, str(repo))
    apply_total(load_repo_config(repo, Path(os.environ["FEAST_FS_YAML_FILE_PATH"])), repo, False)


def empty_mlflow(state: dict[str, Any]) -> None:
    from mlflow import MlflowClient

    MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).search_experiments()


def look(state: dict[str, Any]) -> None:
    """Say all that the runs have left, without the ids and instants in which two equal runs differ."""
    var = Path(os.environ["VAR_DIR"])
    seen = {"files": _files(var), "snapshots": _snapshots(), "online": _online(), "marks": _marks()}
    if (var / "training").exists():
        seen |= _mlflow()
    text = json.dumps(seen, sort_keys=True, default=str)
    for pattern, name in (
        (r'"evaluation.sha256": "[0-9a-f]{64}"', '"evaluation.sha256": "OF A RECORD WITH THE RUN\'S ID"'),
        (r"\d{8}T\d{6}\.\d{6}Z", "BATCH"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+(\+00:00)?", "INSTANT"),
        (r"m-[0-9a-f]{32}", "MODEL"),
        (r"\b[0-9a-f]{32}\b", "RUN"),
    ):
        text = re.sub(pattern, name, text)
    state["look"] = json.loads(text)
    state["look"]["files"].sort()  # only now: the ids were in the paths


def _files(var: Path) -> list[str]:
    return [
        str(path.relative_to(var))
        for folder in ("lake", "training", "mlflow/artifacts")
        for path in (var / folder).rglob("*")
    ]


def _snapshots() -> list[Any]:
    import pyarrow.parquet as pq

    folder = Path(os.environ["DATA_LAKE"], "census")
    tables = [pq.read_table(path) for path in sorted(folder.glob("[!.]*"))]
    return [table.drop(["event_timestamp", "created_timestamp"]).to_pylist() for table in tables]


def _online() -> dict[str, Any]:
    from feast import FeatureStore

    store = FeatureStore()
    names = [field.name for field in store.get_feature_view("census").features]
    persons = [{"person_id": row["person_id"]} for row in _snapshots()[-1]]
    found: dict[str, Any] = store.get_online_features([f"census:{name}" for name in names], persons).to_dict()
    return found


def _marks() -> list[Any]:
    from feast import FeatureStore

    return sorted((mark.name, sorted(mark.tags.items())) for mark in FeatureStore().list_saved_datasets())


def _mlflow() -> dict[str, Any]:
    from mlflow import MlflowClient

    uri = os.environ["MLFLOW_TRACKING_URI"]
    client = MlflowClient(uri)
    experiments = [found.experiment_id for found in client.search_experiments() if found.name == MODEL]
    runs = [
        {
            "info": (run.info.status, run.info.run_name, run.info.lifecycle_stage),
            "data": run.data.to_dictionary(),
            "points": {k: len(client.get_metric_history(run.info.run_id, k)) for k in run.data.metrics},
            "inputs": len(run.inputs.dataset_inputs),
            "outputs": len(run.outputs.model_outputs),
        }
        for run in client.search_runs(experiments)
    ]
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:  # MLflow's client hides what is deleted
        models = database.execute("SELECT name, status, lifecycle_stage FROM logged_models").fetchall()
    versions = [
        (v.version, v.status, v.tags, v.aliases, v.description)
        for v in client.search_model_versions(f"name = '{MODEL}'")
    ]
    aliases = {model.name: model.aliases for model in client.search_registered_models()}
    return {"runs": runs, "models": models, "versions": versions, "aliases": aliases}


def read_for_a_while(state: dict[str, Any]) -> None:
    """Read random persons in four threads until the file `stop` appears; say what they saw that is not whole."""
    from feast import FeatureStore

    var, snapshots = Path(os.environ["VAR_DIR"]), state["ages"]
    wrong: list[str] = []
    seen: Counter[str] = Counter()

    def reader(seed: int) -> None:
        store, pick = FeatureStore(), random.Random(seed)
        columns = [field.name for field in store.get_feature_view("census").features]
        while not (var / "stop").exists():
            person = str(pick.randrange(300))
            try:
                rows = store.get_online_features([f"census:{name}" for name in columns], [{"person_id": person}])
                row = {name: values[0] for name, values in rows.to_dict().items()}
            except Exception as error:  # noqa: BLE001  any error is what must not happen
                wrong.append(repr(error))
                continue
            seen[row["snapshot_id"]] += 1
            if None in row.values() or row["age"] != snapshots.get(row["snapshot_id"], {}).get(person):
                wrong.append(repr(row))
            if sum(seen.values()) >= 20:
                (var / "reading").touch()

    threads = [threading.Thread(target=reader, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state |= {"wrong": wrong[:5], "seen": dict(seen)}


def shim(target: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace a function, named by its full path, in the place where it is looked up."""
    parts = target.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        try:
            owner: Any = import_module(".".join(parts[:depth]))
        except ModuleNotFoundError:
            continue
        for name in parts[depth:-1]:
            owner = getattr(owner, name)
        setattr(owner, parts[-1], wrap(getattr(owner, parts[-1])))
        return


def kill_at(target: str, number: int, when: str) -> None:
    """End this process as `kill -9` does, before or after the given call of a function."""
    calls = 0

    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*arguments, **options)
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted

    shim(target, wrap)


def set_clock(days: int) -> None:
    """Let the lake and the publication see a clock that is wrong."""

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(days=days)

    for module in ("data_engineering.lake", "data_engineering.publish"):
        import_module(module).datetime = Wrong  # type: ignore[attr-defined]


def work(job: dict[str, Any]) -> int:
    """Do a job in this process; what it returned, or its error, is left in the file `out`."""
    os.environ.update(job["env"])
    os.chdir(ROOT)
    state = job["state"]
    if "kill" in job:
        kill_at(*job["kill"])
    if "clock_days" in job:
        set_clock(job["clock_days"])
    if "largest_file" in job:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the log file too is larger than that
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"], resource.RLIM_INFINITY))
    began = time.monotonic()
    error = None
    try:
        for name in job["stages"]:
            special = {"feast_apply": feast_apply, "empty_mlflow": empty_mlflow, "look": look, "read": read_for_a_while}
            special[name](state) if name in special else stage(name, state)
    except Exception as problem:  # noqa: BLE001  whatever it is, the test judges it
        error = f"{type(problem).__name__}: {problem}"
        traceback.print_exc()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    answer = {"state": state, "error": error, "seconds": time.monotonic() - began}
    Path(job["out"]).write_text(json.dumps(answer, default=str))
    return 0


def main() -> None:
    sys.path[:0] = [str(ROOT), str(ROOT / "local/airflow")]
    warnings.simplefilter("ignore")
    for name in import_module("airflow_local_settings").THIRD_PARTY:
        import_module(name)
    for name in ("data_engineering.steps", "training.steps", "feast.repo_operations", "feast.repo_config"):
        import_module(name)
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        if not (child := os.fork()):
            try:
                os._exit(work(job))
            finally:
                os._exit(70)
        if job.get("background"):
            print(child, file=answers, flush=True)
            continue
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


if __name__ == "__main__":
    main()
