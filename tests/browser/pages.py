"""The product's pages in headless chromium, opened and clicked as a person would."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from playwright.sync_api import Locator, Page, expect, sync_playwright

from local.airflow_api import password

WIDTH, HEIGHT = 1400, 900
SECONDS = 60_000  # for a page to show something, in Playwright's milliseconds
RUN_SECONDS = 300_000  # for a run to end
TASKS = {"publish_features": 7, "train_never_married": 9}
SWITCHES = (
    "--no-sandbox",  # chromium refuses to run as root with it, as in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# MLflow's choice of "Model training" over "GenAI", and its assistant closed, as a person would leave them.
MLFLOW_CHOICES = """
localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"');
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
"""


@contextmanager
def browser_page() -> Iterator[Page]:
    """Give an empty page of a new chromium.

    Raises:
        RuntimeError: there is no chromium on this machine.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise RuntimeError("no chromium on PATH: install the package chromium (Debian, Fedora) or chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=SWITCHES)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.add_init_script(MLFLOW_CHOICES)
        page.set_default_timeout(SECONDS)
        expect.set_options(timeout=SECONDS)
        yield page
        browser.close()


class Airflow:
    """Airflow's pages."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.base = f"http://127.0.0.1:{os.environ['AIRFLOW_PORT']}"
        self.tasks = 0  # of the DAG that is open

    def login(self) -> None:
        """Log in as admin through the login page."""
        self.page.goto(self.base)
        self.page.get_by_label("Username").fill("admin")
        self.page.get_by_label("Password").fill(password())
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("heading", name="Welcome").wait_for()

    def open(self, dag: str) -> None:
        """Open a DAG's page."""
        self.tasks = TASKS[dag]
        self.page.goto(f"{self.base}/dags/{dag}")
        self.page.get_by_role("heading", name=dag).wait_for()

    def open_form(self, **values: float | bool) -> None:
        """Open the form that triggers the DAG of this page, and enter values of its Params."""
        self.page.get_by_test_id("trigger-dag-button").click()
        submit = self.page.get_by_test_id("trigger-dag-submit")
        submit.wait_for()
        for name, value in values.items():
            if isinstance(value, bool):
                switch = self.page.locator(f"input[name=element_{name}]")
                if switch.is_checked() != value:
                    self.page.locator("label", has=switch).click()
            else:
                self.page.locator(f"[id='number-input:element_{name}']").get_by_role("spinbutton").fill(str(value))
        expect(submit).to_be_enabled()

    def submit(self) -> None:
        """Send the form, which leads to the new run's page."""
        self.page.get_by_test_id("trigger-dag-submit").click()
        self.page.wait_for_url(re.compile("/runs/manual"))

    def open_latest_run(self, dag: str) -> None:
        """Open the page of a DAG's latest run through the link on the DAG's page."""
        self.open(dag)
        self.page.locator(f"a[href*='/dags/{dag}/runs/']").first.click()
        self.page.wait_for_url(re.compile("/runs/"))

    def ended(self) -> dict[str, str]:
        """Wait until the run of this page has ended; return the state of each task, and of the run as ''."""
        over = self.page.get_by_test_id("state-badge").filter(has_text=re.compile("^(Success|Failed)$"))
        rows = self.page.locator("tbody tr")
        expect(rows).to_have_count(self.tasks)
        header = self.page.locator("tbody").locator("xpath=preceding::*[@data-testid='state-badge']").last
        expect(header).to_have_text(re.compile("Success|Failed"), timeout=RUN_SECONDS)
        self.page.reload()
        over.first.wait_for()
        expect(rows).to_have_count(self.tasks)
        states = {
            row.locator("a").first.inner_text(): row.get_by_test_id("state-badge").inner_text() for row in rows.all()
        }
        return states | {"": header.inner_text()}

    def show_graph(self) -> None:
        """Show the graph of this page's DAG or run, and nothing beside it."""
        self.page.get_by_role("button", name="Show Graph").click()
        self.page.get_by_role("button", name="Collapse Details Panel").click()
        self.page.locator(".react-flow__node").first.wait_for()
        self.page.get_by_role("button", name="Fit View").click()
        settled(self.page.locator(".react-flow__viewport"))


class MLflow:
    """MLflow's pages."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.base = f"http://127.0.0.1:{os.environ['MLFLOW_PORT']}"

    def open_experiment(self, name: str) -> None:
        """Open an experiment's runs from the list of experiments."""
        self.page.goto(f"{self.base}/#/experiments")
        self.page.get_by_role("link", name=name).first.click()
        self.page.get_by_role("link", name="Runs").or_(self.page.get_by_text("Training runs")).first.click()
        self.page.get_by_text(re.compile("matching runs?")).wait_for()
        self.page.locator("a[href*='/runs/']").first.wait_for()

    def open_run(self, name: str) -> None:
        """Open a run by its link on the experiment's page."""
        self.page.locator("a[href*='/runs/']", has_text=name).first.click()
        self.page.get_by_text("About this run").wait_for()
        self.page.get_by_text("Registered models").first.wait_for()

    def open_version(self, model: str, version: int) -> None:
        """Open a registered model's version."""
        self.page.goto(f"{self.base}/#/models/{quote(model)}")
        self.page.get_by_role("link", name=f"Version {version}", exact=True).click()
        self.page.get_by_role("heading", name=f"Version {version}").wait_for()
        self.page.get_by_text("feast.feature_service").wait_for()


def settled(element: Locator) -> None:
    """Wait until an element has stopped moving."""
    before = None
    while before != (before := element.bounding_box()):
        element.page.wait_for_timeout(300)
