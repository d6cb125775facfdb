"""The product as a person sees it: what the pages offer, and what comes of clicking it."""

import re
import shutil

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import Airflow, MLflow, browser_page

pytestmark = pytest.mark.timeout(900)  # the first test starts the product: a demo, then `make up`


def test_the_published_features_are_a_run_in_which_every_task_succeeded(airflow: Airflow):
    airflow.open_latest_run("publish_features")
    assert airflow.ended() == dict.fromkeys(
        ["", "extract", "clean", "validate", "publish", "materialize", "verify", "prune"], "Success"
    )


def test_a_minimum_of_99_percent_entered_in_the_form_skips_what_the_gate_guards(airflow: Airflow):
    airflow.open("train_never_married")
    airflow.open_form(min_accuracy=0.99)
    airflow.submit()
    done = dict.fromkeys(["", "training_set", "cross_validate", "gate", "report"], "Success")
    assert airflow.ended() == done | dict.fromkeys(
        ["fit", "register", "needs_approval", "approval", "promote"], "Skipped"
    )


def test_force_switched_on_in_the_form_registers_a_new_champion(airflow: Airflow, mlflow: MLflow, page: Page):
    airflow.open("train_never_married")
    airflow.open_form(min_accuracy=0.5, force=True)
    airflow.submit()
    states = airflow.ended()
    assert states.pop("approval") == "Skipped"
    assert set(states.values()) == {"Success"}
    mlflow.open_version("never_married", 2)
    expect(page.get_by_text(re.compile(r"^\W*champion$")).first).to_be_visible()
    for name, value in {"feast.feature_view": "census", "min_accuracy": "0.5", "gate": "passed"}.items():
        expect(page.get_by_role("row").filter(has_text=name).filter(has_text=value).first).to_be_attached()


def test_a_versions_description_leads_to_its_report(mlflow: MLflow, page: Page):
    mlflow.open_version("never_married", 1)
    with page.expect_popup() as popup:
        page.get_by_role("link", name="Report").click()
    heading = popup.value.frame_locator("iframe").get_by_role("heading", name="never_married, version 1")
    expect(heading).to_be_visible()
    popup.value.close()


def test_every_dag_says_on_its_page_what_it_is(airflow: Airflow, page: Page):
    for dag, says in {"publish_features": "No backfill", "train_never_married": "marital_status"}.items():
        airflow.open(dag)
        page.get_by_role("button", name="Dag Docs").click()
        expect(page.get_by_role("dialog")).to_contain_text(says)
        page.keyboard.press("Escape")


def test_feast_shows_the_project_and_its_snapshot(airflow: Airflow, page: Page, feast_address: str):
    page.goto(feast_address)
    expect(page.get_by_role("heading", name="Project: Census")).to_be_visible()
    expect(page.get_by_text(re.compile(r"Datasets \(\d+\)"))).to_be_visible()


def test_a_machine_without_chromium_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", {}.get)
    with pytest.raises(RuntimeError, match="install the package chromium"), browser_page():
        pass
