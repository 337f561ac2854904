"""The figure of learning curves."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_lab import figures
from tests.drawn import (
    NAMES,
    bands,
    half_width,
    line,
    said,
    some_epochs,
    some_runs,
    texts,
    xy,
)


def test_the_curve_passes_the_means_and_its_band_is_their_interval() -> None:
    epochs = some_epochs(some_runs())
    loss, accuracy = figures.learning_curves(epochs).axes
    for place, name in enumerate(NAMES[:3]):
        for axes, metric, scale in ((loss, "loss", 1), (accuracy, "val_accuracy", 100)):
            drawn, band = xy(line(axes, name)), bands(axes)[place].get_paths()[0].vertices
            for epoch, mean in drawn:
                chosen = epochs[(epochs["variant"] == name) & (epochs["epoch"] == epoch)]
                values = scale * chosen[metric].to_numpy()
                assert mean == pytest.approx(values.mean())
                edges = {y for x, y in np.asarray(band) if x == epoch}
                assert min(edges) == pytest.approx(mean - half_width(values))
                assert max(edges) == pytest.approx(mean + half_width(values))
            assert list(drawn[:, 0]) == [1, 2, 3]


def test_one_seed_has_a_curve_and_no_band() -> None:
    figure = figures.learning_curves(some_epochs(some_runs(variants=2, seeds=1)))
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]
    assert not [band for axes in figure.axes for band in axes.collections]
    assert "gelu (n=1)" in texts(figure)


def test_accuracy_is_that_of_training_where_one_variant_validates_nothing() -> None:
    epochs = some_epochs(some_runs())
    assert figures.learning_curves(epochs).axes[1].get_ylabel() == "validation accuracy (%)"
    epochs.loc[epochs["variant"] == "silu", "val_accuracy"] = np.nan
    axes = figures.learning_curves(epochs).axes[1]
    assert axes.get_ylabel() == "training accuracy (%)"
    accuracy = epochs[(epochs["variant"] == "gelu") & (epochs["epoch"] == 3)]["accuracy"]
    assert xy(line(axes, "gelu"))[-1, 1] == pytest.approx(100 * accuracy.mean())


def test_runs_that_end_early_or_diverge_show_in_n() -> None:
    epochs = some_epochs(some_runs())
    epochs = epochs[~((epochs["run_id"] == "gelu-0") & (epochs["epoch"] == 3))]
    epochs.loc[epochs["variant"] == "silu", "loss"] = np.inf
    found = texts(figures.learning_curves(epochs))
    assert "gelu (n=3 to 4)" in found
    assert "silu (n=4); no finite loss" in found


def test_a_variant_that_learned_nothing_leaves_the_axis_to_the_others() -> None:
    epochs = some_epochs(some_runs(variants=10))
    figure = figures.learning_curves(epochs)
    low, high = figure.axes[1].get_ylim()
    assert low < min(xy(line(figure.axes[1], name))[:, 1].min() for name in NAMES[:9])
    assert 90 < low < high < 100
    assert "odd (n=4); 8.9%, off the axis" in said(figure)


@pytest.mark.parametrize("epochs", [1, 2, 60])
def test_any_number_of_epochs_is_drawn(epochs: int) -> None:
    figure = figures.learning_curves(some_epochs(some_runs(), epochs))
    assert len(xy(line(figure.axes[0], "gelu"))) == epochs
    figure.draw_without_rendering()
