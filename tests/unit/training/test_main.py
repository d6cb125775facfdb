"""`python -m training`: what each command prints, and one line and exit code 1 where it cannot do it."""

import pytest

from training.__main__ import main

MODEL = "never_married"


@pytest.fixture(autouse=True)
def _environment(settings, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    monkeypatch.setenv("TRAINING_WORKSPACE", str(settings.workspace))


def test_a_version_is_explained_made_again_and_taken_back_to(publisher, registered, capsys):
    """One training serves all commands: each shows what the ones before it left."""

    def said(*arguments: str) -> str:
        assert main(arguments) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    digest = registered("scheduled__1").tags["training_set.digest"]
    assert said("rollback", MODEL, "--to", "1", "--reason", "[none] better").startswith(f"{MODEL}: champion moved from")
    chain = said("lineage", f"{MODEL}@champion")
    for link in (publisher.first, "census:income_bracket", digest, "scheduled__1", f"{MODEL} 1 @champion", "better"):
        assert link in chain.replace("\n", " ")
    assert "[none] better" in said("history", MODEL)
    assert said("affected", "--feature", "age") == f"{MODEL}/1 @champion on snapshot {publisher.first}\n"
    assert said("affected", "--snapshot", "s") == "no registered version depends on s\n"
    assert said("reproduce", f"{MODEL}/1") == (
        f"{MODEL} version 1: identical, encoders and trees, fitted again on training set {digest}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lineage", "n@champion"], "there is no n@champion: give a registered NAME@ALIAS or NAME/VERSION\n"),
        (["reproduce", "n/1"], "there is no n/1: give a registered NAME@ALIAS or NAME/VERSION\n"),
        (
            ["rollback", "n", "--to", "x", "--reason", "r"],
            "there is no n/x: give a registered NAME@ALIAS or NAME/VERSION\n",
        ),
        (["history", "n"], "there is no registered model n: give one of none yet\n"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said_in_one_line(publisher, capsys, arguments: list[str], message: str):
    assert main(arguments) == 1
    assert capsys.readouterr().err.endswith(message)


def test_a_registry_that_cannot_be_reached_is_said_in_one_line(publisher, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert main(["history", MODEL]) == 1
    assert capsys.readouterr().err.startswith("no MLflow answers at http://127.0.0.1:9 (Connection refused): start it")
