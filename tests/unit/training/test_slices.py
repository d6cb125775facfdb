"""training/slices.py: every figure of a slice is what an independent computation finds on the slice's own rows."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.calibration import calibration_curve

from training.slices import calibration_error, slices

COUNTRIES = ["United-States", "Mexico", "Unknown"]

persons = st.lists(
    st.tuples(
        st.sampled_from(["Female", "Male"]),
        st.sampled_from(["White", "Black", "Other"]),
        st.integers(1, 5),
        st.sampled_from(COUNTRIES),
        st.sampled_from(["HS-grad", "Masters"]),
        st.booleans(),
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=80,
)


def parted(rows: list[tuple]) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    frame = pd.DataFrame(
        rows, columns=["sex", "race", "age_bin", "native_country", "education", "label", "probability"]
    )
    label, probability = frame.pop("label").to_numpy(dtype=bool), frame.pop("probability").to_numpy()
    return frame, label, probability


def group(rows: list[tuple], column: str, value: str) -> list[tuple]:
    place = {"sex": 0, "race": 1, "age_bin": 2, "country": 3, "education": 4}[column]
    country = {"United-States": "US"}
    return [row for row in rows if (country.get(row[3], "other") if column == "country" else str(row[place])) == value]


@given(persons)
@settings(max_examples=60, deadline=None)
def test_accuracy_lift_and_size_are_counted_by_hand(rows: list[tuple]):
    for found in slices(*parted(rows), minimum=10):
        mine = group(rows, found.column, found.value)
        right, yes = sum((row[6] > 0.5) == row[5] for row in mine), sum(row[5] for row in mine)
        assert found.rows == len(mine) > 0
        assert found.accuracy == right / len(mine)
        assert found.lift == pytest.approx(right / len(mine) - max(yes, len(mine) - yes) / len(mine))
        assert found.judged == (len(mine) >= 10)


@given(persons)
@settings(max_examples=60, deadline=None)
def test_the_interval_is_wilsons_formula(rows: list[tuple]):
    z = 1.959963984540054
    for found in slices(*parted(rows), minimum=1):
        n, p = found.rows, found.accuracy
        middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        wanted = ((middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n))
        assert (found.accuracy_low, found.accuracy_high) == pytest.approx(wanted, abs=1e-12)
        assert 0 <= found.accuracy_low <= p <= found.accuracy_high <= 1


@given(persons)
@settings(max_examples=60, deadline=None)
def test_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple]):
    for found in slices(*parted(rows), minimum=1):
        mine = group(rows, found.column, found.value)
        pairs = [(yes[6], no[6]) for yes in mine if yes[5] for no in mine if not no[5]]
        if pairs:
            wins = sum((yes > no) + (yes == no) / 2 for yes, no in pairs)
            assert found.roc_auc == pytest.approx(wins / len(pairs))
        else:
            assert found.roc_auc is None


@given(persons)
@settings(max_examples=60, deadline=None)
def test_the_calibration_error_is_that_of_scikit_learns_calibration_curve(rows: list[tuple]):
    _, label, probability = parted(rows)
    share, mean = calibration_curve(label, probability, n_bins=10)
    counts = np.histogram(np.searchsorted(np.arange(1, 10) / 10, probability), bins=np.arange(11))[0]
    wanted = (np.abs(share - mean) * counts[counts > 0]).sum() / len(label)
    assert calibration_error(label, probability) == pytest.approx(wanted, abs=1e-12)


@given(persons)
@settings(max_examples=30, deadline=None)
def test_the_slices_of_a_column_have_every_person_once_in_the_same_order_always(rows: list[tuple]):
    found = slices(*parted(rows), minimum=1)
    for column in ("sex", "race", "age_bin", "country", "education"):
        assert sum(one.rows for one in found if one.column == column) == len(rows)
    assert [(one.column, one.value) for one in found] == [
        (one.column, one.value) for one in slices(*parted(rows[::-1]), minimum=1)
    ]


def test_a_calibrated_forecast_has_no_error_and_a_sure_wrong_one_the_whole():
    assert calibration_error(np.array([True, False]), np.array([0.5, 0.5])) == 0
    assert calibration_error(np.array([True, False]), np.array([0.0, 1.0])) == 1
    # Two bins, each wrong by 0.25 but in opposite directions, do not make up for one another.
    assert calibration_error(np.array([True, False]), np.array([0.75, 0.25])) == 0.25


def test_of_nobody_there_is_no_slice():
    assert slices(*parted([]), minimum=1) == []
