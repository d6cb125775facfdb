"""Whether what the tasks share is where all of them find it."""

from airflow.sdk.configuration import conf

from data_engineering.settings import Settings as DataSettings
from storage.places import is_folder
from training.settings import Settings as TrainingSettings

LOCAL = "LocalExecutor"


def check_shared() -> None:
    """Raise ValueError if tasks may run on several hosts, and share a folder of which nobody said that all have it."""
    data, training = DataSettings(), TrainingSettings()
    named = (name.strip() for name in conf.get("core", "executor").split(","))
    elsewhere = [name for name in named if not name.rpartition(".")[2].endswith(LOCAL)]
    folders = {
        "DATA_LAKE": data.lake,
        "TRAINING_WORKSPACE": training.workspace,
        "TRAINING_PREDICTIONS": training.predictions,
    }
    apart = [f"{name}={where}" for name, where in folders.items() if is_folder(where)]
    if elsewhere and apart and not data.lake_shared:
        raise ValueError(
            f"{apart[0]} is a folder, and {elsewhere[0]} runs tasks on several hosts, which would not find each other's"
            " files: set it to s3://bucket/prefix or gs://bucket/prefix, or set DATA_LAKE_SHARED=true if every worker"
            " has the same folder there"
        )
