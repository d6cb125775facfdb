"""training/gate.py: every rule of the decision, and its test against another way to compute it."""

import math
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError
from scipy import integrate

from training.gate import compare, decide
from training.records import Evaluation, Opponent, Rules, Slice

RNG = np.random.default_rng(1)
NOISE = RNG.normal(0, 0.001, 15)
OURS = [0.85 + float(x) for x in RNG.normal(0, 0.003, 15)]


def shifted(by: float) -> list[float]:
    """Return the accuracies of a recipe that is better than ours by `by` on average, more here and less there."""
    noise = NOISE - NOISE.mean()
    return [a + by + float(x) for a, x in zip(OURS, noise, strict=True)]


def slice_(column: str, value: str, *, accuracy: float, lift: float, judged: bool = True) -> Slice:
    interval = {"accuracy_low": accuracy - 0.01, "accuracy_high": accuracy + 0.01}
    figures = {"rows": 500, "accuracy": accuracy, "lift": lift, "roc_auc": 0.9, "calibration_error": 0.01}
    return Slice(column=column, value=value, judged=judged, **figures, **interval)


def opponent(accuracy: list[float] | None, recipe: str = "other", digest: str = "d", reason: str = "") -> Opponent:
    return Opponent(version="3", recipe=recipe, training_set_digest=digest, accuracy=accuracy, reason=reason)


def evaluation(**changes: Any) -> Evaluation:
    facts = {
        "run_id": "run",
        "recipe": "ours",
        "snapshot_id": "s",
        "training_set_digest": "d",
        "accuracy": OURS,
        "baselines": {"majority": [0.67] * 15, "one tree": shifted(-0.01)},
        "champion": None,
        "best": None,
        "slices": [],
    }
    return Evaluation(**{**facts, **changes})


def test_a_first_model_that_beats_the_baselines_becomes_champion():
    decision = decide(evaluation(), Rules())
    assert (decision.passed, decision.promote, decision.champion_met) == (True, True, "none")
    assert decision.gate_reason == f"accuracy {np.mean(OURS):.4f} reaches the minimum of 0.8000"
    assert decision.reason.startswith("beats the best baseline, one tree with 0.8")
    assert decision.reason.endswith("; there was no champion")


@pytest.mark.parametrize("minimum", [0.9, 1.0])
def test_below_the_minimum_nothing_is_registered(minimum: float):
    decision = decide(evaluation(), Rules(min_accuracy=minimum))
    assert (decision.passed, decision.promote) == (False, False)
    assert (
        decision.reason == decision.gate_reason == f"accuracy {np.mean(OURS):.4f} is below the minimum of {minimum:.4f}"
    )
    assert [check.name for check in decision.checks] == ["accuracy", "new"]


def test_a_score_too_few_does_not_pass():
    assert not decide(evaluation(accuracy=OURS[:14]), Rules()).passed


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_no_evaluation(value: float):
    with pytest.raises(ValidationError):
        evaluation(accuracy=[*OURS[:14], value])
    with pytest.raises(ValidationError):
        Rules(min_accuracy=value)


def test_a_missing_comparison_is_no_evaluation():
    with pytest.raises(ValidationError):
        evaluation(baselines={})


def test_what_the_champion_already_is_is_registered_with_force_alone():
    same = evaluation(champion=opponent(OURS, recipe="ours"))
    refused, forced = decide(same, Rules()), decide(same, Rules(force=True))
    assert refused.reason == "version 3 already has this recipe and training set; force=true registers another"
    assert not refused.passed
    assert (forced.passed, forced.promote) == (True, True)
    assert "refresh: version 3 has the same recipe" in forced.reason


@pytest.mark.parametrize("policy", ["not_worse", "better", "always"])
def test_a_model_that_no_baseline_is_beaten_by_is_not_promoted(policy: str):
    decision = decide(evaluation(baselines={"one tree": shifted(-0.0001)}), Rules(policy=policy))
    assert (decision.passed, decision.promote) == (True, False)
    assert decision.reason.startswith("does not significantly beat the best baseline, one tree")


@pytest.mark.parametrize(
    ("champion", "policy", "promote", "reason"),
    [
        (shifted(-0.01), "not_worse", True, "not worse by 0.002 than champion version 3: +0.0100 (p = "),
        (shifted(0.0005), "not_worse", True, "not worse by 0.002 than champion version 3: -0.0005 (p = "),
        (shifted(0.002), "not_worse", False, "not shown to be not worse by 0.002 than champion version 3: -0.0020"),
        (shifted(0.01), "not_worse", False, "not shown to be not worse by 0.002 than champion version 3: -0.0100"),
        (OURS, "not_worse", True, "refresh: equal to champion version 3 in every fold"),
        (None, "not_worse", False, "cannot be compared with champion version 3: gone"),
        (shifted(-0.01), "better", True, "better than champion version 3: +0.0100 (p = "),
        (shifted(-0.0001), "better", False, "not shown to be better than champion version 3: +0.0001 (p = "),
        (OURS, "better", False, "not shown to be better than champion version 3: +0.0000 (p = 1)"),
        (shifted(0.1), "always", True, "policy always: the champion is not asked"),
        (None, "always", True, "policy always: the champion is not asked"),
        (shifted(-0.1), "never", False, "policy never: no version becomes champion by itself"),
    ],
)
def test_the_champion_is_met_as_the_policy_says(champion: list[float] | None, policy: str, promote: bool, reason: str):
    decision = decide(evaluation(champion=opponent(champion, reason="gone")), Rules(policy=policy))
    assert (decision.passed, decision.promote, decision.champion_met) == (True, promote, "3")
    assert reason in decision.reason


@pytest.mark.parametrize(("constant", "promote"), [(0.0019, True), (0.0021, False)])
def test_without_variance_the_difference_alone_decides(constant: float, promote: bool):
    champion = opponent([a + constant for a in OURS])
    assert decide(evaluation(champion=champion), Rules()).promote == promote


def test_small_losses_do_not_add_up_to_a_large_one():
    """The champion is met within the margin, the best that was ever recorded on this training set is not."""
    met = {"champion": opponent(shifted(0.0005)), "best": opponent(shifted(0.004))}
    decision = decide(evaluation(**met), Rules())
    assert not decision.promote
    assert decision.reason.startswith("not shown to be not worse by 0.002 than the best on this training set: -0.0040")
    assert decide(evaluation(**{**met, "best": opponent(shifted(0.0004))}), Rules()).promote


@pytest.mark.parametrize(
    ("rules", "promote", "reason"),
    [
        ({"worst_lift": -0.02}, True, "worst lift -0.0100, of race Other; at least -0.0200 wanted"),
        ({"worst_lift": 0.0}, False, "worst lift -0.0100, of race Other; at least +0.0000 wanted"),
        ({"largest_gap": 0.11}, True, "largest gap in accuracy 0.1000, by race; at most 0.1100 wanted"),
        ({"largest_gap": 0.05}, False, "largest gap in accuracy 0.1000, by race; at most 0.0500 wanted"),
    ],
)
def test_slices_block_where_asked_to_and_small_ones_never(rules: dict[str, float], promote: bool, reason: str):
    slices = [
        slice_("race", "White", accuracy=0.9, lift=0.2),
        slice_("race", "Other", accuracy=0.8, lift=-0.01),
        slice_("sex", "Female", accuracy=0.7, lift=0.1),
        slice_("race", "Rare", accuracy=0.1, lift=-0.5, judged=False),
    ]
    found = evaluation(slices=slices)
    assert decide(found, Rules()).promote
    decision = decide(found, Rules(**rules))
    assert decision.promote == promote
    assert reason in decision.reason


def test_a_threshold_with_no_slice_to_judge_blocks():
    small = [slice_("race", "Rare", accuracy=0.1, lift=-0.5, judged=False)]
    decision = decide(evaluation(slices=small), Rules(worst_lift=0.0))
    assert not decision.promote
    assert decision.reason == "worst_lift is set, and no slice is large enough to judge"


def test_a_decision_made_again_from_its_records_is_the_same():
    found, rules = evaluation(champion=opponent(shifted(0.0005)), best=opponent(shifted(0.001))), Rules(worst_lift=-1)
    again = Evaluation.model_validate_json(found.model_dump_json()), Rules.model_validate_json(rules.model_dump_json())
    assert decide(*again) == decide(found, rules)


accuracies = st.lists(st.floats(0.5, 1.0), min_size=15, max_size=15)


@given(ours=accuracies, theirs=accuracies, margin=st.sampled_from([0.0, 0.002]))
def test_the_p_value_equals_the_one_by_hand(ours: list[float], theirs: list[float], margin: float):
    """Nadeau & Bengio's variance, and the tail of t with 14 degrees of freedom as an integral of its density."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    variance = statistics.variance(differences)
    mean, p_value = compare(ours, theirs, margin)
    assert mean == pytest.approx(statistics.fmean(differences), abs=1e-12)
    if variance < 1e-16:
        return
    t = (statistics.fmean(differences) + margin) / math.sqrt((1 / 15 + 0.25) * variance)
    constant = math.gamma(7.5) / (math.sqrt(14 * math.pi) * math.gamma(7))
    tail, _ = integrate.quad(lambda x: constant * (1 + x * x / 14) ** -7.5, t, math.inf, epsabs=1e-10, limit=200)
    assert p_value == pytest.approx(tail, abs=1e-6)


@given(ours=accuracies, theirs=accuracies)
def test_never_both_better_than_the_other(ours: list[float], theirs: list[float]):
    assert compare(ours, theirs)[1] + compare(theirs, ours)[1] >= 0.999


def test_scores_of_other_folds_are_not_compared():
    with pytest.raises(ValueError, match="14 and 15 scores to compare, 15 folds"):
        compare(OURS[:14], OURS)
