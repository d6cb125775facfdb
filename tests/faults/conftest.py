"""A store of 300 persons on which steps are killed, and what the same steps leave when nothing disturbs them."""

import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from data_engineering.schema import COLUMNS
from data_engineering.settings import BUNDLED_SOURCE

HERE = Path(__file__).parent
DATA_STAGES = ["extract", "clean", "validate", "publish", "materialize", "verify"]
MODEL_STAGES = ["training_set", "cross_validate", "gate", "fit", "register"]
PROMOTION = ["promote"]  # on its own: it takes seconds, and what comes before it need not wait for it each time
PARTS = (DATA_STAGES, MODEL_STAGES, PROMOTION)

Job = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Store:
    """A folder that can be set back to the moment before each step of an undisturbed run, and what that run left."""

    var: Path
    before: Callable[[str], dict[str, Any]]
    job: Job
    looks: dict[str, dict[str, Any]]

    def rest(self, stage: str) -> list[str]:
        """Return the stages of a part from one on."""
        stages = next(stages for stages in PARTS if stage in stages)
        return stages[stages.index(stage) :]

    def undisturbed(self, stage: str) -> dict[str, Any]:
        """Return what an undisturbed run has left at the end of the stage's part."""
        return self.looks[self.rest(stage)[-1]]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, environment_of: Callable[..., dict[str, str]]) -> Iterator[Store]:
    """Give the store; one process per session has the imports and forks for each job."""
    folder = tmp_path_factory.mktemp("faults")
    var, states = folder / "var", folder / "states"
    config = folder / "feature_store.yaml"
    text = (HERE.parents[1] / "feature_repo/feature_store.yaml").read_text()
    text = text.replace("online_write_batch_size: 10000", "online_write_batch_size: 50")
    text = text.replace("bulk_engine.BulkEngine", "bulk_engine.BulkEngine\n  wait_seconds: 5")
    config.write_text(text.replace("cache_ttl_seconds: 60", "cache_ttl_seconds: 1"))
    environment = environment_of(
        var,
        FEAST_FS_YAML_FILE_PATH=str(config),
        DATA_KEY_COLUMN="number",
        TRAINING_THREADS="1",
        TRAINING_ALPHA="1",  # on 300 persons no recipe is significantly better than another
        TRAINING_GIT_COMMIT="0123456789abcdef",
    )
    sources = [_source(folder / "first.csv", 0), _source(folder / "second.csv", 1)]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, str(HERE / "driver.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **environment},
        ) as driver,
    ):

        def job(stages: list[str], state: dict[str, Any], **more: Any) -> dict[str, Any]:
            out = Path(more.pop("out", folder / "out"))
            out.unlink(missing_ok=True)
            asked = {"stages": stages, "state": state, "env": environment | more.pop("env", {}), "out": str(out)}
            print(json.dumps(asked | more), file=driver.stdin, flush=True)
            status = driver.stdout.readline().strip()
            assert status, (folder / "log").read_text()[-3000:]
            return {"status": int(status)} | (json.loads(out.read_text()) if out.exists() else {})

        def done(stages: list[str], state: dict[str, Any]) -> dict[str, Any]:
            answer = job(stages, state)
            assert (answer["status"], answer["error"]) == (0, None), (folder / "log").read_text()[-3000:]
            return answer["state"]

        def before(stage: str) -> dict[str, Any]:
            shutil.rmtree(var)
            shutil.copytree(states / stage / "var", var)
            return json.loads((states / stage / "state").read_text())

        def kept(stage: str, state: dict[str, Any]) -> None:
            shutil.copytree(var, states / stage / "var")
            (states / stage / "state").write_text(json.dumps(state))

        assert driver.stdout.readline() == "ready\n", (folder / "log").read_text()[-3000:]
        done(["feast_apply"], {})
        state = done(["empty_mlflow", *DATA_STAGES], {"run": "run 1", "source": sources[0]})
        looks = {}
        for stages in PARTS:
            state = {**state, "run": "run 2", "source": sources[1]}
            for stage in stages:
                kept(stage, state)
                state = done([stage], state)
            looks[stages[-1]] = done(["look"], state)["look"]
        yield Store(var, before, job, looks)
        driver.stdin.close()


def _source(path: Path, years: int) -> str:
    """Write the first 300 persons, `years` later: each with a number of its own, and the income that the year says."""
    with gzip.open(BUNDLED_SOURCE, "rt") as lines, path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["number", *COLUMNS])
        for number, row in zip(range(300), csv.reader(lines), strict=False):
            writer.writerow([number, int(row[0]) + years, *row[1:]])
    return str(path)
