"""`python -m data_engineering`: prune, fill the online store anew, erase a person, or prepare BigQuery."""

import argparse
import sys
from collections.abc import Sequence

from data_engineering import steps
from data_engineering.errors import DataError, Unavailable
from data_engineering.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, print a line for each thing done, and return the exit code."""
    given = _parser().parse_args(arguments)
    settings = Settings()
    try:
        if given.command == "check-bigquery":
            _check(settings)
        elif given.command == "create-table":
            _create(settings)
        elif given.command == "erase":
            steps.erase(settings, given.person_id, given.reason, print)
        elif given.command == "rebuild":
            steps.rebuild(settings, print)
        else:
            days = settings.keep_days if given.keep_days is None else given.keep_days
            steps.prune(settings.model_copy(update={"keep_days": days}), print, dry_run=given.dry_run)
    except (DataError, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _check(settings: Settings) -> None:
    from data_engineering.bigquery_check import check

    for line in check(settings):
        print(line, flush=True)  # noqa: T201


def _create(settings: Settings) -> None:
    from data_engineering.bigquery_warehouse import BigQueryWarehouse

    warehouse = BigQueryWarehouse.of(settings)
    warehouse.create()
    print(f"{warehouse.features} is there")  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data_engineering", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    prune = commands.add_parser("prune", help="remove what is old and not needed, and absent persons from online")
    prune.add_argument("--keep-days", type=_days, help="instead of DATA_KEEP_DAYS")
    prune.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
    commands.add_parser("rebuild", help="fill the online store anew from the newest verified snapshot")
    erase = commands.add_parser("erase", help="remove a person from every file and from the online store")
    erase.add_argument("person_id", help="the key, as a snapshot's person_id has it")
    erase.add_argument("--reason", required=True, help="kept in the record; do not name the person")
    commands.add_parser("check-bigquery", help="say whether BigQuery lets the pipeline do its work")
    commands.add_parser("create-table", help="create BigQuery's feature table, which `feast apply` looks for")
    return parser


def _days(text: str) -> int:
    days = int(text)
    if days < 0:
        raise argparse.ArgumentTypeError(f"{text}: give 0 or more days")
    return days


if __name__ == "__main__":
    sys.exit(main())
