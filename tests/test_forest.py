"""The figure of differences from the baseline."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_lab import figures
from tests.drawn import (
    NAMES,
    TEN,
    a_comparison,
    line,
    said,
    texts,
    xy,
)


def test_the_forest_has_each_difference_in_images_at_its_place() -> None:
    figure = figures.differences(a_comparison(TEN), margin=0.001)
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f"{name}  n=10" for name in TEN]
    for row, (name, difference) in enumerate(TEN.items()):
        if name == "odd":
            continue
        assert xy(line(axes, name)).tolist() == [[pytest.approx(1e4 * difference), row]]
    intervals = [xy(drawn) for drawn in axes.lines if len(xy(drawn)) == 2]
    for row, name in enumerate(NAMES[1:9], start=1):
        (interval,) = (ends for ends in intervals if (ends[:, 1] == row).all())
        assert interval[:, 0] == pytest.approx([1e4 * TEN[name] - 6, 1e4 * TEN[name] + 6], abs=1e-9)
    assert "±10" in axes.get_xlabel()


def test_a_far_variant_does_not_squash_the_forest_and_its_numbers_are_there() -> None:
    figure = figures.differences(a_comparison(TEN))
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    assert -30 < low < high < 50
    arrows = [drawn for drawn in axes.lines if drawn.get_marker() == "<"]
    assert [xy(arrow).tolist() for arrow in arrows] == [[[low, 9]]]
    assert "−8800.0  −8806.0 to −8794.0   worse" in said(figure)  # noqa: RUF001


def test_nothing_is_cut_off_where_all_are_of_one_size() -> None:
    comparison = a_comparison({"baseline": 0.0, "gelu": 0.002, "silu": -0.003, "elu": 0.009})
    (axes,) = figures.differences(comparison).axes
    low, high = axes.get_xlim()
    assert low < -36
    assert high > 96
    assert "arrows" not in axes.get_xlabel()


def test_verdicts_are_told_by_words_and_by_marker() -> None:
    verdicts = ["baseline", "better", "worse", "equivalent", "inconclusive"]
    comparison = a_comparison(dict.fromkeys(NAMES[:5], 0.0005)).assign(verdict=verdicts)
    figure = figures.differences(comparison)
    markers = [line(figure.axes[0], name).get_marker() for name in NAMES[:5]]
    assert len(set(markers)) == 5
    for verdict in verdicts:
        assert any(verdict in text.split("   ")[-1] for text in texts(figure))
    assert "inconclusive (could show ±9.0)" in said(figure)


def test_the_interval_is_called_by_its_level() -> None:
    comparison = a_comparison({"baseline": 0.0, "gelu": 0.002})
    assert "  interval  " in said(figures.differences(comparison))
    assert "%" not in said(figures.differences(comparison)).replace("(%)", "")
    comparison.attrs["level"] = 0.1
    assert "  90% interval  " in said(figures.differences(comparison))


def test_failed_runs_missing_pairs_and_single_pairs_are_shown() -> None:
    comparison = a_comparison({"baseline": 0.0, "gelu": 0.002, "silu": -0.003})
    comparison.loc[1, ["failed", "n", "pairs"]] = [2, 8, 7]
    comparison.loc[2, ["difference_low", "difference_high", "detectable"]] = np.nan
    (axes,) = figures.differences(comparison).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[1] == "gelu  n=8, 2 failed, 7 pairs"
    assert xy(line(axes, "silu")).tolist() == [[pytest.approx(-30), 2]]


def test_other_metrics_keep_their_unit() -> None:
    comparison = a_comparison({"baseline": 0.0, "gelu": 0.002})
    (axes,) = figures.differences(comparison, metric="test_loss", margin=0.001).axes
    assert xy(line(axes, "gelu"))[0, 0] == pytest.approx(0.002)
    assert axes.get_xlabel().startswith("difference to the baseline (test loss)")
