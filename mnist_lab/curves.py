"""The figure of learning curves: loss and accuracy over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from mnist_lab import looks
from mnist_lab.estimates import LEVEL, mean_interval
from mnist_lab.looks import Floats, Group

# Accuracies above this are drawn at it: the axis shows the logarithm of the errors.
_FEWEST_ERRORS = 0.01  # percent


def learning_curves(
    epochs: pd.DataFrame,
    by: str = "variant",
    order: Sequence[str] = (),
    named: int | None = None,
) -> Figure:
    """Training loss and accuracy over the epochs: each variant's mean over its runs.

    The band is the 95% t-interval of the mean over runs, epoch by epoch. The accuracy is that on
    validation images if every variant has it, else that on training images, so that no variant is
    compared on easier images; its axis shows the logarithm of the errors.

    Args:
        epochs: one row per run and epoch: the `by` column, `epoch`, `loss`, `accuracy`,
            `val_accuracy`; what is not finite is left out and shows in n.
        by: the column that names the variant.
        order: as for `looks.groups_of`.
        named: as for `looks.groups_of`.
    """
    groups = looks.groups_of(epochs, by, order, named)
    if not groups:
        return looks.message("No epochs are recorded.")
    validated = all(np.isfinite(looks.floats(group.rows["val_accuracy"])).any() for group in groups)
    metric = "val_accuracy" if validated else "accuracy"
    losses = {group.name: _over_epochs(group, "loss") for group in groups}
    accuracies = {group.name: _over_epochs(group, metric) for group in groups}
    figure = looks.figure_for(8.5, max(3.6, looks.legend_height(groups)), losses)
    left, right = figure.subplots(1, 2)
    _draw(left, groups, losses, "loss")
    _draw(right, groups, accuracies, metric)
    notes = _fit_losses(left, losses), _fit_accuracies(right, accuracies)
    labels = {
        name: f"{name} ({_n(curve['n'])})" + "".join(note.get(name, "") for note in notes)
        for name, curve in accuracies.items()
    }
    ends = {name: curve["mean"].iloc[-1] for name, curve in accuracies.items() if len(curve)}
    ranked = sorted(groups, key=lambda group: -ends.get(group.name, -np.inf))
    banded = any((curve["n"] > 1).any() for curve in accuracies.values())
    interval = f"mean over runs and the\n{1 - LEVEL:.0%} t-interval of the mean"
    looks.add_legend(figure, ranked, labels, interval if banded else "one run each", line=True)
    return figure


def _over_epochs(group: Group, metric: str) -> pd.DataFrame:
    """A variant's metric epoch by epoch: `mean`, its interval `low`, `high`, `n` finite values."""
    values = pd.Series(
        looks.unit(metric)[0] * looks.floats(group.rows[metric]), group.rows["epoch"]
    )
    found = {epoch: looks.floats(rows) for epoch, rows in values.dropna().groupby(level=0)}
    rows = [(*mean_interval(numbers), len(numbers)) for numbers in found.values()]
    table = pd.DataFrame(rows, index=list(found), columns=["mean", "low", "high", "n"])
    return table.astype({"mean": float, "low": float, "high": float})


def _n(counts: pd.Series[int]) -> str:
    """`n=10`, or `n=8 to 10` where runs end early or lose their finite values."""
    if counts.empty:
        return "n=0"
    low, high = int(counts.min()), int(counts.max())
    return f"n={high}" if low == high else f"n={low} to {high}"


def _draw(
    axes: Axes, groups: Sequence[Group], curves: Mapping[str, pd.DataFrame], metric: str
) -> None:
    longest = max(len(curve) for curve in curves.values())
    step = max(1, round(longest / 10))
    for place, group in enumerate(groups):
        curve = curves[group.name]
        x, style = curve.index.to_numpy(), group.style(line=True)
        axes.plot(x, curve["mean"], label=group.name, markevery=(place % step, step), **style)
        if len(curve) == 1 and curve["low"].notna().any():  # a band over one point is not seen
            low, high = curve[["low", "high"]].to_numpy().T
            axes.vlines(x, low, high, color=group.color, lw=1)
        elif curve["low"].notna().any():
            axes.fill_between(x, curve["low"], curve["high"], color=group.color, alpha=0.13, lw=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(xlabel="epoch", ylabel=looks.unit(metric)[1])
    axes.set_xlim(left=0.5, right=1.5 if longest < 2 else None)
    axes.grid(**looks.GRID)


def _fit_losses(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """A logarithmic axis over the means; of those that are not on it, what to say of them."""
    means = {name: curve["mean"].to_numpy() for name, curve in curves.items()}
    logs = {name: np.log10(mean[mean > 0]) for name, mean in means.items()}
    off = _far_ends(logs, floor=0.25)
    low, high = 10 ** _limits(logs, off)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    looks.set_ticks(axes.yaxis, looks.log_ticks(low, high), StrMethodFormatter("{x:g}"))
    notes = {name: f"; loss {means[name][-1]:.2g}, {looks.OFF_AXIS}" for name in off}
    return notes | {name: "; no finite loss" for name, log in logs.items() if not len(log)}


def _fit_accuracies(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """The same for percentages, on an axis where halving the errors is the same step everywhere."""

    def forward(accuracy: Any) -> Any:
        return -np.log10(np.maximum(100 - np.asarray(accuracy, dtype=float), _FEWEST_ERRORS))

    def inverse(height: Any) -> Any:
        return 100 - 10 ** -np.asarray(height, dtype=float)

    means = {name: curve["mean"].to_numpy() for name, curve in curves.items()}
    off = _far_ends(means, floor=0.5)
    low, high = inverse(_limits({name: forward(mean) for name, mean in means.items()}, off))
    high = min(high, 100 - _FEWEST_ERRORS)
    axes.set_yscale("function", functions=(forward, inverse))
    axes.set_ylim(low, high)
    ticks = [100 - errors for errors in looks.log_ticks(100 - high, 100 - low)]
    looks.set_ticks(axes.yaxis, ticks, StrMethodFormatter("{x:g}"))
    notes = {name: f"; {means[name][-1]:.1f}%, {looks.OFF_AXIS}" for name in off}
    return notes | {name: "; no accuracy" for name, mean in means.items() if not len(mean)}


def _far_ends(curves: Mapping[str, Floats], floor: float) -> list[str]:
    """The names of the curves that end far from where the others end."""
    ends = pd.Series({name: curve[-1] for name, curve in curves.items() if len(curve)}, dtype=float)
    return list(ends.index[looks.beyond((ends - ends.median()).abs().to_numpy(), floor)])


def _limits(curves: Mapping[str, Floats], off: Sequence[str]) -> Floats:
    """(2,), the lowest and the highest of the curves that are not off, with some room."""
    kept = np.concatenate([curve for name, curve in curves.items() if name not in off])
    kept = kept if len(kept) else np.zeros(1)
    room = 0.06 * np.ptp(kept) + 0.03
    return np.array([kept.min() - room, kept.max() + room])
