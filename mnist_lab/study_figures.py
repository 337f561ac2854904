"""Figures of a search, drawn from the table of its trials; they know no storage and no Optuna.

As all figures of the lab they can be read without colour, and use nothing of pyplot.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

Floats = npt.NDArray[np.float64]

MAXIMIZED = "val_accuracy"
_COLOURS = "cividis"  # of equal steps for every eye, and in print
_STATES = {"COMPLETE": ("#0072B2", "o"), "PRUNED": ("#999999", "x"), "FAIL": ("#D55E00", "v")}
_MOST_PARAMETERS = 8  # as many panels side by side can be read
_CONTOUR_PARAMETERS = 4
# A parameter whose greatest value is so many times its least is shown on a logarithmic scale.
_WIDE = 30


def figures_of_search(
    trials: pd.DataFrame,
    goals: Sequence[str],
    parameters: Sequence[str],
    importances: Mapping[str, float],
) -> dict[str, Figure]:
    """The figures for which there is something to draw, by the stem of their files.

    Args:
        trials: one row a trial: `trial`, `state`, a column for each goal (NaN if it has none) and
            for each parameter (None or NaN where a conditional space did not ask for it).
        goals: what was optimized; the figures of parameters show the first.
        parameters: of the search.
        importances: a parameter to its share of what all explain of the first goal's variance.
    """
    measured = trials[trials[goals[0]].notna()]
    drawn: dict[str, Figure] = {}
    if measured.empty:
        return drawn
    drawn["history"] = history(trials, goals[0])
    if importances:
        drawn["importance"] = importance(importances, goals[0])
    ranked = sorted(parameters, key=lambda key: -importances.get(key, 0.0))
    shown = [key for key in ranked if measured[key].notna().any()]
    complete = measured[measured["state"] == "COMPLETE"]
    if shown and len(complete) > 1:
        drawn["slices"] = slices(measured, shown[:_MOST_PARAMETERS], goals[0])
        # Of a conditional space, some parameters may be those of pruned trials alone.
        whole = [key for key in shown if complete[key].notna().any()]
        if len(whole) > 1:
            drawn["parallel_coordinates"] = parallel(complete, whole[:_MOST_PARAMETERS], goals[0])
            drawn["contours"] = contours(complete, whole[:_CONTOUR_PARAMETERS], goals[0])
    if len(goals) > 1:
        drawn["pareto_front"] = pareto(complete, goals)
    return drawn


def history(trials: pd.DataFrame, goal: str) -> Figure:
    """A goal over the trials in their order, and the best complete one so far."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for state, (color, marker) in _STATES.items():
        rows = trials[(trials["state"] == state) & trials[goal].notna()]
        if len(rows):
            label = f"{state.lower()} ({len(rows)})"
            axes.scatter(rows["trial"], _shown(rows, goal), c=color, marker=marker, label=label)
    complete = trials[(trials["state"] == "COMPLETE") & trials[goal].notna()]
    if len(complete):
        complete = complete.sort_values("trial")
        values = _shown(complete, goal)
        best = np.maximum if goal == MAXIMIZED else np.minimum
        axes.step(complete["trial"], best.accumulate(values), "k-", where="post", label="best")
    axes.set(xlabel="trial", ylabel=_unit(goal))
    axes.legend(frameon=False)
    axes.grid(color="#E5E5E5", lw=0.6)
    return figure


def importance(importances: Mapping[str, float], goal: str) -> Figure:
    """How much of a goal's variance over the trials each parameter explains, beside the others."""
    ranked = sorted(importances.items(), key=lambda item: item[1])
    figure = Figure(figsize=(6, 1.2 + 0.32 * len(ranked)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([key for key, _ in ranked], [value for _, value in ranked], color="#0072B2")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set_xlim(0, 1.12 * max(max(importances.values()), 1e-9))
    axes.set_xlabel(f"importance for {goal}\n(main effects by fANOVA, as shares of their sum)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def slices(trials: pd.DataFrame, parameters: Sequence[str], goal: str) -> Figure:
    """A goal over each parameter."""
    figure = Figure(figsize=(max(4.5, 2.7 * len(parameters)), 3.6), layout="constrained")
    panels = figure.subplots(1, len(parameters), sharey=True, squeeze=False)[0]
    for axes, key in zip(panels, parameters, strict=True):
        for state, (color, marker) in _STATES.items():
            rows = trials[(trials["state"] == state) & trials[key].notna()]
            places = _places(trials[key])
            if len(rows):
                x, y = places[rows.index].to_numpy(), _shown(rows, goal)
                axes.scatter(x, y, c=color, marker=marker, s=18, label=state.lower())
        _scale(axes, "x", trials[key])
        axes.set_xlabel(key)
        axes.grid(color="#E5E5E5", lw=0.6)
    panels[0].set_ylabel(_unit(goal))
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def contours(trials: pd.DataFrame, parameters: Sequence[str], goal: str) -> Figure:
    """A goal over each two parameters: the trials, and what lies between them interpolated."""
    pairs = list(combinations(parameters, 2))
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(3.4 * columns + 1.2, 3.0 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    values = _shown(trials, goal)
    low, high = float(values.min()), float(values.max())
    look: dict[str, Any] = {"cmap": _COLOURS, "vmin": low, "vmax": high}
    points: Any = None
    for axes, (one, other) in zip(panels.flat, pairs, strict=False):
        both = (trials[one].notna() & trials[other].notna()).to_numpy()
        x, y = _places(trials[one]).to_numpy()[both], _places(trials[other]).to_numpy()[both]
        _scale(axes, "x", trials[one])
        _scale(axes, "y", trials[other])
        # Between two categories lies nothing.
        if low < high and _is_number(trials[one]) and _is_number(trials[other]):
            _interpolate(axes, x, y, values[both], look)
        points = axes.scatter(x, y, c=values[both], edgecolors="white", lw=0.6, s=28, **look)
        axes.set(xlabel=one, ylabel=other)
    for axes in panels.flat[len(pairs) :]:
        axes.set_visible(False)
    figure.colorbar(points, ax=panels, label=_unit(goal))
    return figure


def _interpolate(axes: Axes, x: Floats, y: Floats, z: Floats, look: Mapping[str, Any]) -> None:
    """Shade what lies between points, where three of them span a plane."""
    # Triangles are formed as they are seen: on a logarithmic axis in logarithms, and each axis as
    # long as the other, for qhull's tolerances know no units.
    flat = np.stack([np.log(v) if axis == "log" else v for axis, v in _scales(axes, x, y)])
    deviations = flat - flat.mean(axis=1, keepdims=True)
    scaled = deviations / np.maximum(flat.std(axis=1, keepdims=True), np.finfo(float).tiny)
    if len(x) < 4 or np.linalg.matrix_rank(scaled) < 2:
        return
    with contextlib.suppress(RuntimeError):  # they are on a line all the same, says qhull
        seen = Triangulation(scaled[0], scaled[1]).triangles
        axes.tricontourf(Triangulation(x, y, seen), z, levels=12, alpha=0.7, **look)


def _scales(axes: Axes, x: Floats, y: Floats) -> list[tuple[str, Floats]]:
    return [(axes.get_xscale(), x), (axes.get_yscale(), y)]


def parallel(trials: pd.DataFrame, parameters: Sequence[str], goal: str) -> Figure:
    """Each complete trial as a line through its parameters; the better, the darker and wider."""
    figure = Figure(figsize=(max(5.0, 1.9 * len(parameters) + 1.5), 4), layout="constrained")
    axes = figure.subplots()
    values = _shown(trials, goal)
    ranks = pd.Series(values if goal == MAXIMIZED else -values).rank(pct=True).to_numpy()
    heights = np.stack([_heights(trials[key]) for key in parameters], axis=1)
    for place in np.argsort(ranks):
        rank = ranks[place]
        style = {"color": str(0.85 * (1 - rank)), "lw": 0.6 + 1.6 * rank**4}
        axes.plot(range(len(parameters)), heights[place], **style)
    for place, key in enumerate(parameters):
        axes.axvline(place, color="#BBBBBB", lw=0.8, zorder=0)
        bottom, top = _ends(trials[key])
        # Below and above the axes, where nothing is drawn by itself.
        look: dict[str, Any] = {"ha": "center", "fontsize": 8, "annotation_clip": False}
        axes.annotate(bottom, (place, -0.04), va="top", **look)
        axes.annotate(top, (place, 1.03), va="bottom", **look)
    axes.set_xticks(range(len(parameters)), list(parameters))
    axes.tick_params(axis="x", length=0, pad=14)
    axes.set_yticks([])
    axes.set_ylim(-0.02, 1.02)
    axes.spines[:].set_visible(False)
    axes.set_title(f"complete trials; the darker, the better by {goal}", fontsize=9, pad=18)
    return figure


def pareto(trials: pd.DataFrame, goals: Sequence[str]) -> Figure:
    """Each two objectives: all complete trials, and those that no other trial dominates."""
    on_front = front(trials, goals)
    pairs = list(combinations(goals, 2))
    figure = Figure(figsize=(5.2 * len(pairs), 4), layout="constrained")
    for axes, (y, x) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        for chosen, color, marker, label in (
            (~on_front, "#999999", "x", "dominated"),
            (on_front, "#0072B2", "o", "Pareto front"),
        ):
            rows = trials[chosen].sort_values(x)
            values = _shown(rows, x), _shown(rows, y)
            axes.scatter(*values, c=color, marker=marker, label=f"{label} ({len(rows)})")
            if len(goals) == 2 and label != "dominated":
                axes.plot(*values, color=color, lw=0.8)
        _scale(axes, "x", trials[x])
        axes.set(xlabel=_unit(x), ylabel=_unit(y))
        axes.grid(color="#E5E5E5", lw=0.6)
        axes.legend(frameon=False)
    return figure


def front(trials: pd.DataFrame, goals: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which trials are on the Pareto front: no other is as good in all goals and better in one.

    Returns:
        (trials,) bool.
    """
    signs = np.array([1.0 if goal == MAXIMIZED else -1.0 for goal in goals])
    values = trials[list(goals)].to_numpy(dtype=float) * signs
    no_worse = (values[:, None] >= values[None]).all(axis=2)
    better = (values[:, None] > values[None]).any(axis=2)
    return np.asarray(~(no_worse & better).any(axis=0))


def _shown(trials: pd.DataFrame, goal: str) -> Floats:
    """A goal's values as they are drawn: accuracies in percent."""
    values = trials[goal].to_numpy(dtype=float)
    return values * (100 if goal.endswith("accuracy") else 1)


def _unit(goal: str) -> str:
    words = {"val_accuracy": "validation accuracy (%)", "val_loss": "validation loss"}
    return words.get(goal, {"seconds": "training time (s)"}.get(goal, goal))


def _is_number(column: pd.Series[Any]) -> bool:
    values = column.dropna()
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values.tolist())


def _categories(column: pd.Series[Any]) -> list[str]:
    """Their names, those that are numbers first and in their order."""
    names = {str(value) for value in column.dropna()}

    def place(name: str) -> tuple[bool, float, str]:
        try:
            return (False, float(name), name)
        except ValueError:
            return (True, 0.0, name)

    return sorted(names, key=place)


def _places(column: pd.Series[Any]) -> pd.Series[Any]:
    """Where values stand on an axis: numbers at themselves, others side by side."""
    if _is_number(column):
        return column.astype(float)
    order = {name: float(place) for place, name in enumerate(_categories(column))}
    return column.map(lambda value: order.get(str(value), np.nan)).astype(float)


def _is_wide(column: pd.Series[Any]) -> bool:
    if not _is_number(column):
        return False
    values = column.dropna().to_numpy(dtype=float)
    return len(values) > 0 and values.min() > 0 and values.max() > _WIDE * values.min()


def _scale(axes: Axes, which: str, column: pd.Series[Any]) -> None:
    """The scale of an axis, or the names of its categories."""
    if not _is_number(column):
        names = _categories(column)
        axis = axes.xaxis if which == "x" else axes.yaxis
        axis.set_ticks(range(len(names)), names, fontsize=8)
    elif _is_wide(column):
        axes.set(**{f"{which}scale": "log"})


def _heights(column: pd.Series[Any]) -> Floats:
    """Values from 0, the least, to 1, the greatest."""
    places = _places(column).to_numpy(dtype=float)
    places = np.log(places) if _is_wide(column) else places
    low, high = np.nanmin(places), np.nanmax(places)
    return np.asarray((places - low) / (high - low) if high > low else places * 0 + 0.5)


def _ends(column: pd.Series[Any]) -> tuple[str, str]:
    if not _is_number(column):
        names = _categories(column)
        return names[0], names[-1]
    values = column.dropna().to_numpy(dtype=float)
    return f"{values.min():.4g}", f"{values.max():.4g}"
