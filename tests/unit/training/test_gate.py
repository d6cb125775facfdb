"""training/gate.py: a model passes by its accuracy and by being new; what is not a number never passes."""

import math

import pytest

from training.gate import Verdict, gate


@pytest.mark.parametrize(("accuracy", "passed"), [(0.7999999, False), (0.8, True), (0.8000001, True), (1.0, True)])
def test_the_minimum_itself_passes(accuracy: float, passed: bool):
    assert gate(accuracy, 0.8).passed is passed


def test_the_reason_gives_both_figures():
    assert gate(0.75, 0.8) == Verdict(False, "accuracy 0.7500 is below the minimum of 0.8000")
    assert gate(0.85, 0.8) == Verdict(True, "accuracy 0.8500 reaches the minimum of 0.8000")


@pytest.mark.parametrize("accuracy", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("force", [False, True])
def test_what_is_not_a_finite_number_is_refused(accuracy: float, force: bool):
    assert not gate(accuracy, 0.0, force=force).passed


def test_a_minimum_that_is_not_a_number_lets_nothing_pass():
    assert not gate(0.99, math.nan).passed


def test_the_same_recipe_on_the_same_data_is_refused_by_version():
    reason = "version 7 already has this recipe and training set; force=true registers another"
    assert gate(0.85, 0.8, "7") == Verdict(False, reason)


def test_force_registers_the_same_again():
    assert gate(0.85, 0.8, "7", force=True).passed


def test_force_does_not_lift_the_minimum():
    assert gate(0.75, 0.8, "7", force=True) == Verdict(False, "accuracy 0.7500 is below the minimum of 0.8000")
