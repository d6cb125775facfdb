"""`make screenshots`: the pictures of README and docs, taken from the running product."""

import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tests.browser.pages import HEIGHT, WIDTH, Airflow, MLflow, browser_page
from tests.browser.product import ROOT, serving

IMAGES = ROOT / "docs" / "images"
GRAPH_HEIGHT, FORM_HEIGHT = 560, 980  # lower, and the little map would hide the last task
REPORT_HEIGHT = 1200
REPORTS = ("confusion_matrix.png", "roc_curve.png", "importance.png")
STILL_TRIES = 40
PUBLISH, TRAIN, MODEL = "publish_features", "train_never_married", "never_married"


def main() -> int:
    """Take every picture; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with browser_page() as page, serving(Path(folder) / "var"):
                airflow_pictures(page)
                mlflow_pictures(page)
                report_pictures(Path(os.environ["VAR_DIR"]) / "mlflow")
                report_page(page, Path(os.environ["VAR_DIR"]) / "mlflow")
        except RuntimeError as error:
            print(error, file=sys.stderr)  # noqa: T201
            return 1
    return 0


def airflow_pictures(page: Page) -> None:
    """Photograph both DAGs' runs, the form with a minimum that no model reaches, and what that skips."""
    airflow = Airflow(page)
    airflow.login()
    for dag, picture in {PUBLISH: "publish_graph", TRAIN: "train_graph"}.items():
        airflow.open_latest_run(dag)
        airflow.ended()
        graph(airflow, picture)
    airflow.open(TRAIN)
    airflow.open_form(min_accuracy=0.99)
    photograph(page, "trigger_form", FORM_HEIGHT)
    airflow.submit()
    airflow.ended()
    graph(airflow, "skipped_gate")


def graph(airflow: Airflow, picture: str) -> None:
    """Photograph the graph of the run on this page."""
    airflow.page.set_viewport_size({"width": WIDTH, "height": GRAPH_HEIGHT})
    airflow.show_graph()
    photograph(airflow.page, picture, GRAPH_HEIGHT)


def mlflow_pictures(page: Page) -> None:
    """Photograph the experiment, the run that gave version 1, and that version."""
    mlflow = MLflow(page)
    mlflow.open_experiment(MODEL)
    photograph(page, "mlflow_experiment", HEIGHT // 2)
    mlflow.open_run("asset_triggered")
    photograph(page, "mlflow_run")
    mlflow.open_version(MODEL, 1)
    photograph(page, "mlflow_registry")


def report_pictures(mlflow: Path) -> None:
    """Copy the pictures that the run logged as artifacts."""
    for name in REPORTS:
        shutil.copyfile(next(mlflow.rglob(name)), IMAGES / name)


def report_page(page: Page, mlflow: Path) -> None:
    """Photograph the first run's report from its decision down, and from its groups of persons down."""
    first = min(mlflow.rglob("report.html"), key=lambda path: path.stat().st_mtime)
    page.goto(first.as_uri())
    photograph(page, "report", REPORT_HEIGHT)
    page.get_by_role("heading", name="How well it predicts").evaluate("element => element.scrollIntoView()")
    photograph(page, "report_figures", REPORT_HEIGHT)
    page.get_by_role("heading", name="Groups of persons").evaluate("element => element.scrollIntoView()")
    photograph(page, "report_groups", REPORT_HEIGHT)


def photograph(page: Page, picture: str, height: int = HEIGHT) -> None:
    """Save a picture of the page once two in a row are the same: nothing is loading, moving or spinning.

    Raises:
        RuntimeError: the page does not come to rest.
    """
    page.set_viewport_size({"width": WIDTH, "height": height})
    before = b""
    for _ in range(STILL_TRIES):
        page.wait_for_timeout(500)
        now = page.screenshot()
        if now == before:
            break
        before = now
    else:
        raise RuntimeError(f"{picture}: the page {page.url} does not come to rest")
    colours = Image.open(io.BytesIO(now)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    colours.save(IMAGES / f"{picture}.png", optimize=True)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})


if __name__ == "__main__":
    sys.exit(main())
