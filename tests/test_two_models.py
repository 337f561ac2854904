"""McNemar's test against published examples, tables worked by hand, and simulated models."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mnist_lab.estimates import ComparisonError
from mnist_lab.two_models import mcnemar

Answers = tuple[np.ndarray, np.ndarray, np.ndarray]


def answers(both: int, only_a: int, only_b: int, neither: int) -> Answers:
    """Answers of two models to images of class 1, with the given table."""
    counts = (both, only_a, only_b, neither)
    a, b = np.repeat([1, 1, 0, 0], counts), np.repeat([1, 0, 1, 0], counts)
    return a, b, np.ones(sum(counts), dtype=np.int64)


def test_mcnemars_test_is_exact_on_a_table_worked_by_hand() -> None:
    # One against five: p = 2 * (1 + 6) / 2^6.
    result = mcnemar(*answers(90, 1, 5, 4))
    counts = (result.both_right, result.only_a, result.only_b, result.both_wrong)
    assert counts == (90, 1, 5, 4)
    assert result.difference == pytest.approx(0.04)
    assert result.p == pytest.approx(14 / 64)


def test_mcnemars_interval_gives_the_published_example() -> None:
    # Agresti, Categorical Data Analysis, matched pairs: approval of the prime minister in two
    # surveys of 1,600 voters, difference 0.04 with standard error 0.0095.
    result = mcnemar(*answers(794, 86, 150, 570))
    assert result.difference == pytest.approx(0.04)
    assert (result.low, result.high) == pytest.approx((0.0214, 0.0586), abs=2e-4)
    assert result.p == pytest.approx(
        2 * sum(math.comb(236, k) for k in range(87)) / 2**236, rel=1e-9
    )


def test_models_that_never_differ_have_p_1_and_an_interval_around_0() -> None:
    result = mcnemar(*answers(97, 0, 0, 3))
    assert (result.difference, result.p) == (0, 1)
    assert result.low < 0 < result.high


def test_mcnemars_interval_covers_the_true_difference() -> None:
    rng = np.random.default_rng(0)
    shares = [0.975, 0.010, 0.005, 0.010]
    draws = rng.multinomial(500, shares, size=500)
    covered = 0
    for counts in draws:
        result = mcnemar(*answers(*counts))
        covered += result.low <= -0.005 <= result.high
    assert covered / len(draws) == pytest.approx(0.95, abs=0.025)


def test_answers_of_another_length_are_refused() -> None:
    a, b, labels = answers(1, 1, 1, 1)
    with pytest.raises(ComparisonError, match=r"answers_b has shape \(2,\)"):
        mcnemar(a, b[:2], labels)
    with pytest.raises(ComparisonError, match=r"answers_a has shape \(2,\)"):
        mcnemar(a[:2], b, labels)


def test_probabilities_are_no_answers() -> None:
    a, b, labels = answers(2, 2, 2, 2)
    with pytest.raises(ComparisonError, match=r"answers_a has shape \(8,\) and type float64"):
        mcnemar(a.astype(float), b, labels)
    with pytest.raises(ComparisonError, match=r"answers_b has shape \(8, 10\)"):
        mcnemar(a, np.zeros((8, 10), dtype=int), labels)
    with pytest.raises(ComparisonError, match=r"answers_a has shape \(0,\)"):
        mcnemar(a[:0], b[:0], labels[:0])
