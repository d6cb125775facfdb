"""One product and one logged-in browser that all tests of this folder share."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.browser.pages import Airflow, MLflow, browser_page
from tests.browser.product import serving


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Give a browser's page, while a product that has run once serves its own."""
    with browser_page() as page, serving(tmp_path_factory.mktemp("product") / "var"):
        yield page


@pytest.fixture(scope="session")
def airflow(page: Page) -> Airflow:
    """Return Airflow's pages, logged in."""
    airflow = Airflow(page)
    airflow.login()
    return airflow


@pytest.fixture
def mlflow(page: Page) -> MLflow:
    return MLflow(page)


@pytest.fixture
def feast_address(page: Page) -> str:
    return f"http://127.0.0.1:{os.environ['FEAST_UI_PORT']}"
