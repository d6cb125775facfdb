"""Feast's commands in this process: what the program does, without its start."""

import os
import sys
from pathlib import Path

REPO = Path(__file__).parents[1] / "feature_repo"


def feast_apply() -> None:
    """Register the definitions with the environment's registry; leave the process as it was."""
    from feast.repo_config import load_repo_config
    from feast.repo_operations import apply_total

    before, bytecode = Path.cwd(), sys.dont_write_bytecode
    sys.path.insert(0, str(REPO))
    try:
        apply_total(load_repo_config(REPO, Path(os.environ["FEAST_FS_YAML_FILE_PATH"])), REPO, False)
    finally:
        os.chdir(before)
        sys.dont_write_bytecode = bytecode
        sys.path.remove(str(REPO))
        sys.modules.pop("census", None)


def init_registry() -> None:
    """Do a SQL registry's first steps, which are done once and alone: `feast registry create-schema`, `feast apply`."""
    from feast.cli.cli import cli

    cli.main(["--chdir", str(REPO), "registry", "create-schema"], standalone_mode=False)
    feast_apply()
