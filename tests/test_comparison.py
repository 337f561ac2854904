"""The statistics against published examples, tables worked by hand, and simulated runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from benchmarks import calibration
from mnist_lab import comparison
from mnist_lab.comparison import (
    ComparisonError,
    calibrate,
    compare,
    detectable_difference,
    equivalence_p,
    holm,
    mcnemar,
    mean_interval,
    paired_difference,
    paired_p,
    paired_power,
    paired_sd,
    power_table,
    seeds_needed,
    verdicts,
)

# Hours of sleep gained by ten patients with two drugs: Student (1908), "The probable error of a
# mean". R's t.test(paired = TRUE) on them gives t = -4.0621, df = 9, p-value = 0.002833 and a
# 95 percent confidence interval of -2.4598858 to -0.7001142.
SLEEP_1 = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
SLEEP_2 = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


def table(metric: str = "test_accuracy", **values: npt.ArrayLike) -> pd.DataFrame:
    """Finished runs of the given variants, seeds from 0."""
    rows = [
        {"variant": variant, "seed": seed, "status": "FINISHED", metric: value}
        for variant, sample in values.items()
        for seed, value in enumerate(np.asarray(sample))
    ]
    return pd.DataFrame(rows)


def row(compared: pd.DataFrame, variant: str) -> pd.Series:
    return compared[compared["variant"] == variant].iloc[0]


def noise(seed: int, *shape: int) -> np.ndarray:
    """Accuracies as of the baseline's runs: 0.979 with a standard deviation of 15 images."""
    return np.random.default_rng(seed).normal(0.979, 0.0015, shape)


# --- estimators ---


def test_the_paired_test_and_interval_give_the_published_numbers_on_students_sleep_data() -> None:
    difference, low, high = paired_difference(SLEEP_1, SLEEP_2)
    assert difference == pytest.approx(-1.58)
    assert (low, high) == pytest.approx((-2.4598858, -0.7001142), abs=1e-7)
    assert paired_p(SLEEP_1, SLEEP_2) == pytest.approx(0.002833, abs=5e-7)


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
    assert equivalence_p(a, b, 0.003) == pytest.approx(max(lower, upper))


@pytest.mark.parametrize("shift", [-0.0025, -0.001, 0.0, 0.001, 0.0025])
def test_equivalence_holds_exactly_where_the_90_percent_interval_lies_within_the_margin(
    shift: float,
) -> None:
    a, b = noise(1, 2, 30)
    a = a - (a - b).mean() + shift
    _, low, high = paired_difference(a, b, level=0.10)
    assert (equivalence_p(a, b, 0.002) < 0.05) == (low > -0.002 and high < 0.002)


def test_a_verdict_needs_significance_and_knows_its_direction() -> None:
    difference = np.array([0.002, -0.002, 0.0001, 0.002, np.nan])
    p = np.array([0.01, 0.01, 0.3, 0.3, np.nan])
    near = np.array([0.9, 0.9, 0.01, 0.9, np.nan])
    expected = ["better", "worse", "equivalent", "inconclusive", "inconclusive"]
    assert list(verdicts(difference, p, near, 0.05)) == expected
    expected[:2] = ["worse", "better"]
    assert list(verdicts(difference, p, near, 0.05, lower_is_better=True)) == expected


# --- power ---


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_seeds_needed_agrees_with_gpower(effect: float, pairs: int) -> None:
    # G*Power 3.1: t tests, matched pairs, two tails, alpha 0.05, power 0.80.
    assert seeds_needed(effect, 1.0) == pairs
    assert seeds_needed(-effect * 0.002, 0.002) == pairs


def test_power_agrees_with_simulation() -> None:
    samples = np.random.default_rng(0).normal(0.8, 1.0, (20_000, 12))
    shown = (paired_p(samples, np.zeros(12)) < 0.01).mean()
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
    assert (paired_p(samples, np.zeros(8)) < 0.05).mean() == pytest.approx(0.80, abs=0.01)


def test_without_spread_any_difference_is_detectable_and_two_seeds_suffice() -> None:
    assert detectable_difference(0.0, 5) == 0
    assert seeds_needed(0.001, 0.0) == 2


def test_one_pair_detects_nothing() -> None:
    assert math.isnan(detectable_difference(0.002, 1))


def test_the_power_table_uses_the_level_of_holms_first_step() -> None:
    powers = power_table([0.001, -0.002], sd=0.002, comparisons=5)
    assert list(powers.columns) == ["difference", "images", "seeds"]
    assert list(powers["images"]) == [10, -20]
    assert list(powers["seeds"]) == [seeds_needed(d, 0.002, 0.01) for d in (0.001, 0.002)]
    assert "0.05/5" in powers.attrs["method"]


def test_the_spread_is_pooled_over_variants() -> None:
    runs = table(baseline=[0, 0, 0, 0], a=[1, 3, 1, 3], b=[5, 5, 8, 8, 100])
    # Sums of squares 4 and 9 with 3 degrees of freedom each; b's fifth seed has no pair.
    assert paired_sd(runs) == pytest.approx(math.sqrt(13 / 6))


def test_the_spread_of_one_variant_alone_stands_for_independent_runs() -> None:
    assert paired_sd(table(baseline=[1, 2, 3])) == pytest.approx(math.sqrt(2))


# --- compare ---


def test_a_comparison_gives_the_numbers_worked_by_hand() -> None:
    # Differences of 20, 30, 40 images: mean 30, sd 10, standard error 10 / sqrt(3), t = 5.196 on
    # 2 df. For 2 df, p = 1 - t / sqrt(t^2 + 2) and the 97.5% point is 4.302653.
    runs = table(baseline=[0.97, 0.98, 0.99], wide=[0.972, 0.983, 0.994])
    compared = compare(runs)
    wide = row(compared, "wide")
    t = 3 * math.sqrt(3)
    half = 0.001 / math.sqrt(3) * 4.302653
    assert wide["mean"] == pytest.approx(0.983)
    assert (wide["n"], wide["failed"], wide["unpaired"], wide["pairs"]) == (3, 0, 0, 3)
    assert wide["difference"] == pytest.approx(0.003)
    assert wide["images"] == pytest.approx(30)
    assert wide["difference_low"] == pytest.approx(0.003 - half, abs=1e-8)
    assert wide["difference_high"] == pytest.approx(0.003 + half, abs=1e-8)
    assert wide["p"] == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    assert wide["p_holm"] == wide["p"]
    assert wide["verdict"] == "better"
    assert wide["detectable"] == pytest.approx(detectable_difference(0.001, 3))
    assert compared.attrs["missing"] == []


def test_the_baseline_comes_first_and_the_others_in_order_of_appearance() -> None:
    compared = compare(table(zeta=[0.1, 0.2], baseline=[0.3, 0.5], alpha=[0.2, 0.2]))
    assert list(compared["variant"]) == ["baseline", "zeta", "alpha"]
    assert list(compared.columns) == [
        *("variant", "n", "failed", "unpaired", "mean", "low", "high", "pairs", "difference"),
        *("difference_low", "difference_high", "images", "p", "p_holm", "p_equivalent"),
        *("detectable", "verdict"),
    ]
    baseline = compared.iloc[0]
    assert baseline["verdict"] == "baseline"
    assert baseline[["difference", "p", "p_holm", "detectable"]].isna().all()


def test_a_baseline_alone_has_a_mean_and_nothing_to_compare() -> None:
    compared = compare(table(baseline=[0.97, 0.98]))
    assert list(compared["verdict"]) == ["baseline"]
    assert compared["mean"][0] == pytest.approx(0.975)


def test_each_p_is_corrected_for_all_variants() -> None:
    baseline, *others = noise(3, 4, 8) + np.array([[0], [0.003], [0.002], [0]])
    compared = compare(table(baseline=baseline, a=others[0], b=others[1], c=others[2]))[1:]
    different = np.array([stats.ttest_rel(values, baseline).pvalue for values in others])
    outside = np.array([equivalence_p(values, baseline, 0.001) for values in others])
    assert list(compared["p"]) == pytest.approx(list(different))
    assert list(compared["p_holm"]) == pytest.approx(list(holm(different)))
    assert list(compared["p_equivalent"]) == pytest.approx(list(holm(outside)))


def test_what_is_detectable_is_told_at_the_level_of_holms_first_step() -> None:
    baseline, a, b = noise(3, 3, 8)
    compared = compare(table(baseline=baseline, a=a, b=b))
    expected = detectable_difference(float((a - baseline).std(ddof=1)), 8, level=0.025)
    assert row(compared, "a")["detectable"] == pytest.approx(expected)


def test_a_verdict_rests_on_the_corrected_p() -> None:
    baseline = noise(5, 6)
    better = baseline + np.array([1, 2, 3, 4, 5, 6]) * 1e-4
    p = row(compare(table(baseline=baseline, a=better)), "a")["p"]
    alone = compare(table(baseline=baseline, a=better), level=1.5 * p)
    among_two = compare(table(baseline=baseline, a=better, b=baseline), level=1.5 * p, margin=1e-9)
    assert row(alone, "a")["verdict"] == "better"
    assert row(among_two, "a")["p_holm"] == pytest.approx(2 * p)
    assert row(among_two, "a")["verdict"] == "inconclusive"


def test_the_order_of_the_rows_does_not_matter() -> None:
    samples = noise(4, 3, 31)  # sums of so many show their order in the last bit
    runs = table(baseline=samples[0], a=samples[1], b=samples[2])
    shuffled = runs.sample(frac=1, random_state=1)
    assert not shuffled["seed"].equals(runs["seed"].reset_index(drop=True))
    first, second = (compare(r).sort_values("variant", ignore_index=True) for r in (runs, shuffled))
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_pairs_share_a_seed_and_not_a_place() -> None:
    runs = table(baseline=[0.90, 0.95, 0.99], a=[0.91, 0.96, 1.00])
    a = runs["variant"] == "a"
    runs.loc[a, ["seed", "test_accuracy"]] = runs.loc[a, ["seed", "test_accuracy"]].to_numpy()[::-1]
    assert row(compare(runs), "a")["p"] < 1e-10


def test_a_failed_run_is_listed_and_not_dropped() -> None:
    runs = table(baseline=[0.97, 0.98, 0.99], a=[0.5, 0.98, 0.98])
    runs["status"] = runs["status"].where(runs.index != 3, "FAILED")
    compared = compare(runs)
    a = row(compared, "a")
    assert (a["n"], a["failed"], a["unpaired"], a["pairs"]) == (2, 1, 1, 2)
    assert a["mean"] == pytest.approx(0.98)
    assert compared.attrs["missing"] == ["a, seed 0: status FAILED"]


@pytest.mark.parametrize(("value", "said"), [(np.nan, "nan"), (np.inf, "inf")])
def test_a_run_without_a_finite_metric_does_not_count(value: float, said: str) -> None:
    runs = table("test_loss", baseline=[0.1, 0.2, 0.3], a=[0.2, value, 0.1])
    compared = compare(runs, metric="test_loss")
    assert row(compared, "a")["failed"] == 1
    assert compared.attrs["missing"] == [f"a, seed 1: test_loss is {said}"]


def test_seeds_that_only_one_of_the_two_has_are_listed_and_counted() -> None:
    runs = table(baseline=[0.97, 0.98, 0.99, 0.98], a=[0.97, 0.98, 0.98, 0.97])
    runs.loc[(runs["variant"] == "a") & (runs["seed"] == 3), "seed"] = 7
    compared = compare(runs)
    a = row(compared, "a")
    assert (a["n"], a["unpaired"], a["pairs"]) == (4, 2, 3)
    assert a["difference"] == pytest.approx(-0.01 / 3)
    assert compared.attrs["missing"] == [
        "a, seed 3: not paired, a has no such run",
        "a, seed 7: not paired, baseline has none that counts",
    ]


def test_runs_without_variant_or_seed_are_listed() -> None:
    runs = table(baseline=[0.97, 0.98, 0.99], a=[0.97, 0.98, 0.99])
    runs["seed"] = runs["seed"].astype("Int64")
    runs.loc[0, "variant"] = None
    runs.loc[4, "seed"] = pd.NA
    missing = compare(runs).attrs["missing"]
    assert missing[:2] == ["?, seed 0: no variant", "a, seed <NA>: no seed"]


def test_seeds_of_a_csv_with_a_gap_are_told_as_integers() -> None:
    runs = table(baseline=[0.97, 0.98, 0.99], a=[0.97, np.nan, 0.99])
    runs["seed"] = runs["seed"].astype("float64")
    assert compare(runs).attrs["missing"] == ["a, seed 1: test_accuracy is nan"]


def test_a_variant_that_failed_altogether_keeps_its_row_and_its_place_in_the_correction() -> None:
    runs = table(baseline=noise(1, 6), a=noise(2, 6), dead=[0.1] * 6)
    runs["status"] = runs["status"].where(runs["variant"] != "dead", "FAILED")
    compared = compare(runs)
    dead = row(compared, "dead")
    assert (dead["n"], dead["failed"], dead["pairs"]) == (0, 6, 0)
    assert dead[["mean", "low", "difference", "p", "p_holm", "detectable"]].isna().all()
    assert dead["verdict"] == "inconclusive"
    assert row(compared, "a")["p_holm"] == pytest.approx(min(1, 2 * row(compared, "a")["p"]))
    assert compared.attrs["missing"][-1].startswith("dead: 0 pair(s)")


def test_a_single_pair_has_a_difference_and_no_verdict_and_is_listed() -> None:
    compared = compare(table(baseline=[0.97, 0.98], a=[0.98]))
    a = row(compared, "a")
    assert a["difference"] == pytest.approx(0.01)
    assert a[["low", "difference_low", "p", "p_equivalent", "detectable"]].isna().all()
    assert a["verdict"] == "inconclusive"
    assert "a: 1 pair(s); an interval and a test need at least two" in compared.attrs["missing"]


def test_a_failed_run_that_was_repeated_does_not_repeat_a_seed() -> None:
    runs = table(baseline=[0.97, 0.98], a=[0.98, 0.97])
    again = runs.iloc[[2]].assign(status="FAILED", test_accuracy=np.nan)
    a = row(compare(pd.concat([runs, again])), "a")
    assert (a["n"], a["failed"], a["pairs"]) == (2, 1, 2)


def test_a_table_without_status_counts_every_run() -> None:
    runs = table(baseline=[0.97, 0.98], a=[0.98, 0.97]).drop(columns="status")
    assert list(compare(runs)["n"]) == [2, 2]


def test_identical_runs_are_equivalent() -> None:
    a = row(compare(table(baseline=[0.97, 0.98, 0.99], a=[0.97, 0.98, 0.99])), "a")
    assert (a["difference"], a["p"], a["p_holm"]) == (0, 1, 1)
    assert (a["difference_low"], a["difference_high"], a["detectable"]) == (0, 0, 0)
    assert a["verdict"] == "equivalent"


@pytest.mark.parametrize(("shift", "verdict"), [(0.25, "better"), (-0.25, "worse")])
def test_a_constant_difference_leaves_no_doubt(shift: float, verdict: str) -> None:
    # Eighths have no rounding error: the spread of the differences is exactly 0.
    baseline = np.array([0.25, 0.375, 0.5])
    a = row(compare(table(baseline=baseline, a=baseline + shift)), "a")
    assert (a["difference"], a["p"], a["verdict"]) == (shift, 0, verdict)


def test_a_precise_zero_is_equivalent_and_a_vague_one_inconclusive() -> None:
    narrow = np.array([3, -3, 2, -2, 1, -1]) * 1e-4
    baseline = noise(1, 6)
    compared = compare(
        table(baseline=baseline, near=baseline + narrow, vague=baseline + 9 * narrow)
    )
    assert row(compared, "near")["verdict"] == "equivalent"
    assert row(compared, "vague")["verdict"] == "inconclusive"
    assert row(compared, "vague")["detectable"] > 0.001


def test_significance_comes_before_equivalence() -> None:
    baseline = noise(1, 6)
    small = np.array([3, 4, 3, 4, 3, 4]) * 1e-4
    a = row(compare(table(baseline=baseline, a=baseline + small)), "a")
    assert a["p_equivalent"] < 0.05
    assert a["verdict"] == "better"


@pytest.mark.parametrize("metric", ["test_loss", "val_loss", "train_seconds", "duration"])
def test_of_losses_and_times_the_lower_is_better(metric: str) -> None:
    runs = table(metric, baseline=[0.5, 0.6, 0.7], low=[0.1, 0.21, 0.3], high=[1, 1.11, 1.2])
    compared = compare(runs, metric=metric)
    assert list(compared["verdict"]) == ["baseline", "better", "worse"]
    assert compared["images"].isna().all()
    assert "lower is better" in compared.attrs["method"]


def test_without_a_margin_of_its_own_a_loss_is_never_equivalent() -> None:
    runs = table("test_loss", baseline=[0.5, 0.6, 0.7], a=[0.5, 0.6, 0.7])
    assert row(compare(runs, metric="test_loss"), "a")["verdict"] == "inconclusive"
    assert row(compare(runs, metric="test_loss", margin=0.01), "a")["verdict"] == "equivalent"


def test_the_method_is_told_with_the_table() -> None:
    method = compare(table(baseline=[0.97, 0.98], a=[0.98, 0.98], b=[0.9, 0.8])).attrs["method"]
    for part in ("paired by seed", "level 0.05", "Holm", "2 variant", "±0.001", "95%", "80% power"):
        assert part in method


def test_any_column_can_name_the_variants_and_its_numbers_can_be_named_by_text() -> None:
    runs = table(a=[0.97, 0.98, 0.99], b=[0.96, 0.98, 0.97]).rename(columns={"variant": "width"})
    runs["width"] = runs["width"].map({"a": 64, "b": 128}).astype("Int64")
    for baseline in (128, "128"):
        compared = compare(runs, by="width", baseline=baseline)
        assert list(compared["width"]) == [128, 64]


# --- bad input ---


def message(runs: pd.DataFrame, **arguments: object) -> str:
    with pytest.raises(ComparisonError) as caught:
        compare(runs, **arguments)  # type: ignore[arg-type]
    return str(caught.value)


RUNS = table(baseline=[0.97, 0.98], wide=[0.98, 0.97])


def test_an_unknown_baseline_is_answered_with_the_nearest_and_the_list() -> None:
    said = message(RUNS, baseline="wides")
    assert "'wides' is not in column 'variant'; did you mean 'wide'?" in said
    assert "baseline, wide" in said


def test_an_unknown_column_is_answered_with_the_nearest_and_the_list() -> None:
    said = message(RUNS, metric="test_acuracy")
    assert "no column 'test_acuracy'; did you mean 'test_accuracy'?" in said
    assert "variant, seed, status, test_accuracy" in said
    assert "no column 'sede'" in message(RUNS, pair="sede")
    assert "no column 'kind'" in message(RUNS, by="kind")


def test_a_repeated_seed_is_refused_with_variant_and_seed() -> None:
    said = message(pd.concat([RUNS, RUNS.iloc[[3]]]))
    assert "variant 'wide' has 2 runs with seed 1" in said


def test_a_baseline_with_fewer_than_two_runs_is_refused() -> None:
    said = message(RUNS[RUNS.index != 1])
    assert said.startswith("baseline 'baseline': 1 of its runs count")
    assert "at least two" in said


def test_an_empty_table_is_refused() -> None:
    assert "There: nothing" in message(RUNS[:0])


def test_a_metric_of_words_is_refused() -> None:
    assert "column 'status' holds no numbers" in message(RUNS, metric="status")


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, math.nan])
def test_a_level_that_is_none_is_refused(level: float) -> None:
    assert message(RUNS, level=level).startswith("level = ")


@pytest.mark.parametrize("margin", [0.0, -0.001, math.inf, math.nan])
def test_a_margin_that_is_none_is_refused(margin: float) -> None:
    assert message(RUNS, margin=margin).startswith("margin = ")


def test_power_of_nothing_is_refused() -> None:
    with pytest.raises(ComparisonError, match=r"difference 0\.0 at a standard deviation"):
        power_table([0.0], 0.002, 1)
    with pytest.raises(ComparisonError, match="standard deviation of nan"):
        seeds_needed(0.001, math.nan)
    with pytest.raises(ComparisonError, match="comparisons = 0"):
        power_table([0.001], 0.002, 0)
    with pytest.raises(ComparisonError, match=r"power = 1\.0"):
        power_table([0.001], 0.002, 1, power=1.0)


# --- McNemar ---


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


# --- calibration ---


@pytest.mark.parametrize("comparisons", [1, 3])
def test_calibration_judges_as_compare_does(
    comparisons: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, level, repeats = noise(7, 40), 0.4, 30
    drawn: list[np.ndarray] = []
    split = comparison._groups

    def keep(*arguments: object) -> np.ndarray:
        drawn.append(split(*arguments))  # type: ignore[arg-type]
        return drawn[-1]

    monkeypatch.setattr(comparison, "_groups", keep)
    result = calibrate(values, 6, repeats, comparisons, level)
    false, covered = [], []
    for groups in drawn[0]:
        variants = {f"v{i}": sample for i, sample in enumerate(groups[1:])}
        judged = compare(
            table("score", baseline=groups[0], **variants), metric="score", level=level
        )[1:]
        false.append(judged["verdict"].isin(["better", "worse"]).any())
        covered += list((judged["difference_low"] <= 0) & (judged["difference_high"] >= 0))
    assert 0 < sum(false) < repeats
    assert result.false_verdicts == pytest.approx(np.mean(false))
    assert result.difference_coverage == pytest.approx(np.mean(covered))


def test_groups_are_disjoint_and_every_run_gets_into_each() -> None:
    groups = comparison._groups(np.arange(12.0), 4, 3, 200, np.random.default_rng(0))
    assert groups.shape == (200, 3, 4)
    assert (np.sort(groups.reshape(200, 12)) == np.arange(12)).all()
    for group in range(3):
        assert len(np.unique(groups[:, group])) == 12


@pytest.mark.parametrize(("n", "comparisons"), [(5, 1), (10, 1), (20, 1), (10, 5)])
def test_equal_runs_are_told_apart_as_rarely_as_promised(n: int, comparisons: int) -> None:
    result = calibrate(np.round(noise(11, 60), 4), n, 4_000, comparisons)
    assert 0.03 <= result.false_verdicts <= 0.07
    assert 0.93 <= result.difference_coverage <= 0.97
    assert 0.93 <= result.mean_coverage <= 0.97


def test_calibration_repeats_with_its_seed() -> None:
    values = noise(3, 30)
    first, again = (calibrate(values, 5, 500, rng_seed=1) for _ in range(2))
    assert first == again
    assert first != calibrate(values, 5, 500, rng_seed=2)


def test_too_few_runs_for_disjoint_groups_are_refused() -> None:
    with pytest.raises(ComparisonError, match="6 disjoint groups of 10 need 60 finite values"):
        calibrate(noise(1, 59), 10, comparisons=5)
    with pytest.raises(ComparisonError, match="need 10 finite"):
        calibrate([math.nan] * 20, 5)
    with pytest.raises(ComparisonError, match="n = 1"):
        calibrate(noise(1, 59), 1)


# --- benchmarks/calibration.py ---


def test_the_calibration_reads_finished_baseline_runs_only(tmp_path: Path) -> None:
    runs = table(baseline=noise(1, 62), wide=[0.5] * 5)
    runs.loc[3, "status"] = "FAILED"
    runs.to_csv(tmp_path / "seeds.csv", index=False)
    values = calibration.accuracies(tmp_path / "seeds.csv")
    assert len(values) == 61
    assert values.min() > 0.9


def test_the_calibration_says_what_makes_its_input(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"python -m mnist_lab\.experiment seeds"):
        calibration.accuracies(tmp_path / "seeds.csv")
    table(baseline=noise(1, 59)).to_csv(tmp_path / "seeds.csv", index=False)
    with pytest.raises(SystemExit, match="59 seeds of the baseline; 60 are needed"):
        calibration.accuracies(tmp_path / "seeds.csv")
    once = table(baseline=noise(1, 40))
    twice = pd.concat([once, once])
    twice.to_csv(tmp_path / "seeds.csv", index=False)
    with pytest.raises(SystemExit, match="several baseline runs with one seed"):
        calibration.accuracies(tmp_path / "seeds.csv")


def test_the_calibration_notes_what_lies_outside_its_range() -> None:
    good = {"n": 5, "comparisons": 1, "false_verdicts": 0.05}
    good |= {"difference_coverage": 0.95, "mean_coverage": 0.95}
    frame = pd.DataFrame([good, good | {"n": 10, "false_verdicts": 0.08}])
    assert calibration.outside(frame[:1]) == []
    assert calibration.outside(frame) == [
        "n = 10, 1 comparison(s): false_verdicts 0.0800 is not within 0.03 to 0.07"
    ]
    assert calibration.summary(frame).splitlines()[-1] == "| 10 | 1 | 8.0% | 95.0% | 95.0% |"
