"""`python -m training prune`: remove old training sets, and let go of snapshots that no registered version needs."""

import argparse
import sys
from collections.abc import Sequence

from feast import FeatureStore

from training import tracking, upkeep
from training.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, print a line for each thing done, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    prune = parser.add_subparsers(required=True).add_parser("prune", help="remove what is old and not needed")
    prune.add_argument("--keep-days", type=int, help="instead of TRAINING_KEEP_DAYS")
    prune.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
    given = parser.parse_args(arguments)
    settings = Settings()
    days = settings.keep_days if given.keep_days is None else given.keep_days
    settings = settings.model_copy(update={"keep_days": days})
    for line in upkeep.prune(FeatureStore(), tracking.connect(settings), settings, dry_run=given.dry_run):
        print(line)  # noqa: T201  what the command is for
    return 0


if __name__ == "__main__":
    sys.exit(main())
