"""The registry's life at the command line: where a model comes from, what depends on what, make again, take back."""

import argparse
import getpass
import socket
import sys
from collections.abc import Callable, Iterator, Sequence

from feast import FeatureStore
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training import aliases, lineage, offline, reproduce, rollback, tracking, upkeep
from training.errors import TrainingError
from training.settings import Settings

Given = argparse.Namespace
Shown = str | Table


def prune(given: Given, settings: Settings) -> Iterator[Shown]:
    """Remove old training sets, and let go of snapshots that no registered version needs."""
    days = settings.keep_days if given.keep_days is None else given.keep_days
    settings = settings.model_copy(update={"keep_days": days})
    lines = upkeep.prune(FeatureStore(), tracking.connect(settings), settings, dry_run=given.dry_run)
    yield from map(escape, lines)


def show_lineage(given: Given, settings: Settings) -> Iterator[Shown]:
    """Show where a version comes from, link by link, and where the alias has been."""
    client = tracking.connect(settings)
    found = lineage.resolve(client, given.version)
    table = Table.grid(padding=(0, 3))
    for name, text in lineage.chain(FeatureStore(), found):
        table.add_row(f"[bold]{name}", escape(text))
    yield table
    yield ""
    yield moves(aliases.history(client, found.name), found.name)


def affected(given: Given, settings: Settings) -> Iterator[Shown]:
    """List the versions that were trained on a feature or on a snapshot."""
    client = tracking.connect(settings)
    found = lineage.affected(client, feature=given.feature, snapshot_id=given.snapshot)
    # A search's versions carry no aliases.
    marks = {name: client.get_registered_model(name).aliases for name in {version.name for version in found}}
    for version in found:
        names = "".join(f" @{k}" for k, v in marks[version.name].items() if str(v) == str(version.version))
        yield escape(f"{version.name}/{version.version}{names} on snapshot {version.tags.get('snapshot_id')}")
    if not found:
        yield escape(f"no registered version depends on {given.feature or given.snapshot}")


def history(given: Given, settings: Settings) -> Iterator[Shown]:
    """Show each move of alias champion: when, from, to, by whom, why."""
    client = tracking.connect(settings)
    known = [model.name for model in client.search_registered_models()]
    if given.model not in known:
        raise TrainingError(f"there is no registered model {given.model}: give one of {', '.join(known) or 'none yet'}")
    yield moves(aliases.history(client, given.model), given.model)


def moves(found: Sequence[aliases.Move], model: str) -> Table:
    """Return moves as a table."""
    table = Table("when", "from", "to", "by", "why", title=f"{model}@{aliases.CHAMPION}", box=box.SIMPLE)
    for move in found:
        at = f"{move.at:%Y-%m-%d %H:%M:%S} UTC" if move.at else "unknown"
        why = escape(move.why) if move.happened else f"[red]did not happen[/]: {escape(move.why)}"
        table.add_row(at, move.old, move.new, escape(move.by), why)
    return table


def make_again(given: Given, settings: Settings) -> Iterator[Shown]:
    """Fit a version again on its own training set, and compare the models' text."""
    found = lineage.resolve(tracking.connect(settings), given.version)
    with offline.limited(settings):
        result = reproduce.reproduce(FeatureStore(), found, settings.threads)
    called = f"{found.name} version {found.version}"
    if result.difference:
        raise TrainingError(f"{called} differs in {result.difference} ({result.reason})")
    yield f"{called}: identical, encoders and trees, fitted again on training set {found.tags['training_set.digest']}"


def take_back(given: Given, settings: Settings) -> Iterator[Shown]:
    """Point alias champion to a version that still works, and record who, when, why, from and to."""
    client = tracking.connect(settings)
    found = lineage.resolve(client, f"{given.model}/{given.to}")
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    yield escape(rollback.rollback(client, FeatureStore(), found, by=by, why=given.reason, force=given.force))


def parser() -> argparse.ArgumentParser:
    """Return the parser; `does` of what it parsed is one of the functions above."""
    whole = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = whole.add_subparsers(required=True)

    def command(name: str, does: Callable[[Given, Settings], Iterator[Shown]]) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=does.__doc__, description=does.__doc__)
        added.set_defaults(does=does)
        return added

    pruning = command("prune", prune)
    pruning.add_argument("--keep-days", type=int, help="instead of TRAINING_KEEP_DAYS")
    pruning.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
    command("lineage", show_lineage).add_argument("version", help="NAME@ALIAS or NAME/VERSION")
    asked = command("affected", affected).add_mutually_exclusive_group(required=True)
    asked.add_argument("--feature", help="such as income_bracket, or census:income_bracket")
    asked.add_argument("--snapshot", help="a snapshot's id")
    command("history", history).add_argument("model", metavar="NAME")
    command("reproduce", make_again).add_argument("version", help="NAME@ALIAS or NAME/VERSION")
    back = command("rollback", take_back)
    back.add_argument("model", metavar="NAME")
    back.add_argument("--to", required=True, metavar="VERSION")
    back.add_argument("--reason", required=True, help="for the history")
    back.add_argument("--force", action="store_true", help="even to a version that did not pass its gate")
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, print what it shows, and return the exit code: 1, with one line of why, if it did not do it."""
    given = parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 1_000, highlight=False)  # a file or pipe has no width
    try:
        for shown in given.does(given, Settings()):
            console.print(shown)
    except (TrainingError, ConnectionError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]{escape(str(error))}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
