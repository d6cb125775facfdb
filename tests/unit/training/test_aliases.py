"""training/aliases.py: the alias moves once, from where it was seen, and its moves are told."""

import multiprocessing
import re
import time
from multiprocessing.synchronize import Barrier

import pytest
from mlflow import MlflowClient

from training import aliases, tracking
from training.errors import TrainingError

MODEL = "never_married"


@pytest.fixture
def client(settings) -> MlflowClient:
    """Return a client of a registry with four versions of a model, and no champion."""
    client = tracking.connect(settings)
    client.create_registered_model(MODEL)
    for _ in range(4):
        client.create_model_version(MODEL, "s3://nowhere/model")
    return client


def move(client: MlflowClient, version: str, expected: str, by: str = "test", why: str = "why not") -> None:
    aliases.move(client, MODEL, version, expected=expected, by=by, why=why)


def told(client: MlflowClient) -> list[tuple[str, str, str, bool]]:
    return [(move.old, move.new, move.by, move.happened) for move in aliases.history(client, MODEL)]


def recorded(client: MlflowClient) -> list[str]:
    return [name for name in client.get_registered_model(MODEL).tags if name.startswith(aliases.RECORD)]


def killed_before_the_last_call(client: MlflowClient, version: str, expected: str) -> None:
    """Leave what a move leaves that is killed when all is done but its last call."""
    client.set_registered_model_alias = lambda *_: 1 / 0
    try:
        with pytest.raises(ZeroDivisionError):
            move(client, version, expected, by="killed")
    finally:
        del client.set_registered_model_alias


def test_moves_are_told_in_order_with_who_when_and_why(client: MlflowClient):
    assert (aliases.champion(client, MODEL), aliases.history(client, MODEL)) == ("none", [])
    move(client, "1", "none", by="train", why="there was no champion")
    move(client, "3", "1", by="Ada", why="it is “better”\nby far")
    move(client, "1", "3", by="Grace", why="it was not")
    assert aliases.champion(client, MODEL) == "1"
    history = aliases.history(client, MODEL)
    assert [(m.old, m.new, m.by, m.why, m.happened) for m in history] == [
        ("none", "1", "train", "there was no champion", True),
        ("1", "3", "Ada", "it is “better”\nby far", True),
        ("3", "1", "Grace", "it was not", True),
    ]
    instants = [m.at for m in history]
    assert all(instants)
    assert instants == sorted(instants)


def test_a_retry_moves_and_records_nothing(client: MlflowClient):
    for expected in ("none", "none", "7"):
        move(client, "1", expected)
    assert told(client) == [("none", "1", "test", True)]


def test_an_alias_that_points_elsewhere_is_left_there(client: MlflowClient):
    move(client, "2", "none")
    message = "the champion is version 2 now, and was 1 when version 3 was chosen: look again"
    with pytest.raises(TrainingError, match=f"^{MODEL}: {message}$"):
        move(client, "3", "1")
    with pytest.raises(TrainingError, match="the champion is version 2 now, and was none"):
        move(client, "3", "none")
    client.delete_registered_model_alias(MODEL, "champion")
    with pytest.raises(TrainingError, match="the champion is version none now, and was 2"):
        move(client, "3", "2")
    assert aliases.champion(client, MODEL) == "none"
    assert len(recorded(client)) == 1


def test_an_alias_that_moves_while_the_record_is_written_is_left_there(client: MlflowClient):
    def moved_meanwhile(*tag: str) -> None:
        MlflowClient.set_registered_model_tag(client, *tag)
        client.set_registered_model_alias(MODEL, "champion", "4")

    client.set_registered_model_tag = moved_meanwhile
    with pytest.raises(TrainingError, match="the champion is version 4 now, and was none when version 1"):
        move(client, "1", "none")
    assert (aliases.champion(client, MODEL), recorded(client)) == ("4", [])


def test_a_move_that_was_killed_is_told_as_such_and_hinders_nobody(client: MlflowClient, monkeypatch):
    monkeypatch.setattr(aliases, "DEAD_AFTER", 0.5)
    move(client, "1", "none")
    killed_before_the_last_call(client, "2", "1")
    assert told(client) == [("none", "1", "test", True), ("1", "2", "killed", False)]
    move(client, "2", "1")
    killed_before_the_last_call(client, "4", "2")
    move(client, "3", "2")
    assert told(client)[1:] == [
        ("1", "2", "killed", False),
        ("1", "2", "test", True),
        ("2", "4", "killed", False),
        ("2", "3", "test", True),
    ]


def test_a_rival_at_work_is_not_taken_for_a_killed_one_however_long_it_tries(client: MlflowClient, monkeypatch):
    monkeypatch.setattr(aliases, "DEAD_AFTER", 0.2)
    move(client, "1", "none")
    gives_up, rival, its_records = time.monotonic() + 1, MlflowClient(client.tracking_uri), []

    def beside_the_rival(*tag: str) -> None:
        """Let the rival withdraw its record and write another, as one does that tries again, whenever we write ours."""
        MlflowClient.set_registered_model_tag(client, *tag)
        while its_records:
            rival.delete_registered_model_tag(MODEL, its_records.pop())
        if time.monotonic() < gives_up:
            its_records.append(aliases._write(rival, MODEL, aliases.Move(old="1", new="3", by="rival", why="it is")))

    client.set_registered_model_tag = beside_the_rival
    move(client, "2", "1")
    assert time.monotonic() >= gives_up
    assert aliases.champion(client, MODEL) == "2"


def test_a_place_may_be_left_for_another_each_time(client: MlflowClient):
    for old, new in [("none", "1"), ("1", "2"), ("2", "1"), ("1", "3"), ("3", "1"), ("1", "2")]:
        move(client, new, old)
    assert [happened for *_, happened in told(client)] == [True] * 6


def test_moves_by_hand_are_told_too(client: MlflowClient):
    client.set_registered_model_alias(MODEL, "champion", "4")
    move(client, "1", "4")
    client.set_registered_model_alias(MODEL, "champion", "2")
    move(client, "3", "2")
    client.delete_model_version(MODEL, "3")
    assert told(client) == [
        ("none", "4", "unknown", True),
        ("4", "1", "test", True),
        ("1", "2", "unknown", True),
        ("2", "3", "test", True),
        ("3", "none", "unknown", True),
    ]


def test_records_keep_their_order_though_a_clock_is_behind(client: MlflowClient):
    future = aliases.RECORD + "2999-01-01T00:00:00.000000Z"
    client.set_registered_model_tag(MODEL, future, '{"old": "none", "new": "1", "by": "another clock", "why": ""}')
    client.set_registered_model_alias(MODEL, "champion", "1")
    move(client, "2", "1")
    assert told(client) == [("none", "1", "another clock", True), ("1", "2", "test", True)]


@pytest.mark.parametrize("text", ["", "{}", "moved", '{"old": "1", "new": "2", "by": "me", "why": "", "more": 1}'])
def test_a_record_edited_by_hand_is_shown_and_stops_moves(client: MlflowClient, text: str):
    key = aliases.RECORD + "2026-01-01T00:00:00.000000Z"
    client.set_registered_model_tag(MODEL, key, text)
    message = (
        f"^{MODEL}: tag {re.escape(key)} is {re.escape(repr(text))}, and no record of a move: correct or delete it$"
    )
    with pytest.raises(TrainingError, match=message):
        aliases.history(client, MODEL)
    with pytest.raises(TrainingError, match=message):
        move(client, "1", "none")
    assert aliases.champion(client, MODEL) == "none"


def contend(uri: str, version: str, together: Barrier, outcomes) -> None:
    """Move to `version` at the instant at which another process moves to its own, and so again; put what came of it."""
    client = MlflowClient(uri)
    for _ in range(3):
        together.wait()
        try:
            move(client, version, "3")
            outcomes.put(version)
        except TrainingError as error:
            outcomes.put(str(error))
        together.wait()
        if aliases.champion(client, MODEL) == version:
            move(client, "3", version)


def test_of_two_processes_at_once_exactly_one_moves_the_alias(client: MlflowClient, settings):
    move(client, "3", "none")
    spawn = multiprocessing.get_context("spawn")
    together, outcomes = spawn.Barrier(2), spawn.SimpleQueue()
    contenders = [spawn.Process(target=contend, args=(settings.tracking_uri, v, together, outcomes)) for v in "12"]
    for process in contenders:
        process.start()
    for process in contenders:
        process.join()
    found = [outcomes.get() for process in contenders for _ in range(3) if process.exitcode == 0]
    losers = [text for text in found if text not in {"1", "2"}]
    assert len(found) == 6
    assert len(losers) == 3
    assert all(
        re.search(r"the champion is version [12] now, and was \d when version [12] was", text) for text in losers
    )
    assert aliases.champion(client, MODEL) == "3"
