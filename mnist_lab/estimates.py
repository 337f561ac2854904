"""Estimators and tests on plain arrays: intervals, paired tests, equivalence, Holm, verdicts.

The last axis is always the sample (for `holm`: the tests), so that the calibration judges thousands
of samples by the very code that judges one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from mnist_lab.declared import UserError

LEVEL = 0.05

Array = npt.NDArray[np.float64]


class ComparisonError(UserError, ValueError):
    """Runs or numbers that cannot be compared as asked."""


class Interval(NamedTuple):
    """An estimate and its confidence interval, each of one shape."""

    center: Array
    low: Array
    high: Array


def spread(values: Array) -> Array:
    """The standard deviation of samples (..., n); NaN for n = 1, where numpy would warn."""
    if values.shape[-1] < 2:
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(values.std(axis=-1, ddof=1))


def mean_interval(values: Array, level: float = LEVEL) -> Interval:
    """The mean of a sample and Student's t interval of it.

    Args:
        values: (..., n), n >= 1. One value has a mean and no interval (NaN).
        level: the interval covers the true mean with probability 1 - level.

    Returns:
        mean, low and high, each (...).
    """
    center = np.asarray(values.mean(axis=-1))
    half = scipy.stats.t.ppf(1 - level / 2, values.shape[-1] - 1) * _standard_error(values)
    return Interval(center, center - half, center + half)


def paired_p(differences: Array) -> Array:
    """The p of the two-sided paired t-test (Student, 1908).

    Args:
        differences: (..., n), variant - baseline, seed by seed.

    Returns:
        (...) in [0, 1]; NaN for one pair. Differences that are all the same have p 1 where they
        are zero and p 0 elsewhere.
    """
    t = _t(differences.mean(axis=-1), _standard_error(differences))
    return np.asarray(2 * scipy.stats.t.sf(np.abs(t), differences.shape[-1] - 1))


def equivalence_p(differences: Array, margin: float) -> Array:
    """The p of the two one-sided tests that the difference lies within ±margin (Schuirmann, 1987).

    Args:
        differences: (..., n), variant - baseline, seed by seed.
        margin: > 0, in the unit of the differences.

    Returns:
        (...), the larger of the two p; NaN for one pair.
    """
    center, error = differences.mean(axis=-1), _standard_error(differences)
    nearer = np.minimum(_t(center + margin, error), _t(margin - center, error))
    return np.asarray(scipy.stats.t.sf(nearer, differences.shape[-1] - 1))


def holm(p: Array) -> Array:
    """Holm's step-down correction for several tests (Holm, 1979).

    Args:
        p: (..., m). NaN, a test that could not be made, stays NaN and yet counts among the m: how
            strictly a variant is judged must not depend on whether another one failed.

    Returns:
        (..., m), corrected p in [0, 1].
    """
    filled = np.where(np.isnan(p), 1.0, p)
    order = np.argsort(filled, axis=-1)
    steps = np.take_along_axis(filled, order, axis=-1) * np.arange(p.shape[-1], 0, -1)
    steps = np.minimum(np.maximum.accumulate(steps, axis=-1), 1.0)
    corrected = np.empty_like(filled)
    np.put_along_axis(corrected, order, steps, axis=-1)
    return np.where(np.isnan(p), np.nan, corrected)


def verdicts(
    difference: Array, p: Array, p_equivalent: Array, level: float, lower_is_better: bool = False
) -> npt.NDArray[np.str_]:
    """Better or worse where the difference is significant, else equivalent, else inconclusive.

    Args:
        difference: (...), variant - baseline.
        p: (...), corrected p that there is no difference.
        p_equivalent: (...), corrected p that the difference lies outside the margin.
        level: a test passes below it; NaN passes none.
        lower_is_better: whether a negative difference is an improvement.

    Returns:
        (...), "better", "worse", "equivalent" or "inconclusive".
    """
    improved = (difference < 0) if lower_is_better else (difference > 0)
    significant = p < level
    return np.select(
        [significant & improved, significant, p_equivalent < level],
        ["better", "worse", "equivalent"],
        default="inconclusive",
    )


def check_level(level: float) -> None:
    """Refuse a level of significance outside (0, 1) by a ComparisonError."""
    if not 0 < level < 1:
        raise ComparisonError(f"level = {level}: a level lies between 0 and 1, such as {LEVEL}")


def _standard_error(values: Array) -> Array:
    return np.asarray(spread(values) / np.sqrt(values.shape[-1]))


def _t(center: Array, error: Array) -> Array:
    """Student's t, where values without spread are 0 or infinitely many errors away from 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(center == 0, np.where(np.isnan(error), np.nan, 0.0), center / error)
