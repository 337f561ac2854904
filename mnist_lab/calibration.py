"""Does the comparison keep its promises? Equal runs compared with each other, again and again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mnist_lab.estimates import (
    LEVEL,
    Array,
    ComparisonError,
    check_level,
    holm,
    mean_interval,
    paired_p,
    verdicts,
)


@dataclass(frozen=True)
class Calibration:
    """How often the comparison errs where there is nothing to find.

    Attributes:
        runs: equal runs that samples were drawn from.
        n: seeds a variant.
        comparisons: variants compared with a baseline in each sample.
        repeats: samples.
        level: the level that was promised.
        false_verdicts: share of samples with at least one "better" or "worse"; promised: at most
            `level`.
        difference_coverage: share of the intervals of a difference that contain 0; promised:
            1 - level.
        mean_coverage: share of the intervals of a mean that contain the mean; promised: 1 - level.
    """

    runs: int
    n: int
    comparisons: int
    repeats: int
    level: float
    false_verdicts: float
    difference_coverage: float
    mean_coverage: float


def calibrate(
    values: npt.ArrayLike,
    n: int,
    repeats: int = 10_000,
    comparisons: int = 1,
    level: float = LEVEL,
    rng_seed: int = 0,
) -> Calibration:
    """A/A calibration: compare equal runs with each other, again and again.

    Args:
        values: (runs,) a metric of equal runs, different only in their seeds.
        n: seeds a variant, >= 2.
        repeats: random samples, >= 1.
        comparisons: variants, >= 1, each compared with the same baseline within a sample.
        level: as for `compare`.
        rng_seed: the samples', so that two calls with equal arguments give equal results.

    Raises:
        ComparisonError: too few runs for disjoint groups, or a number out of its range.
    """
    check_level(level)
    values = np.asarray(values, dtype=np.float64)
    needed = n * (comparisons + 1)
    if min(comparisons, repeats) < 1 or n < 2:
        raise ComparisonError(
            f"n = {n}, repeats = {repeats}, comparisons = {comparisons}: n must be at least 2, "
            "the others at least 1"
        )
    if values.ndim != 1 or not np.isfinite(values).all() or values.size < needed:
        raise ComparisonError(
            f"values has shape {values.shape}; {comparisons + 1} disjoint groups of {n} need "
            f"{needed} finite values in one dimension"
        )
    rng = np.random.default_rng(rng_seed)
    groups = _groups(values, n, comparisons + 1, repeats, rng)
    differences = groups[:, 1:] - groups[:, :1]
    difference, low, high = mean_interval(differences, level)
    p = holm(paired_p(differences))
    verdict = verdicts(difference, p, np.full_like(p, np.nan), level)
    # The truth that a mean's interval is to cover must be known, and it is the mean of `values`
    # only for samples drawn with replacement: without, n of so few are closer to it than n seeds
    # are to the mean of all seeds.
    sample = rng.choice(values, size=(repeats, n))
    _, mean_low, mean_high = mean_interval(sample, level)
    return Calibration(
        runs=values.size,
        n=n,
        comparisons=comparisons,
        repeats=repeats,
        level=level,
        false_verdicts=float((verdict != "inconclusive").any(axis=-1).mean()),
        difference_coverage=float(((low <= 0) & (high >= 0)).mean()),
        mean_coverage=float(((mean_low <= values.mean()) & (values.mean() <= mean_high)).mean()),
    )


def _groups(values: Array, n: int, groups: int, repeats: int, rng: np.random.Generator) -> Array:
    """Disjoint random groups of equal runs, (repeats, groups, n), in arbitrary order as pairs.

    For a difference, drawing without replacement is right: the means of two disjoint groups vary
    less than those of fresh seeds, but are negatively correlated to just the extent that their
    difference varies as that of fresh seeds does.
    """
    shuffled = rng.permuted(np.broadcast_to(values, (repeats, values.size)), axis=1)
    return shuffled[:, : groups * n].reshape(repeats, groups, n)
