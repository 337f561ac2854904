"""Which runs count and which are pairs, as told by the table that `compare` makes of them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from mnist_lab.comparison import compare
from mnist_lab.estimates import ComparisonError
from mnist_lab.pairing import paired_sd
from tests.samples import noise, row, table


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


# --- spread ---


def test_the_spread_is_pooled_over_variants() -> None:
    runs = table(baseline=[0, 0, 0, 0], a=[1, 3, 1, 3], b=[5, 5, 8, 8, 100])
    # Sums of squares 4 and 9 with 3 degrees of freedom each; b's fifth seed has no pair.
    assert paired_sd(runs) == pytest.approx(math.sqrt(13 / 6))


def test_the_spread_of_one_variant_alone_stands_for_independent_runs() -> None:
    assert paired_sd(table(baseline=[1, 2, 3])) == pytest.approx(math.sqrt(2))
