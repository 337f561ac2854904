"""The estimators against published examples and numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mnist_lab.estimates import equivalence_p, holm, mean_interval, paired_p, verdicts
from tests.samples import noise

# Hours of sleep gained by ten patients with two drugs: Student (1908), "The probable error of a
# mean". R's t.test(paired = TRUE) on them gives t = -4.0621, df = 9, p-value = 0.002833 and a
# 95 percent confidence interval of -2.4598858 to -0.7001142.
SLEEP_1 = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
SLEEP_2 = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


def test_the_paired_test_and_interval_give_the_published_numbers_on_students_sleep_data() -> None:
    difference, low, high = mean_interval(SLEEP_1 - SLEEP_2)
    assert difference == pytest.approx(-1.58)
    assert (low, high) == pytest.approx((-2.4598858, -0.7001142), abs=1e-7)
    assert paired_p(SLEEP_1 - SLEEP_2) == pytest.approx(0.002833, abs=5e-7)


def test_the_interval_of_a_mean_uses_students_t() -> None:
    # mean 3, sd sqrt(2.5), t(0.975, 4 df) = 2.776445 (any table of t)
    mean, low, high = mean_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    half = 2.776445 * math.sqrt(2.5 / 5)
    assert (mean, low, high) == pytest.approx((3, 3 - half, 3 + half), abs=1e-5)


def test_one_value_has_a_mean_and_no_interval() -> None:
    mean, low, high = mean_interval(np.array([0.98]))
    assert mean == 0.98
    assert np.isnan([low, high]).all()


def test_holms_correction_gives_the_published_example() -> None:
    # The example in Wikipedia's "Holm-Bonferroni method", in its order.
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holms_correction_never_exceeds_one_and_works_along_the_last_axis() -> None:
    p = np.array([[0.6, 0.7], [0.001, 0.5]])
    assert holm(p) == pytest.approx(np.array([[1.0, 1.0], [0.002, 0.5]]))


def test_a_test_that_could_not_be_made_counts_among_the_tests() -> None:
    corrected = holm(np.array([0.02, np.nan, 0.03]))
    assert corrected[[0, 2]] == pytest.approx([0.06, 0.06])
    assert np.isnan(corrected[1])


def test_equivalence_is_two_one_sided_tests() -> None:
    a, b = noise(1, 2, 12)
    lower = stats.ttest_1samp(a - b, -0.003, alternative="greater").pvalue
    upper = stats.ttest_1samp(a - b, 0.003, alternative="less").pvalue
    assert equivalence_p(a - b, 0.003) == pytest.approx(max(lower, upper))


@pytest.mark.parametrize("shift", [-0.0025, -0.001, 0.0, 0.001, 0.0025])
def test_equivalence_holds_exactly_where_the_90_percent_interval_lies_within_the_margin(
    shift: float,
) -> None:
    a, b = noise(1, 2, 30)
    differences = a - b - (a - b).mean() + shift
    _, low, high = mean_interval(differences, level=0.10)
    assert (equivalence_p(differences, 0.002) < 0.05) == (low > -0.002 and high < 0.002)


def test_a_verdict_needs_significance_and_knows_its_direction() -> None:
    difference = np.array([0.002, -0.002, 0.0001, 0.002, np.nan])
    p = np.array([0.01, 0.01, 0.3, 0.3, np.nan])
    near = np.array([0.9, 0.9, 0.01, 0.9, np.nan])
    expected = ["better", "worse", "equivalent", "inconclusive", "inconclusive"]
    assert list(verdicts(difference, p, near, 0.05)) == expected
    expected[:2] = ["worse", "better"]
    assert list(verdicts(difference, p, near, 0.05, lower_is_better=True)) == expected
