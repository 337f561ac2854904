"""Power against G*Power's tables and simulated experiments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mnist_lab.estimates import ComparisonError, paired_p
from mnist_lab.power import detectable_difference, paired_power, seeds_needed


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_seeds_needed_agrees_with_gpower(effect: float, pairs: int) -> None:
    # G*Power 3.1: t tests, matched pairs, two tails, alpha 0.05, power 0.80.
    assert seeds_needed(effect, 1.0) == pairs
    assert seeds_needed(-effect * 0.002, 0.002) == pairs


def test_power_agrees_with_simulation() -> None:
    samples = np.random.default_rng(0).normal(0.8, 1.0, (20_000, 12))
    shown = (paired_p(samples) < 0.01).mean()
    assert paired_power(0.8, 1.0, 12, level=0.01) == pytest.approx(shown, abs=0.012)


def test_the_power_for_no_difference_is_the_level() -> None:
    assert paired_power(0.0, 1.0, 7, level=0.03) == pytest.approx(0.03)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
@pytest.mark.parametrize("level", [0.05, 0.05 / 9])
def test_the_detectable_difference_is_what_as_many_seeds_are_needed_for(
    n: int, level: float
) -> None:
    difference = detectable_difference(0.002, n, level)
    assert paired_power(difference, 0.002, n, level) == pytest.approx(0.80)
    assert seeds_needed(difference * 1.0001, 0.002, level) == n
    assert seeds_needed(difference * 0.9999, 0.002, level) == n + 1


def test_what_is_detectable_is_detected_in_80_percent_of_simulated_experiments() -> None:
    difference = detectable_difference(0.002, 8)
    samples = np.random.default_rng(0).normal(difference, 0.002, (20_000, 8))
    assert (paired_p(samples) < 0.05).mean() == pytest.approx(0.80, abs=0.01)


def test_without_spread_any_difference_is_detectable_and_two_seeds_suffice() -> None:
    assert detectable_difference(0.0, 5) == 0
    assert seeds_needed(0.001, 0.0) == 2


def test_one_pair_detects_nothing() -> None:
    assert math.isnan(detectable_difference(0.002, 1))


def test_power_of_nothing_is_refused() -> None:
    with pytest.raises(ComparisonError, match=r"difference 0\.0 at a standard deviation"):
        seeds_needed(0.0, 0.002)
    with pytest.raises(ComparisonError, match="standard deviation of nan"):
        seeds_needed(0.001, math.nan)


def test_more_seeds_than_there_are_is_said() -> None:
    with pytest.raises(ComparisonError, match="more than 1,000,000,000 seeds"):
        seeds_needed(1e-12, 0.002)
