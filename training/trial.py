"""Whether a registered model works anywhere but where it was fitted: a fresh process loads it and answers."""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pyarrow.parquet as pq

from training.errors import TrainingError

# Beside the model's input example: what the pipeline answered to it when it was fitted.
ANSWER = "example_answer.json"


def check(uri: str, tracking_uri: str, rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the answers to `rows` of the model at `uri`, given by a fresh process, or else that to its own example.

    Raises:
        RuntimeError: the process was killed.
        TrainingError: it does not load, answers its own example other than when it was fitted, or says no finite
            number of a row without naming an error.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Here and not in the process: a registry that cannot be reached is no fault of the model's, and tried again.
        mlflow.set_tracking_uri(tracking_uri)  # MLflow 3.17 looks nowhere else for models:/, whatever it is given
        model = mlflow.artifacts.download_artifacts(uri, dst_path=f"{folder}/model")
        if rows is not None:
            rows.to_parquet(folder / "rows.parquet")
        _run(uri, tracking_uri, model, folder)
        example, expected = _read(folder / "example.parquet"), Path(model, ANSWER)
        if not expected.exists():
            raise TrainingError(f"{uri} has no {ANSWER}, and so nothing to compare with: train again")
        _compare(uri, example.to_dict("records"), json.loads(expected.read_text()))
        answers = example if rows is None else _read(folder / "answers.parquet")
    _check_finite(uri, answers, len(example if rows is None else rows))
    return answers


def _run(uri: str, tracking_uri: str, model: str, folder: Path) -> None:
    here = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "MLFLOW_TRACKING_URI": tracking_uri}
    command = [sys.executable, "-m", "training.trial", model, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    if done.returncode < 0:  # nothing that the model did: another try may do
        how = signal.Signals(-done.returncode).name
        remedy = "give tasks more memory, or fewer slots" if how == "SIGKILL" else last
        raise RuntimeError(f"the process that tries {uri} was ended by {how}: {remedy}")
    if done.returncode:
        raise TrainingError(f"{uri} does not load and answer in a fresh process: {last}")


def _read(path: Path) -> pd.DataFrame:
    frame: pd.DataFrame = pq.read_table(path).to_pandas()
    return frame


def _compare(uri: str, answered: list[dict[Any, Any]], expected: list[dict[str, Any]]) -> None:
    if len(answered) != len(expected):
        raise TrainingError(f"{uri} gives {len(answered)} answers to its example of {len(expected)} rows")
    for now, then in zip(answered, expected, strict=True):
        for name in {**then, **now}:
            if not _same(now.get(name), then.get(name)):
                raise TrainingError(
                    f"{uri} answers its example with {name} {now.get(name)!r}, and did with {then.get(name)!r} when it "
                    "was fitted: other libraries than in its requirements.txt, or a damaged model"
                )


def _same(now: object, then: object) -> bool:
    """Return whether two values are equal; numbers but for what another processor's arithmetic may round away."""
    if isinstance(now, float) and isinstance(then, float):
        return math.isclose(now, then, rel_tol=1e-9)
    return now == then


def _check_finite(uri: str, answers: pd.DataFrame, rows: int) -> None:
    if len(answers) != rows:
        raise TrainingError(f"{uri} gives {len(answers):,} answers to {rows:,} rows")
    bad = ~pd.to_numeric(answers["probability"], errors="coerce").map(math.isfinite)
    if "error" in answers:
        bad &= answers["error"].isna()
    if bad.any():
        raise TrainingError(f"{uri} answers {bad.sum():,} of {rows:,} rows with no finite number")


def main(model: str, folder: str) -> None:
    """Write the model's answers to its example, and to `rows.parquet` if it is there, into `folder`."""
    loaded = mlflow.pyfunc.load_model(model)
    loaded.predict(loaded.metadata.load_input_example(model)).to_parquet(f"{folder}/example.parquet")
    if (rows := Path(folder, "rows.parquet")).exists():
        loaded.predict(_read(rows)).to_parquet(f"{folder}/answers.parquet")


if __name__ == "__main__":
    main(*sys.argv[1:])
