"""Does it help? From a table of runs to differences, intervals and verdicts.

Knows nothing of training, storage or screens. The estimators at the top take arrays whose last axis
is the sample, so that the calibration at the bottom judges thousands of samples by the very code
that judges one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, stats

from mnist_lab.config import UserError
from mnist_lab.declared import nearest

# The size of the test set: effects in accuracy are also told as images of so many.
IMAGES = 10_000

# Accuracies that differ by less are called equivalent: 10 test images of 10,000. Were the test set
# drawn anew, the accuracy of one net at 0.98 would vary by more than that, with a standard error of
# sqrt(0.98 * 0.02 / 10,000), 14 images; and tables of MNIST results give error rates to 0.1%. It
# was fixed before any variant was compared.
MARGIN = 0.0010

LEVEL = 0.05
POWER = 0.80

_LOWER_IS_BETTER = ("loss", "error", "seconds", "duration")

Array = npt.NDArray[np.float64]


class ComparisonError(UserError, ValueError):
    """Runs that cannot be compared as asked."""


class Interval(NamedTuple):
    """An estimate and its confidence interval, each of one shape."""

    center: Array
    low: Array
    high: Array


def mean_interval(values: Array, level: float = LEVEL) -> Interval:
    """The mean of a sample and Student's t interval of it.

    Args:
        values: (..., n), n >= 1. One value has a mean and no interval (NaN).
        level: the interval covers the true mean with probability 1 - level.

    Returns:
        mean, low and high, each (...).
    """
    center = np.asarray(values.mean(axis=-1))
    quantile = stats.t.ppf(1 - level / 2, values.shape[-1] - 1)
    half = quantile * _standard_error(values)
    return Interval(center, center - half, center + half)


def paired_difference(values: Array, baseline: Array, level: float = LEVEL) -> Interval:
    """The mean difference to the baseline and Student's t interval of it.

    Args:
        values: (..., n), the variant's.
        baseline: (..., n), in the same order of seeds; broadcast against `values`.
        level: as for `mean_interval`.

    Returns:
        mean of values - baseline, low and high, each (...).
    """
    return mean_interval(values - baseline, level)


def paired_p(values: Array, baseline: Array) -> Array:
    """The p of the two-sided paired t-test (Student, 1908).

    Args:
        values: (..., n), the variant's.
        baseline: (..., n), in the same order of seeds; broadcast against `values`.

    Returns:
        (...) in [0, 1]; NaN for one pair. Differences that are all the same have p 1 where they
        are zero and p 0 elsewhere.
    """
    differences = values - baseline
    t = _t(differences.mean(axis=-1), _standard_error(differences))
    return np.asarray(2 * stats.t.sf(np.abs(t), differences.shape[-1] - 1))


def equivalence_p(values: Array, baseline: Array, margin: float) -> Array:
    """The p of the two one-sided tests that the difference lies within ±margin (Schuirmann, 1987).

    Args:
        values: (..., n), the variant's.
        baseline: (..., n), in the same order of seeds; broadcast against `values`.
        margin: > 0, in the unit of the values.

    Returns:
        (...), the larger of the two p; NaN for one pair.
    """
    differences = values - baseline
    center, error = differences.mean(axis=-1), _standard_error(differences)
    nearer = np.minimum(_t(center + margin, error), _t(margin - center, error))
    return np.asarray(stats.t.sf(nearer, differences.shape[-1] - 1))


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


def _standard_error(values: Array) -> Array:
    """Of the mean of values (..., n); NaN for n = 1, where numpy would warn."""
    n = values.shape[-1]
    if n < 2:
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(values.std(axis=-1, ddof=1) / np.sqrt(n))


def _t(center: Array, error: Array) -> Array:
    """Student's t, where values without spread are 0 or infinitely many errors away from 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(center == 0, np.where(np.isnan(error), np.nan, 0.0), center / error)


def paired_power(difference: float, sd: float, n: int, level: float = LEVEL) -> float:
    """The probability that the two-sided paired t-test shows a difference, by noncentral t.

    Args:
        difference: the true mean difference.
        sd: standard deviation of a paired difference, > 0.
        n: pairs, >= 2.
        level: of the test.
    """
    critical = stats.t.ppf(1 - level / 2, n - 1)
    noncentrality = abs(difference) / sd * np.sqrt(n)
    above = stats.nct.sf(critical, n - 1, noncentrality)
    # The lower tail, mirrored: scipy's own lower tail is NaN for large noncentrality.
    return float(above + stats.nct.sf(critical, n - 1, -noncentrality))


def detectable_difference(sd: float, n: int, level: float = LEVEL, power: float = POWER) -> float:
    """The smallest true difference that n pairs show with the given power.

    It rests on the spread and on n, not on the difference that was found: what a design could have
    shown is a fact of the design.

    Args:
        sd: standard deviation of a paired difference.
        n: pairs.
        level: of the two-sided paired t-test.
        power: in (level, 1).

    Returns:
        A difference >= 0 in the unit of `sd`; NaN for fewer than two pairs.
    """
    if n < 2:
        return float("nan")
    high = 1.0
    while paired_power(high, 1.0, n, level) < power:
        high *= 2
    return sd * float(optimize.brentq(lambda d: paired_power(d, 1.0, n, level) - power, 0.0, high))


def seeds_needed(difference: float, sd: float, level: float = LEVEL, power: float = POWER) -> int:
    """The smallest number of pairs that shows a true difference with the given power.

    Args:
        difference: not 0; its sign does not matter.
        sd: standard deviation of a paired difference, >= 0.
        level: of the two-sided paired t-test.
        power: in (level, 1).

    Returns:
        At least 2.

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
    high = 2
    while paired_power(difference, sd, high, level) < power:
        high *= 2
    low = high // 2  # too few, unless it is 1; power grows with n, so halve what lies between
    while high - low > 1:
        middle = (low + high) // 2
        enough = paired_power(difference, sd, middle, level) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def power_table(
    differences: Iterable[float],
    sd: float,
    comparisons: int,
    level: float = LEVEL,
    power: float = POWER,
) -> pd.DataFrame:
    """How many seeds a variant needs for given differences in accuracy to be shown.

    Args:
        differences: true differences in accuracy, not 0.
        sd: standard deviation of a paired difference, say from `paired_sd`.
        comparisons: variants that will be compared with the baseline, >= 1. The power is that of
            Holm's first step, level / comparisons, which no later step falls short of.
        level: of all comparisons together.
        power: in (level, 1).

    Returns:
        One row a difference: `difference`, `images` (of 10,000), `seeds`. `attrs["method"]` says
        how it was computed.

    Raises:
        ComparisonError: no comparison, or a number out of its range.
    """
    _check_level(level)
    if comparisons < 1:
        raise ComparisonError(f"comparisons = {comparisons}: power needs at least one")
    if not level < power < 1:
        raise ComparisonError(f"power = {power}: it lies between the level, {level}, and 1")
    differences = list(differences)
    seeds = [seeds_needed(d, sd, level / comparisons, power) for d in differences]
    table = pd.DataFrame(
        {
            "difference": np.asarray(differences, dtype=float),
            "images": np.asarray(differences, dtype=float) * IMAGES,
            "seeds": np.asarray(seeds, dtype=np.int64),
        }
    )
    table.attrs["method"] = (
        f"Seeds for {power:.0%} power of the two-sided paired t-test (noncentral t) at level "
        f"{level:g}/{comparisons}, Holm's first step; standard deviation of a paired difference "
        f"{sd:.3g}."
    )
    return table


def paired_sd(
    runs: pd.DataFrame,
    by: str = "variant",
    baseline: Hashable = "baseline",
    *,
    metric: str = "test_accuracy",
    pair: str = "seed",
) -> float:
    """The standard deviation of a paired difference, from recorded runs.

    It is pooled over the variants that share at least two seeds with the baseline. Where none
    does, it is sqrt(2) times the baseline's own, as if pairs shared nothing but a number.

    Args:
        runs: as for `compare`, and so are the rest.
        by: names the variants.
        baseline: the variant to compare with.
        metric: the values.
        pair: what pairs runs.

    Raises:
        ComparisonError: as for `compare`.
    """
    samples, _ = _samples(runs, by, baseline, metric, pair)
    own, *others = samples.values()
    differences = [(values - own).dropna().to_numpy() for values in others]
    differences = [sample for sample in differences if len(sample) > 1]
    if not differences:
        return float(np.sqrt(2) * own.std(ddof=1))
    squares = sum(((sample - sample.mean()) ** 2).sum() for sample in differences)
    return float(np.sqrt(squares / sum(len(sample) - 1 for sample in differences)))


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
) -> pd.DataFrame:
    """Compare each variant with the baseline, paired by seed, and give a verdict.

    A run counts if its `status`, where there is such a column, is FINISHED and if it has a
    variant, a seed and a finite metric. Whatever does not count is listed.

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

    Returns:
        One row a variant, the baseline first, then in order of appearance:

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
        intervals and tests of fewer than two values. `attrs["method"]` is a text on how it was
        computed; `attrs["missing"]` lists in words each run or seed left out, and why.

    Raises:
        ComparisonError: a column or a baseline that is not there, a seed repeated, fewer than two
            runs of the baseline, a level or a margin out of range.
    """
    _check_level(level)
    margin = MARGIN if margin is None and metric.endswith("accuracy") else margin
    if margin is not None and not 0 < margin < np.inf:
        raise ComparisonError(f"margin = {margin}: a margin of equivalence is greater than 0")
    samples, failed = _samples(runs, by, baseline, metric, pair)
    variants, own = list(samples), next(iter(samples.values()))
    comparisons = len(variants) - 1
    rows = [_summary(values, level) for values in samples.values()]
    for variant, row in zip(variants[1:], rows[1:], strict=True):
        row |= _against(samples[variant], own, level, margin, max(comparisons, 1))
    table = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
    table.insert(0, by, variants)
    failures = Counter(run.variant for run in failed)
    table["failed"] = pd.array([failures[variant] for variant in variants], dtype="Int64")
    if metric.endswith("accuracy"):
        table["images"] = table["difference"] * IMAGES
    lower_is_better = metric.endswith(_LOWER_IS_BETTER)
    difference, p, p_equivalent = table.loc[1:, ["difference", "p", "p_equivalent"]].to_numpy().T
    p, p_equivalent = holm(p), holm(p_equivalent)
    table.loc[1:, "p_holm"], table.loc[1:, "p_equivalent"] = p, p_equivalent
    table["verdict"] = [
        "baseline",
        *verdicts(difference, p, p_equivalent, level, lower_is_better),
    ]
    table.attrs["method"] = _method(baseline, metric, pair, level, margin, comparisons)
    table.attrs["missing"] = _missing(samples, failed, pair)
    return table


class _Failed(NamedTuple):
    variant: Any
    seed: Any
    reason: str


def _samples(
    runs: pd.DataFrame, by: str, baseline: Hashable, metric: str, pair: str
) -> tuple[dict[Hashable, pd.Series[float]], list[_Failed]]:
    """The values that count, by variant (the baseline first) and seed; and the runs that do not."""
    for column in (by, pair, metric):
        if column not in runs.columns:
            known = [str(name) for name in runs.columns]
            hint = nearest(column, known) or "."
            raise ComparisonError(f"no column '{column}'{hint} Columns: {', '.join(known)}")
    table = pd.DataFrame(
        {
            "variant": runs[by],
            "seed": runs[pair].convert_dtypes(),  # a CSV with a gap gives seeds as 3.0
            "value": _numbers(runs[metric]),
            "status": runs["status"] if "status" in runs.columns else "FINISHED",
        }
    )
    columns = (table[name] for name in ("variant", "seed", "value", "status"))
    failed, counts = [], []
    for variant, seed, value, status in zip(*columns, strict=True):
        reason = _reason(variant, seed, value, status, metric, pair)
        counts.append(not reason)
        if reason:
            failed.append(_Failed(variant, seed, reason))
    variants = list(dict.fromkeys(table["variant"].dropna()))
    names = [str(variant) for variant in variants]
    if str(baseline) not in names:
        raise ComparisonError(
            f"baseline '{baseline}' is not in column '{by}'{nearest(str(baseline), names) or '.'} "
            f"There: {', '.join(names) or 'nothing'}"
        )
    first = variants[names.index(str(baseline))]  # so that "128" names the number 128
    counted = table[counts]
    _refuse_repeats(counted, pair)
    samples = {
        # In order of the seeds, so that no sum depends on the order of the rows.
        variant: counted[counted["variant"] == variant].set_index("seed")["value"].sort_index()
        for variant in dict.fromkeys([first, *variants])
    }
    if len(samples[first]) < 2:
        raise ComparisonError(
            f"baseline '{baseline}': {len(samples[first])} of its runs count; an interval needs at "
            f"least two, each with another {pair}"
        )
    return samples, failed


def _numbers(values: pd.Series[Any]) -> pd.Series[float]:
    try:
        return pd.to_numeric(values).astype("float64")
    except (TypeError, ValueError):
        raise ComparisonError(
            f"column '{values.name}' holds no numbers; a metric such as test_accuracy does"
        ) from None


def _reason(variant: Any, seed: Any, value: float, status: Any, metric: str, pair: str) -> str:
    """Why a run does not count; empty if it does."""
    if str(status) != "FINISHED":
        return f"status {status}"
    if pd.isna(variant):
        return "no variant"
    if pd.isna(seed):
        return f"no {pair}"
    return "" if np.isfinite(value) else f"{metric} is {value}"


def _refuse_repeats(counted: pd.DataFrame, pair: str) -> None:
    repeated = counted[counted.duplicated(["variant", "seed"])]
    if len(repeated):
        variant, seed = repeated.iloc[0][["variant", "seed"]]
        count = ((counted["variant"] == variant) & (counted["seed"] == seed)).sum()
        raise ComparisonError(
            f"variant '{variant}' has {count} runs with {pair} {seed}; pairs need exactly one: "
            "keep one of them"
        )


def _summary(values: pd.Series[float], level: float) -> dict[str, object]:
    if values.empty:
        return {"n": 0}
    mean, low, high = mean_interval(_array(values), level)
    return {"n": len(values), "mean": mean, "low": low, "high": high}


def _array(values: pd.Series[float]) -> Array:
    return np.asarray(values, dtype=np.float64)


def _against(
    values: pd.Series[float],
    baseline: pd.Series[float],
    level: float,
    margin: float | None,
    comparisons: int,
) -> dict[str, object]:
    seeds = values.index.intersection(baseline.index)
    n = len(seeds)
    row: dict[str, object] = {"unpaired": len(values) + len(baseline) - 2 * n, "pairs": n}
    if not n:
        return row
    ours, theirs = _array(values.loc[seeds]), _array(baseline.loc[seeds])
    difference, low, high = paired_difference(ours, theirs, level)
    sd = float(_standard_error(ours - theirs)) * n**0.5
    return row | {
        "difference": difference,
        "difference_low": low,
        "difference_high": high,
        "p": paired_p(ours, theirs),
        "p_equivalent": np.nan if margin is None else equivalence_p(ours, theirs, margin),
        "detectable": detectable_difference(sd, n, level / comparisons),
    }


def _missing(
    samples: dict[Hashable, pd.Series[float]], failed: list[_Failed], pair: str
) -> list[str]:
    """Each run or seed that was left out, in words."""
    lines = [
        f"{'?' if pd.isna(run.variant) else run.variant}, {pair} {run.seed}: {run.reason}"
        for run in failed
    ]
    explained = {(run.variant, run.seed) for run in failed}
    (baseline, own), *others = samples.items()
    for variant, values in others:
        for seed in own.index.difference(values.index):
            if (variant, seed) not in explained:
                lines.append(f"{variant}, {pair} {seed}: not paired, {variant} has no such run")
        for seed in values.index.difference(own.index):
            lines.append(f"{variant}, {pair} {seed}: not paired, {baseline} has none that counts")
        pairs = len(values.index.intersection(own.index))
        if pairs < 2:
            lines.append(f"{variant}: {pairs} pair(s); an interval and a test need at least two")
    return lines


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


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ComparisonError(f"level = {level}: a level lies between 0 and 1, such as {LEVEL}")


@dataclass(frozen=True)
class McNemar:
    """Two models' answers to the same images.

    Attributes:
        both_right: images that both get right.
        only_a: images that only model a gets right.
        only_b: images that only model b gets right.
        both_wrong: images that neither gets right.
        difference: accuracy of b - accuracy of a.
        low: lower end of the interval of the difference.
        high: its upper end.
        p: of the exact test that both are right equally often.
    """

    both_right: int
    only_a: int
    only_b: int
    both_wrong: int
    difference: float
    low: float
    high: float
    p: float


def mcnemar(
    answers_a: npt.ArrayLike, answers_b: npt.ArrayLike, labels: npt.ArrayLike, level: float = LEVEL
) -> McNemar:
    """Compare two trained models image by image (McNemar, 1947; the exact, binomial form).

    It is about these two models on such images; whether a *method* is better takes several seeds
    and `compare`.

    Args:
        answers_a: (m,) integer, model a's classes.
        answers_b: (m,) integer, model b's classes.
        labels: (m,) integer, the true classes.
        level: of the interval of the difference (Agresti and Min, 2005: Wald's with half an image
            added to each cell, which holds its level also where models hardly differ).

    Raises:
        ComparisonError: arrays that are empty, of different or other shapes, or no integers.
    """
    _check_level(level)
    a, b, truth = (np.asarray(array) for array in (answers_a, answers_b, labels))
    for name, array in {"answers_a": a, "answers_b": b, "labels": truth}.items():
        if array.shape != (truth.size,) or not array.size or array.dtype.kind not in "iu":
            raise ComparisonError(
                f"{name} has shape {array.shape} and type {array.dtype}; all three must be "
                "integer arrays of one shape (m,), m >= 1"
            )
    right_a, right_b = a == truth, b == truth
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    both = int((right_a & right_b).sum())
    low, high = _agresti_min(only_a, only_b, truth.size, level)
    return McNemar(
        both_right=both,
        only_a=only_a,
        only_b=only_b,
        both_wrong=truth.size - both - only_a - only_b,
        difference=(only_b - only_a) / truth.size,
        low=low,
        high=high,
        p=float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0,
    )


def _agresti_min(only_a: int, only_b: int, m: int, level: float) -> tuple[float, float]:
    m, discordant, center = m + 2, only_a + only_b + 1, (only_b - only_a) / (m + 2)
    half = stats.norm.ppf(1 - level / 2) * np.sqrt((discordant / m - center**2) / m)
    return max(float(center - half), -1.0), min(float(center + half), 1.0)


@dataclass(frozen=True)
class Calibration:
    """How often the comparison errs where there is nothing to find.

    Attributes:
        runs: equal runs that the samples were drawn from.
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
    _check_level(level)
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
    baseline, variants = groups[:, :1], groups[:, 1:]
    difference, low, high = paired_difference(variants, baseline, level)
    p = holm(paired_p(variants, baseline))
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
