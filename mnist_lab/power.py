"""What a paired t-test can show: with how many seeds which difference, by noncentral t."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import scipy

from mnist_lab.estimates import LEVEL, ComparisonError

POWER = 0.80  # the probability that a difference is shown, wherever one is promised
_MOST_SEEDS = 1_000_000_000


def paired_power(difference: float, sd: float, n: int, level: float = LEVEL) -> float:
    """The probability that the two-sided paired t-test shows a difference.

    Args:
        difference: the true mean difference.
        sd: standard deviation of a paired difference, > 0.
        n: pairs, >= 2.
        level: of the test.
    """
    critical = scipy.stats.t.ppf(1 - level / 2, n - 1)
    noncentrality = abs(difference) / sd * np.sqrt(n)
    above = scipy.stats.nct.sf(critical, n - 1, noncentrality)
    # The lower tail, mirrored: scipy's own lower tail is NaN for large noncentrality.
    return float(above + scipy.stats.nct.sf(critical, n - 1, -noncentrality))


def detectable_difference(sd: float, n: int, level: float = LEVEL) -> float:
    """The smallest true difference that n pairs show with 80% power, in the unit of `sd`.

    It rests on the spread and on n, not on the difference that was found: what a design could have
    shown is a fact of the design.

    Args:
        sd: standard deviation of a paired difference, >= 0.
        n: pairs; fewer than two show nothing (NaN).
        level: of the test.
    """
    if n < 2:
        return float("nan")
    high = 1.0
    while paired_power(high, 1.0, n, level) < POWER:
        high *= 2
    return sd * float(
        scipy.optimize.brentq(lambda d: paired_power(d, 1.0, n, level) - POWER, 0.0, high)
    )


def seeds_needed(difference: float, sd: float, level: float = LEVEL) -> int:
    """The smallest number of pairs, at least 2, that shows a true difference with 80% power.

    Args:
        difference: not 0; its sign does not matter.
        sd: standard deviation of a paired difference, >= 0.
        level: of the test.

    Raises:
        ComparisonError: a difference or a spread for which there is no such number.
    """
    if not abs(difference) > 0 or not 0 <= sd < np.inf:
        raise ComparisonError(
            f"difference {difference} at a standard deviation of {sd}: no number of seeds shows "
            "it; give a difference other than 0 and a standard deviation of at least 0"
        )
    if sd == 0:
        return 2

    def power(n: int) -> float:
        return paired_power(difference, sd, n, level)

    enough = 2
    while power(enough) < POWER:
        enough *= 2
        if enough > _MOST_SEEDS:
            raise ComparisonError(
                f"difference {difference:g} at a standard deviation of {sd:.3g}: more than "
                f"{_MOST_SEEDS:,} seeds would be needed to show it"
            )
    return bisect_left(range(enough), POWER, lo=2, key=power)  # power grows with n
