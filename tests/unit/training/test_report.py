"""training/report: one page that needs no other file and leaves nothing of the decision out, and a card beside it."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from training import evaluate, report, steps, tracking
from training.dataset import TrainingSet
from training.gate import decide
from training.models import never_married
from training.records import Evaluation, Opponent, Rules
from training.report import charts
from training.settings import Settings
from training.slices import slices

MODEL = "never_married"
SNAPSHOT = "20260101T000000.000000Z-0123456789abcdef"


@pytest.fixture(scope="module")
def people() -> TrainingSet:
    """Return 400 made-up persons: the young are seldom married, and some of it is chance."""
    chance = np.random.default_rng(3)
    age = chance.integers(17, 90, 400)
    texts = {
        "sex": ["Female", "Male"],
        "race": ["Black", "White"],
        "native_country": ["Mexico", "United-States"],
        "education": ["HS-grad", "Masters", "<1st & 2nd>"],
    }
    columns = {name: pd.Series(chance.choice(values, 400), dtype=object) for name, values in texts.items()}
    return TrainingSet(
        inputs=pd.DataFrame({"age": age, "sex": columns["sex"], "education": columns["education"]}),
        label=pd.Series(age + chance.normal(0, 12, 400) < 35, name=MODEL),
        slices=pd.DataFrame({**columns, "age_bin": np.digitize(age, [29, 39, 49, 59], right=True) + 1}),
        text_columns=("sex", "education"),
        digest="d" * 64,
        snapshot_id=SNAPSHOT,
        lineage={"rows": "400", "source_rows": "404"},
    )


@pytest.fixture(scope="module")
def facts(people: TrainingSet) -> report.Facts:
    """Return what a training that became champion against version 1 leaves."""
    recipe = evaluate.recipe(never_married, people)
    scores = evaluate.cross_validate(recipe, people)
    accuracy = scores.accuracy.tolist()
    theirs = [value - 0.01 for value in accuracy]
    champion = Opponent(version="1", recipe="other", training_set_digest=people.digest, accuracy=theirs)
    evaluation = Evaluation(
        run_id="r" * 32,
        recipe="0123456789abcdef",
        snapshot_id=people.snapshot_id,
        training_set_digest=people.digest,
        accuracy=accuracy,
        baselines={"majority": [0.7 + place / 1000 for place in range(15)]},
        champion=champion,
        best=None,
        slices=slices(people.slices, people.label.to_numpy(), scores.out_of_fold, minimum=130),
    )
    rules = Rules(min_accuracy=0.5)
    return report.Facts(
        entry=never_married,
        evaluation=evaluation,
        rules=rules,
        decision=decide(evaluation, rules),
        tags={"pipeline_run": "manual__1", "source": "census.csv", "mlflow.user": "nobody"},
        metrics={"accuracy": scores.mean, "grouped_accuracy": 0.8123, "holdout_accuracy": 0.8234},
        dataset=people,
        out_of_fold=scores.out_of_fold,
        fitted=evaluate.fit(recipe, people),
        version="2",
    )


def judged(facts: report.Facts, *, fitted: bool = True, **rules: object) -> report.Facts:
    """Return the same training judged by other rules; without a model and a version unless `fitted`."""
    changed = Rules(**{**facts.rules.model_dump(), **rules})
    less = {} if fitted else {"fitted": None, "version": None}
    return replace(facts, rules=changed, decision=decide(facts.evaluation, changed), **less)


class Page(HTMLParser):
    """The elements of a page in their order with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page(facts: report.Facts) -> Page:
    return Page(report.page(facts))


def test_the_page_needs_nothing_from_outside_and_runs_nothing(page: Page):
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe", "object"}
        assert not {"href", "onclick", "onload"} & set(attributes)
        assert attributes.get("src", "data:").startswith("data:")
    assert "url(" not in page.text
    assert "@import" not in page.text


def test_who_cannot_see_the_pictures_is_told_what_they_show(page: Page):
    told = [image["alt"] for image in page.all("img")]
    assert len(told) == len(set(told)) == 8
    assert all(len(words) > 20 for words in told)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("title")) >= 1
    assert len(page.all("h1")) == len(page.all("main")) == 1
    assert all(cell.get("scope") in {"col", "row", "rowgroup"} for cell in page.all("th"))
    assert all(image["role"] == "img" and image["aria-label"] for image in page.all("svg"))


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ({}, "Becomes champion"),
        ({"policy": "never"}, "Registered, does not become champion"),
        ({"min_accuracy": 0.999, "fitted": False}, "Refused, not registered"),
    ],
)
def test_the_decision_comes_first_with_every_check_and_its_reason(facts: report.Facts, rules: dict, verdict: str):
    told = judged(facts, **rules)
    text = Page(report.page(told)).text
    assert 0 < text.index(verdict) < text.index("Against champion and baselines")
    for check in told.decision.checks:
        assert f"{'✓ passed' if check.passed else '✗ failed'} {check.reason}" in text
    assert told.decision.reason in report.card(told).replace("\\", "")


def test_a_refused_training_has_a_page_without_a_fitted_model(facts: report.Facts):
    told = judged(facts, min_accuracy=0.999, fitted=False)
    page = Page(html := report.page(told))
    assert html == report.page(told)
    assert "Nothing was fitted" in page.text
    assert len(page.all("img")) == 6
    assert "python -m training reproduce" not in page.text
    assert report.card(told).startswith("# Model card: never_married (refused, not registered)\n")


def test_every_slice_is_on_the_page_and_small_ones_are_not_judged(facts: report.Facts, page: Page):
    for found in facts.evaluation.slices:
        name = found.value if found.judged else f"{found.value} (not judged)"
        assert f"{name} {found.rows} {found.accuracy:.4f}" in page.text
    assert {found.judged for found in facts.evaluation.slices} == {True, False}


def test_champion_and_baselines_stand_beside_the_model(page: Page):
    assert "champion, version 1" in page.text
    assert "+0.0100 15 of 15" in page.text
    assert "baseline: majority 0.7070" in page.text


@pytest.mark.parametrize(
    ("champion", "says"),
    [
        (None, "There was no champion to meet."),
        (
            Opponent(version="7", recipe="", training_set_digest="", accuracy=None, reason="it needs shoe_size"),
            "shoe_size",
        ),
    ],
)
def test_a_champion_that_is_missing_or_cannot_be_scored_is_said_to_be(facts, champion: Opponent | None, says: str):
    told = replace(facts, evaluation=facts.evaluation.model_copy(update={"champion": champion}))
    assert says in Page(report.page(told)).text


def test_figures_beside_the_main_one_are_shown_if_there_are_any(facts: report.Facts, page: Page):
    assert "Grouped accuracy 0.8123" in page.text
    assert "Hold-out accuracy 0.8234" in page.text
    assert "Hold-out" not in Page(report.page(replace(facts, metrics={}))).text


def test_text_from_elsewhere_is_never_markup(facts: report.Facts):
    told = replace(facts, tags={**facts.tags, "source": "<script>alert('x')</script> | *b*"})
    assert "<script" not in report.page(told)
    assert "<script>alert('x')</script> | *b*" in Page(report.page(told)).text
    assert "\\<script\\>alert('x')\\</script\\> \\| \\*b\\*" in report.card(told)
    assert "| education: \\<1st & 2nd\\> |" in report.card(told)


def test_the_card_has_every_slice_in_a_table_of_eight_columns(facts: report.Facts):
    rows = report.card(facts).split("## Groups of persons")[1].splitlines()
    table = [row.replace("\\|", "") for row in rows if row.startswith("| ")][1:]
    assert len(table) == len(facts.evaluation.slices)
    assert {row.count("|") for row in table} == {9}


def test_shap_values_add_up_to_the_answer_from_what_is_expected_of_anybody(facts: report.Facts):
    yes = facts.fitted.predict_proba(facts.dataset.inputs)[:, 1]
    anybody = np.log(yes / (1 - yes)) - charts.contributions(facts.fitted, facts.dataset.inputs).sum(axis=1)
    assert anybody == pytest.approx(anybody[0], abs=1e-9)


def test_gains_are_shares_in_the_order_of_importance(facts: report.Facts):
    shares = charts.gains(facts.fitted)
    assert set(shares) == {"age", "sex", "education"}
    assert next(iter(shares)) == "age"
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert sum(shares.values()) == pytest.approx(1)


def test_the_link_leads_to_the_report_among_the_runs_artifacts():
    assert report.link("3", "abc") == "[Report](#/experiments/3/runs/abc/artifacts/report/report.html)"


def until_report(settings: Settings, min_accuracy: float) -> tuple[str, str, str | None]:
    """Do what the tasks before the report do; return the training set's path, the run, and the version if any."""
    data = steps.training_set(settings, MODEL, "scheduled__1", None)
    path, run_id = data["path"], data["run_id"]
    steps.cross_validate(settings, MODEL, path, run_id)
    if not steps.gate(settings, run_id, {"min_accuracy": min_accuracy})["passed"]:
        return path, run_id, None
    fitted = steps.fit(settings, MODEL, path, run_id)
    return path, run_id, steps.register(settings, MODEL, run_id, fitted)


def logged(client: MlflowClient, run_id: str, tmp_path: Path) -> dict[str, str]:
    folder = Path(client.download_artifacts(run_id, "report", str(tmp_path)))
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_step_leaves_page_and_card_in_the_run_once_and_links_them(publisher, settings, tmp_path: Path):
    path, run_id, version = until_report(settings, min_accuracy=0.5)
    client = tracking.connect(settings)
    for _ in range(2):
        steps.report(settings, MODEL, path, run_id, version)
    found, run = logged(client, run_id, tmp_path), client.get_run(run_id)
    assert set(found) == {"report.html", "model_card.md"}
    page = Page(found["report.html"])
    assert "never_married, version 1 " in page.text
    assert f"Grouped accuracy {run.data.metrics['grouped_accuracy']:.4f}" in page.text
    assert len(page.all("img")) == 8
    pictures = {file.path for file in client.list_artifacts(run_id)} - {"evaluation", "report"}
    assert pictures == {"confusion_matrix.png", "roc_curve.png", "importance.png"}
    assert len(client.get_metric_history(run_id, "grouped_accuracy")) == 1
    link, reason = report.link(run.info.experiment_id, run_id), run.data.tags["gate.reason"]
    assert client.get_model_version(MODEL, version).description == f"{reason}\n\n{link}"


def test_the_step_reports_a_refused_run_too_and_leaves_its_status(publisher, settings, tmp_path: Path):
    path, run_id, version = until_report(settings, min_accuracy=0.999)
    steps.report(settings, MODEL, path, run_id, version)
    client = tracking.connect(settings)
    pictures = {file.path for file in client.list_artifacts(run_id)} - {"evaluation", "report"}
    assert pictures == {"confusion_matrix.png", "roc_curve.png"}
    assert "Refused, not registered" in Page(logged(client, run_id, tmp_path)["report.html"]).text
    assert client.get_run(run_id).info.status == "FINISHED"
