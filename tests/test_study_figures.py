from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd

from mnist_lab.figures import save_all
from mnist_lab.study_figures import figures_of_search, front, parallel, slices


def trials(n: int = 12) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "trial": range(n),
            "state": ["COMPLETE"] * (n - 2) + ["PRUNED", "FAIL"],
            "val_accuracy": rng.uniform(0.9, 0.98, n),
            "parameters": rng.integers(1_000, 500_000, n),
            "learning_rate": 10 ** rng.uniform(-4, -1, n),
            "optimizer": rng.choice(["adam", "sgd"], n),
            "momentum": np.where(rng.random(n) < 0.5, np.nan, 0.9),  # of some trials alone
        }
    )
    table.loc[n - 1, "val_accuracy"] = np.nan
    return table


def test_each_figure_shows_something(tmp_path: Path) -> None:
    parameters = ["learning_rate", "optimizer", "momentum"]
    drawn = figures_of_search(
        trials(), ["val_accuracy", "parameters"], parameters, {"learning_rate": 0.7}
    )
    assert set(drawn) == {
        "history",
        "importance",
        "slices",
        "contours",
        "parallel_coordinates",
        "pareto_front",
    }
    for path in save_all(drawn, tmp_path):
        assert matplotlib.image.imread(path).std() > 0.01, path


def test_what_there_is_nothing_for_is_not_drawn() -> None:
    table = trials(3).iloc[[2]]  # it failed
    assert figures_of_search(table, ["val_accuracy"], ["optimizer"], {}) == {}
    one = trials(3).iloc[[0]]
    assert set(figures_of_search(one, ["val_accuracy"], ["optimizer"], {})) == {"history"}
    same = trials(8).assign(val_accuracy=0.9, learning_rate=0.1, optimizer="sgd")
    drawn = figures_of_search(same, ["val_accuracy"], ["learning_rate", "optimizer"], {})
    assert "contours" in drawn


def test_a_parameter_of_pruned_trials_alone_is_no_axis_of_complete_ones(tmp_path: Path) -> None:
    table = trials()
    table["width_3"] = np.where(table["state"] == "PRUNED", 64.0, np.nan)
    table["kind"] = ["a" if state == "PRUNED" else None for state in table["state"]]
    drawn = figures_of_search(table, ["val_accuracy"], ["width_3", "kind", "learning_rate"], {})
    assert "slices" in drawn
    assert not {"contours", "parallel_coordinates"} & set(drawn)  # one parameter is left
    alone = figures_of_search(table, ["val_accuracy"], ["width_3"], {})
    assert set(alone) == {"history", "slices"}
    save_all(drawn | alone, tmp_path)


def test_the_front_has_what_nothing_dominates() -> None:
    table = pd.DataFrame(
        {"val_accuracy": [0.9, 0.95, 0.95, 0.8, 0.95], "parameters": [10, 20, 30, 10, 20]}
    )
    assert front(table, ["val_accuracy", "parameters"]).tolist() == [True, True, False, False, True]
    assert front(table, ["val_accuracy"]).tolist() == [False, True, True, False, True]


def test_points_on_a_line_and_tiny_ones_have_contours() -> None:
    """What lies on a line on linear axes need not on logarithmic ones, and the other way round."""
    keys = ["learning_rate", "parameters"]
    for rates in (
        [0.001, 0.011, 0.021, 0.031],
        [1e-4, 1e-3, 1e-2, 1e-1],
        [1e-15, 3e-15, 2e-13, 1e-12],
    ):
        for widths in ([1, 2, 3, 4], [8, 80, 800, 8000]):
            table = trials(6).iloc[:4].assign(learning_rate=rates, parameters=widths)
            drawn = figures_of_search(table, ["val_accuracy"], keys, {})
            drawn["contours"].canvas.draw()


def test_the_ends_of_each_axis_of_parallel_coordinates_are_seen(tmp_path: Path) -> None:
    table = trials(10).iloc[:8].assign(optimizer="adam")
    table.loc[0, "optimizer"] = "sgd"
    figure = parallel(table, ["optimizer", "parameters"], "val_accuracy")
    ends = figure.axes[0].texts
    assert [text.get_text() for text in ends][:2] == ["adam", "sgd"]
    assert len(ends) == 4
    for text in ends:
        text.set_color("red")
    (path,) = save_all({"parallel": figure}, tmp_path)
    red, green, _ = np.moveaxis(matplotlib.image.imread(path)[..., :3], -1, 0)
    rows, columns = np.nonzero((red > 0.9) & (green < 0.3))
    for far in (rows.min() < red.shape[0] / 3, rows.max() > red.shape[0] * 2 / 3):
        assert far
    assert np.ptp(columns) > red.shape[1] / 3


def test_widths_among_categories_stand_in_their_order() -> None:
    table = trials(6).assign(hidden=["1024", "[128, 64]", "64", "128", "2048", "512"])
    figure = slices(table, ["hidden"], "val_accuracy")
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["64", "128", "512", "1024", "2048", "[128, 64]"]
