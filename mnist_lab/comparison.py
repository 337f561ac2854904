"""Does it help? From a table of runs to a table of differences, intervals and verdicts.

Knows nothing of training, storage or screens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable

import numpy as np
import pandas as pd

from mnist_lab.estimates import (
    LEVEL,
    ComparisonError,
    check_level,
    equivalence_p,
    holm,
    mean_interval,
    paired_p,
    spread,
    verdicts,
)
from mnist_lab.pairing import left_out, samples_by_seed
from mnist_lab.power import POWER, detectable_difference

# The size of the test set: effects in accuracy are also told as images of so many.
IMAGES = 10_000

# Accuracies that certainly differ by less are called equivalent: 10 test images of 10,000, the
# 0.1% to which tables of MNIST results give error rates, fixed before any variant was compared.
# Ten is strict. Trainings of the baseline differ by a standard deviation of 16 images from seed to
# seed (experiments/results/seeds.csv), so that 80% power to call a variant without any effect
# equivalent takes some 45 seeds; a margin of 20 takes 13. But a default must not grant more than
# its user stated: too narrow a margin ends in "inconclusive", too wide a one in the claim that
# nothing is lost where something is. Who can afford fewer seeds states beforehand what difference
# is of no account, as the experiments of this repository do with 20 images.
MARGIN = 0.0010

_LOWER_IS_BETTER = ("loss", "error", "seconds", "duration")

_COLUMNS = (
    dict.fromkeys(("n", "failed", "unpaired"), "Int64")
    | dict.fromkeys(("mean", "low", "high"), "float64")
    | {"pairs": "Int64"}
    | dict.fromkeys(("difference", "difference_low", "difference_high", "images"), "float64")
    | dict.fromkeys(("p", "p_holm", "p_equivalent", "detectable"), "float64")
)


def compare(
    runs: pd.DataFrame,
    by: str = "variant",
    baseline: Hashable = "baseline",
    *,
    metric: str = "test_accuracy",
    pair: str = "seed",
    level: float = LEVEL,
    margin: float | None = None,
    variants: Iterable[Hashable] = (),
) -> pd.DataFrame:
    """Compare each variant with the baseline, paired by seed, and give a verdict.

    A run counts if its `status`, where there is such a column, is FINISHED and if it has a
    variant, a seed and a finite metric. What does not count is listed.

    Args:
        runs: one row a run, in any order, with the columns `by`, `pair` and `metric`.
        by: the column that names the variants.
        baseline: the variant that the others are compared with.
        metric: the column of values. Lower is better if its name ends in "loss", "error",
            "seconds" or "duration", higher otherwise.
        pair: the column that pairs runs; a variant has each of its values once.
        level: of each interval, and of all tests for a difference together (so too of all tests
            for equivalence).
        margin: differences within ±margin are equivalent; state it before the runs are made.
            By default `MARGIN` for an accuracy. For other metrics there is no default, and without
            a margin no verdict is "equivalent".
        variants: those that were asked for, in their order. One without any run has a row, too,
            and is one of the tests that Holm corrects for: how strictly the others are judged
            must not depend on what is missing.

    Returns:
        One row a variant, the baseline first, then in the order of `variants` and appearance:

        - the column `by`; `n` (runs that count), `failed` (runs that do not), `unpaired` (seeds
          that count for one of variant and baseline only), all Int64;
        - `mean` of the n runs, with its interval `low`, `high`;
        - `pairs` (Int64); `difference`, the mean over the pairs of variant - baseline, with its
          interval `difference_low`, `difference_high`; `images`, the difference in images of
          10,000 (NaN unless the metric is an accuracy);
        - `p` of the paired t-test, `p_holm` corrected for the number of variants, `p_equivalent`
          of the two one-sided tests, corrected likewise;
        - `detectable`, the difference that these pairs show with 80% power at the level of Holm's
          first step;
        - `verdict`: "baseline", "better", "worse", "equivalent" or "inconclusive".

        What cannot be computed is NaN or <NA>: all comparisons in the baseline's row, and
        intervals and tests of fewer than two values. `attrs["level"]` is the level,
        `attrs["method"]` a text on how all this was computed, and `attrs["missing"]` lists in
        words each run or seed left out, and why.

    Raises:
        ComparisonError: a column or a baseline that is not there, a seed repeated, fewer than two
            runs of the baseline, a level or a margin out of range.
    """
    check_level(level)
    if by in (*_COLUMNS, "failed", "images", "verdict"):
        raise ComparisonError(
            f"by = {by!r}: the table of results has a column of that name; rename it in the runs"
        )
    accuracy = metric.endswith("accuracy")
    margin = MARGIN if margin is None and accuracy else margin
    if margin is not None and not 0 < margin < np.inf:
        raise ComparisonError(f"margin = {margin}: a margin of equivalence is greater than 0")
    samples, failed = samples_by_seed(runs, by, baseline, metric, pair, variants)
    own, *others = samples.values()
    rows = [_alone(values, level) for values in samples.values()]
    for row, values in zip(rows[1:], others, strict=True):
        row |= _against(own, values, level, margin, comparisons=len(others))
    table = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
    table.insert(0, by, list(samples))
    failures = Counter(failed["variant"])
    table["failed"] = pd.array([failures[variant] for variant in samples], dtype="Int64")
    if accuracy:
        table["images"] = table["difference"] * IMAGES
    difference, p, p_equivalent = table.loc[1:, ["difference", "p", "p_equivalent"]].to_numpy().T
    p, p_equivalent = holm(p), holm(p_equivalent)
    table.loc[1:, "p_holm"], table.loc[1:, "p_equivalent"] = p, p_equivalent
    lower_is_better = metric.endswith(_LOWER_IS_BETTER)
    table["verdict"] = [
        "baseline",
        *verdicts(difference, p, p_equivalent, level, lower_is_better),
    ]
    # Plain values, which pandas hands on with every selection, order and copy of the table.
    table.attrs["level"] = level
    table.attrs["method"] = _method(baseline, metric, pair, level, margin, len(others))
    table.attrs["missing"] = left_out(samples, failed, pair)
    return table


def _alone(values: pd.Series[float], level: float) -> dict[str, object]:
    if values.empty:
        return {"n": 0}
    mean, low, high = mean_interval(np.asarray(values, dtype=np.float64), level)
    return {"n": len(values), "mean": mean, "low": low, "high": high}


def _against(
    baseline: pd.Series[float],
    values: pd.Series[float],
    level: float,
    margin: float | None,
    comparisons: int,
) -> dict[str, object]:
    seeds = values.index.intersection(baseline.index)
    n = len(seeds)
    row: dict[str, object] = {"unpaired": len(values) + len(baseline) - 2 * n, "pairs": n}
    if not n:
        return row
    differences = values.loc[seeds].to_numpy() - baseline.loc[seeds].to_numpy()
    difference, low, high = mean_interval(differences, level)
    return row | {
        "difference": difference,
        "difference_low": low,
        "difference_high": high,
        "p": paired_p(differences),
        "p_equivalent": np.nan if margin is None else equivalence_p(differences, margin),
        "detectable": detectable_difference(float(spread(differences)), n, level / comparisons),
    }


def _method(
    baseline: Hashable, metric: str, pair: str, level: float, margin: float | None, comparisons: int
) -> str:
    better = "lower" if metric.endswith(_LOWER_IS_BETTER) else "higher"
    if margin is None:
        equivalent = "no margin was stated, so none is called equivalent"
    else:
        equivalent = f"equivalent: two one-sided t-tests within ±{margin:g}, corrected likewise"
    return (
        f"{metric} ({better} is better); difference to {baseline}, paired by {pair}: two-sided "
        f"paired t-test at level {level:g}, Holm's correction for {comparisons} variant(s); "
        f"{equivalent}; intervals: Student's t, {100 * (1 - level):g}% each; detectable: with "
        f"{POWER:.0%} power at level {level:g}/{max(comparisons, 1)}."
    )
