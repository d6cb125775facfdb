"""Where alias `champion` points; each move leaves a record of who, when and why in the registered model's tags."""

import random
import time
from datetime import UTC, datetime, timedelta

from mlflow import MlflowClient
from mlflow.entities.model_registry import RegisteredModel
from pydantic import BaseModel, ConfigDict, ValidationError

from training.errors import TrainingError

CHAMPION = "champion"
NOWHERE = "none"
RECORD = "champion.move."
DEAD_AFTER = 10.0  # seconds; a record of a move at work stands for two calls, seconds at most on a busy server


class Move(BaseModel):
    """From which version to which, by whom and why; `happened` is what the alias says of it since.

    Of a move by hand nobody knows when it was.
    """

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
    """Point the alias to `version`, in one last call, if it points to `expected`; if it is there already, do nothing.

    MLflow has no call that compares and sets. So each move first writes a record, and then reads: of two at once at
    least one sees the other's record, withdraws its own and looks again a moment later. So a record that we see stand
    for `DEAD_AFTER` is of a process that was killed, however long we ourselves have tried. Only one that stands still
    for so long can overwrite another's move, or a hand.

    Raises:
        TrainingError: the alias points elsewhere.
    """
    seen: dict[datetime | None, float] = {}
    while not moved(client, model, version, expected=expected):
        key = _write(client, model, Move(old=expected, new=version, by=by, why=why))
        registered = client.get_registered_model(model)
        now = time.monotonic()
        seen = {rival.at: seen.get(rival.at, now) for rival in _rivals(registered, expected, version)}
        if _points_to(registered) == expected and all(now - since > DEAD_AFTER for since in seen.values()):
            client.set_registered_model_alias(model, CHAMPION, version)
            return
        client.delete_registered_model_tag(model, key)
        time.sleep(random.uniform(0.02, 0.2))  # noqa: S311  so that two do not meet again and again


def _write(client: MlflowClient, model: str, record: Move) -> str:
    """Leave a record in the registered model's tags; return the tag's name."""
    # Later than the last one by any clock: the records' order is the moves'.
    last = [at + timedelta(microseconds=1) for at, _ in _records(client.get_registered_model(model))]
    key = f"{RECORD}{max([datetime.now(UTC), *last]):%Y-%m-%dT%H:%M:%S.%fZ}"
    client.set_registered_model_tag(model, key, record.model_dump_json(exclude={"at", "happened"}))
    return key


def _rivals(registered: RegisteredModel, place: str, version: str) -> list[Move]:
    """Return the moves from where the alias is to other versions that were recorded since it came there."""
    records = [record for _, record in _records(registered)]
    arrived = max((i for i, record in enumerate(records) if record.new == place), default=-1)
    return [record for record in records[arrived + 1 :] if record.old == place and record.new != version]


def history(client: MlflowClient, model: str) -> list[Move]:
    """Return all moves, the oldest first: those recorded, and between them those that somebody made by hand.

    A record whose move did not happen is that of a process which was killed before its last call.

    Raises:
        TrainingError: a record was edited and cannot be read.
    """
    registered = client.get_registered_model(model)
    records = [record for _, record in _records(registered)]
    places = [*(record.old for record in records), _points_to(registered)]
    moves, place = [], NOWHERE
    for record, then in zip(records, places[1:], strict=True):
        moves += _by_hand(place, record.old)
        happened = then != record.old
        moves.append(record.model_copy(update={"happened": happened}))
        place = record.new if happened else record.old
    return [*moves, *_by_hand(place, places[-1])]


def _by_hand(old: str, new: str) -> list[Move]:
    return [Move(old=old, new=new, by="unknown", why="moved by hand, without a record")] if old != new else []


def _points_to(registered: RegisteredModel) -> str:
    return str(registered.aliases.get(CHAMPION, NOWHERE))


def _check(registered: RegisteredModel, version: str, expected: str) -> None:
    if (now := _points_to(registered)) != expected:
        raise TrainingError(
            f"{registered.name}: the champion is version {now} now, and was {expected} when version {version} was "
            "chosen: look again"
        )


def _records(registered: RegisteredModel) -> list[tuple[datetime, Move]]:
    return [_read(registered.name, key, registered.tags[key]) for key in sorted(registered.tags) if RECORD in key]


def _read(model: str, key: str, text: str) -> tuple[datetime, Move]:
    try:
        at = datetime.fromisoformat(key.removeprefix(RECORD))
        return at, Move.model_validate_json(text).model_copy(update={"at": at})
    except (ValidationError, ValueError):
        raise TrainingError(f"{model}: tag {key} is {text!r}, and no record of a move: correct or delete it") from None
