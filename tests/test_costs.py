"""The figure of accuracy over size and seconds."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_lab import figures
from mnist_lab.costs import BESIDE
from tests.drawn import (
    NAMES,
    half_width,
    line,
    said,
    some_runs,
    xy,
)


@pytest.mark.parametrize("x", ["parameters", "train_seconds"])
def test_a_variant_stands_at_its_means_with_its_interval(x: str) -> None:
    runs = some_runs()
    (axes,) = figures.accuracy_over(runs, x).axes
    for name in NAMES[:3]:
        mine = runs[runs["variant"] == name]
        accuracy = 100 * mine["test_accuracy"].to_numpy()
        place, mean = xy(line(axes, name))[0]
        assert place == pytest.approx(mine[x].astype(float).mean())
        assert mean == pytest.approx(accuracy.mean())
        expected = [mean - half_width(accuracy), mean + half_width(accuracy)]
        ends = [xy(drawn)[:, 1] for drawn in axes.lines if drawn.get_marker() == "None"]
        assert any(found == pytest.approx(expected) for found in ends)
        dots = [xy(drawn)[:, 1] for drawn in axes.lines if len(xy(drawn)) == len(mine)]
        assert any(found == pytest.approx(accuracy) for found in dots)


def test_variants_of_one_size_stand_side_by_side() -> None:
    runs = some_runs().assign(parameters=407_050)
    figure = figures.accuracy_over(runs, "parameters")
    figure.draw_without_rendering()
    drawn = [line(figure.axes[0], name) for name in NAMES[:3]]
    places = [marker.get_transform().transform(xy(marker))[0, 0] for marker in drawn]
    assert np.diff(places) == pytest.approx([BESIDE * figure.dpi / 72] * 2)


def test_unfinished_runs_count_in_n() -> None:
    runs = some_runs()
    runs.loc[runs["run_id"] == "gelu-1", "test_accuracy"] = np.nan
    runs.loc[runs["variant"] == "silu", "test_accuracy"] = np.nan
    figure = figures.accuracy_over(runs, "parameters")
    assert "(n=3 of 4)" in said(figure)
    assert "no finished run: silu" in said(figure)


def test_a_wide_range_of_sizes_is_logarithmic() -> None:
    runs = some_runs()
    assert figures.accuracy_over(runs, "train_seconds").axes[0].get_xscale() == "linear"
    runs.loc[runs["variant"] == "silu", "parameters"] = 25_450_000
    assert figures.accuracy_over(runs, "parameters").axes[0].get_xscale() == "log"
