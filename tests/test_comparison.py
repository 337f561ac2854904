"""Tables of runs judged: numbers worked by hand, and what makes a verdict."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mnist_lab.comparison import compare
from mnist_lab.estimates import ComparisonError, equivalence_p, holm
from mnist_lab.power import detectable_difference
from tests.samples import noise, row, table


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
    outside = np.array([equivalence_p(values - baseline, 0.001) for values in others])
    assert list(compared["p"]) == pytest.approx(list(different))
    assert list(compared["p_holm"]) == pytest.approx(list(holm(different)))
    assert list(compared["p_equivalent"]) == pytest.approx(list(holm(outside)))


def test_a_variant_without_any_run_counts_among_the_tests() -> None:
    baseline, other = noise(5, 2, 6) + np.array([[0], [0.002]])
    runs = table(baseline=baseline, a=other)
    three = compare(runs, variants=["b", "baseline", "a"])
    assert three["variant"].tolist() == ["baseline", "b", "a"]
    assert (row(three, "b")["n"], row(three, "b")["failed"]) == (0, 0)
    assert row(three, "b")["verdict"] == "inconclusive"
    assert row(three, "a")["p_holm"] == pytest.approx(min(2 * row(compare(runs), "a")["p"], 1))


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


@pytest.mark.parametrize("name", ["p", "n", "images", "verdict"])
def test_a_column_of_the_results_cannot_name_the_variants(name: str) -> None:
    runs = table(baseline=noise(1, 3), a=noise(2, 3)).rename(columns={"variant": name})
    with pytest.raises(ComparisonError, match=f"by = '{name}': the table of results has a column"):
        compare(runs, by=name)


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


def test_level_and_method_stay_with_the_table_when_rows_are_chosen_ordered_and_renamed() -> None:
    compared = compare(table(baseline=[0.97, 0.98], a=[0.98, 0.98]), level=0.01)
    assert compared.attrs["level"] == 0.01
    for handled in (
        compared[compared["verdict"] != "baseline"],
        compared.sort_values("mean").reset_index(drop=True),
        compared.set_index("variant").loc[["a"]],
        compared.assign(by="variant").rename(columns={"variant": "width"})[["width", "p"]],
        pd.concat([compared, compared]),
        compared.merge(compared[["variant", "n"]], on="variant"),
    ):
        assert handled.attrs == compared.attrs


RUNS = table(baseline=[0.97, 0.98], wide=[0.98, 0.97])


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, math.nan])
def test_a_level_that_is_none_is_refused(level: float) -> None:
    with pytest.raises(ComparisonError, match=r"^level = "):
        compare(RUNS, level=level)


@pytest.mark.parametrize("margin", [0.0, -0.001, math.inf, math.nan])
def test_a_margin_that_is_none_is_refused(margin: float) -> None:
    with pytest.raises(ComparisonError, match=r"^margin = "):
        compare(RUNS, margin=margin)
