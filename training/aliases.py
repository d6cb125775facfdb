"""Where alias `champion` points, moved by one at a time; each move leaves a record in the registered model's tags."""

import time
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise

from mlflow import MlflowClient
from mlflow.entities.model_registry import RegisteredModel
from pydantic import BaseModel, ConfigDict, ValidationError

from training.errors import TrainingError

CHAMPION = "champion"
NOWHERE = "none"
RECORD = "champion.move."
# A record whose move has not happened after this is one of a process that was killed.
UNDER_WAY = timedelta(minutes=1)


class Move(BaseModel):
    """From which version to which, by whom and why; `happened` is what the alias says of it since."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime | None = None
    old: str
    new: str
    by: str
    why: str
    happened: bool = True


def champion(client: MlflowClient, model: str) -> str:
    """Return the version that the alias points to, or "none"."""
    return _points_to(client.get_registered_model(model))


def moved(client: MlflowClient, model: str, version: str, *, expected: str) -> bool:
    """Return whether the alias points to `version`.

    Raises:
        TrainingError: it points neither there nor to `expected`.
    """
    registered = client.get_registered_model(model)
    if _points_to(registered) == version:
        return True
    _check(registered, version, expected)
    return False


def move(  # noqa: PLR0913  who, why and from where are no options
    client: MlflowClient, model: str, version: str, *, expected: str, by: str, why: str
) -> None:
    """Point the alias to `version`, in one last call, if it points to `expected` at that moment.

    MLflow has no call that compares and sets. So a record of what is to be done comes first, and whoever then sees an
    earlier one of another withdraws; of two at once exactly one goes on. Only a process that stops for a minute between
    its last look and its last call, or a hand, can come in between. If the alias points to `version`, nothing is done.

    Raises:
        TrainingError: the alias points elsewhere, or another move is under way.
    """
    if moved(client, model, version, expected=expected):
        return
    registered = client.get_registered_model(model)
    # Later than the last one by any clock: the records' order is the moves'.
    last = [record.at + timedelta(microseconds=1) for record in _records(registered) if record.at]
    mine = Move(at=max([datetime.now(UTC), *last]), old=expected, new=version, by=by, why=why)
    client.set_registered_model_tag(model, _key(mine), mine.model_dump_json(exclude={"at", "happened"}))
    try:
        while _others(registered := client.get_registered_model(model), mine):
            time.sleep(0.1)  # until they have seen that this one is earlier
        if _points_to(registered) == version:
            return
        _check(registered, version, expected)
    except TrainingError:
        client.delete_registered_model_tag(model, _key(mine))
        raise
    client.set_registered_model_alias(model, CHAMPION, version)


def history(client: MlflowClient, model: str) -> list[Move]:
    """Return all moves, the oldest first: those recorded, and between them those that somebody made by hand.

    A record whose move did not happen is that of a process which was killed before its last call.

    Raises:
        TrainingError: a record was edited and cannot be read.
    """
    registered = client.get_registered_model(model)
    stays = [(old, list(records)) for old, records in groupby(_records(registered), key=lambda record: record.old)]
    stays.append((_points_to(registered), []))
    moves: list[Move] = []
    for (old, records), (then, _) in pairwise([(NOWHERE, []), *stays]):
        # From one place one move happened at most: the one that led to the next place, else the last.
        led = [record for record in records if record.new == then] or records
        moves += [record.model_copy(update={"happened": then != old and record is led[-1]}) for record in records]
        place = led[-1].new if records and then != old else old
        if place != then:
            moves.append(Move(old=place, new=then, by="unknown", why="moved by hand, without a record"))
    return moves


def _points_to(registered: RegisteredModel) -> str:
    return str(registered.aliases.get(CHAMPION, NOWHERE))


def _check(registered: RegisteredModel, version: str, expected: str) -> None:
    if (now := _points_to(registered)) != expected:
        raise TrainingError(
            f"{registered.name}: the champion is version {now} now, and was {expected} when version {version} was "
            "chosen: nothing was moved, look again"
        )


def _others(registered: RegisteredModel, mine: Move) -> list[Move]:
    """Return the later moves from the same place that are under way; raise TrainingError if there is an earlier one."""
    records, now = _records(registered), datetime.now(UTC)
    arrived = max((i for i, record in enumerate(records) if record.new == mine.old), default=-1)
    others = [
        record
        for record in records[arrived + 1 :]
        if (record.old == mine.old and record.new != mine.new and record.at and abs(now - record.at) < UNDER_WAY)
    ]
    if others and mine.at and others[0].at and others[0].at <= mine.at:
        raise TrainingError(
            f"{registered.name}: {others[0].by} is moving the champion from version {mine.old} to {others[0].new}: "
            f"version {mine.new} was not promoted, look again in a minute"
        )
    return others


def _key(record: Move) -> str:
    return f"{RECORD}{record.at:%Y-%m-%dT%H:%M:%S.%fZ}"


def _records(registered: RegisteredModel) -> list[Move]:
    return [_read(registered.name, key, registered.tags[key]) for key in sorted(registered.tags) if RECORD in key]


def _read(model: str, key: str, text: str) -> Move:
    try:
        record = Move.model_validate_json(text)
        return record.model_copy(update={"at": datetime.fromisoformat(key.removeprefix(RECORD))})
    except (ValidationError, ValueError):
        raise TrainingError(f"{model}: tag {key} is {text!r}, and no record of a move: correct or delete it") from None
