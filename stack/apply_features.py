"""Make the tables of Feast's registry where they are missing, and register the definitions of `feature_repo/`."""

from feast.cli.cli import cli

REPO = "feature_repo"


def main() -> None:
    """Run Feast's own commands, in one process: each would import for seconds."""
    for command in (["registry", "create-schema"], ["apply"]):
        cli(["--chdir", REPO, *command], standalone_mode=False)


if __name__ == "__main__":
    main()
