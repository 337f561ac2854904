"""The figure of what accuracy costs: accuracy over parameters or training time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, StrMethodFormatter
from matplotlib.transforms import Transform, offset_copy

from mnist_lab import looks
from mnist_lab.estimates import LEVEL, Interval, mean_interval
from mnist_lab.looks import Floats, Group

BESIDE = 9  # points between the middles of variants of the same place


@dataclass(frozen=True, eq=False)
class _Variant:
    """A variant's finished runs: x and y, percent, each (n,); and how many there are in all."""

    group: Group
    x: Floats
    y: Floats
    total: int

    @property
    def place(self) -> float:
        return float(self.x.mean())

    @cached_property
    def interval(self) -> Interval:
        return mean_interval(self.y)

    @property
    def label(self) -> str:
        mean, _, high = self.interval
        half = "" if np.isnan(high) else f" ± {high - mean:.2f}"
        n = len(self.y)
        count = f"n={n}" if n == self.total else f"n={n} of {self.total}"
        return f"{self.group.name}: {mean:.2f}{half} ({count})"


def accuracy_over(
    runs: pd.DataFrame,
    x: str,
    by: str = "variant",
    metric: str = "test_accuracy",
    order: Sequence[str] = (),
    named: int | None = None,
) -> Figure:
    """What accuracy costs: each variant's mean with its 95% t-interval over what it takes.

    Single runs are faint dots. Variants of one and the same `x` stand side by side. One that is
    far off all others stands at the axis' end, with its value in the legend.

    Args:
        runs: one row a run: the `by` column, `x`, `metric`. A run without a finite value counts
            in n ("n=9 of 10") and is not drawn.
        x: the column to draw over, `parameters` or `train_seconds`; a variant stands at its mean.
        by: the column that names the variant.
        metric: the accuracy to draw.
        order: as for `looks.groups_of`.
        named: as for `looks.groups_of`.
    """
    variants, missing = [], []
    for group in looks.groups_of(runs, by, order, named):
        places, values = looks.floats(group.rows[x]), 100 * looks.floats(group.rows[metric])
        finished = np.isfinite(places) & np.isfinite(values)
        if finished.any():
            variants.append(_Variant(group, places[finished], values[finished], len(finished)))
        else:
            missing.append(group.name)
    if not variants:
        return looks.message("No finished runs are recorded.")
    labels = {variant.group.name: variant.label for variant in variants}
    groups = [variant.group for variant in variants]
    figure = looks.figure_for(5.5, max(3.8, looks.legend_height(groups)), labels.values())
    axes = figure.subplots()
    _fit_costs(axes, x, variants)
    near, far = _fit_accuracies(axes, variants)
    moved = _side_by_side(axes, variants)
    for variant in near:
        _draw_runs(axes, variant, moved.get(variant.group.name, 0.0))
    for variant in far:
        _draw_off_axis(axes, variant, moved.get(variant.group.name, 0.0))
        labels[variant.group.name] += f", {looks.OFF_AXIS}"
    words = looks.unit(metric)[1]
    axes.set_ylabel(words)
    axes.grid(**looks.GRID)
    several = any(len(variant.y) > 1 for variant in variants)
    interval = f"mean ± {1 - LEVEL:.0%} t-interval; small: single runs"
    title = f"{words}\n{interval if several else 'one run each'}"
    if missing:
        title += f"\nno finished run: {', '.join(missing)}"
    ranked = sorted(variants, key=lambda variant: -variant.interval.center)
    looks.add_legend(figure, [variant.group for variant in ranked], labels, title, line=False)
    return figure


def _fit_costs(axes: Axes, x: str, variants: Iterable[_Variant]) -> None:
    values = np.concatenate([variant.x for variant in variants])
    low, high = values.min(), values.max()
    if 0 < 10 * low < high:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.4, high * 1.4)
        ticks = looks.log_ticks(low / 1.4, high * 1.4)
    else:
        room = 0.1 * (high - low) or 1.0
        axes.set_xlim(low - room, high + room)
        ticks = list(MaxNLocator(6).tick_values(low, high)) if low < high else [float(low)]
    # Thousands and millions of parameters; times are written out.
    form = EngFormatter(sep="") if x == "parameters" else StrMethodFormatter("{x:g}")
    looks.set_ticks(axes.xaxis, ticks, form)
    axes.set_xlabel({"train_seconds": "training time (s)"}.get(x, x))


def _fit_accuracies(
    axes: Axes, variants: Sequence[_Variant]
) -> tuple[list[_Variant], list[_Variant]]:
    """Fit the axis to all variants but the far ones; those on it and those off it."""
    center = np.median([variant.interval.center for variant in variants])
    reach = np.array([np.abs(variant.y - center).max() for variant in variants])
    far = looks.beyond(reach, floor=0.1)
    near = [variant for variant, is_far in zip(variants, far, strict=True) if not is_far]
    kept = np.concatenate([[*variant.y, *variant.interval] for variant in near])
    low, high = np.nanmin(kept), np.nanmax(kept)
    room = 0.07 * (high - low) or 1.0
    axes.set_ylim(low - room, high + room)
    return near, [variant for variant in variants if variant not in near]


def _moved(axes: Axes, transform: Transform, points: float) -> Transform:
    """The transform, and then to the right by so many points."""
    return offset_copy(transform, axes.get_figure(root=True), x=points, units="points")


def _side_by_side(axes: Axes, variants: Iterable[_Variant]) -> dict[str, float]:
    """By how many points those of one place are moved, above a grey bar; grey ones stay."""
    peers: dict[float, list[str]] = {}
    for variant in variants:
        if variant.group.named:
            peers.setdefault(variant.place, []).append(variant.group.name)
    moved: dict[str, float] = {}
    for place, names in peers.items():
        first = -BESIDE * (len(names) - 1) / 2
        moved |= {name: first + BESIDE * i for i, name in enumerate(names)}
        if len(names) > 1:
            bar: dict[str, Any] = {"color": "#999999", "ms": BESIDE * len(names), "mew": 4}
            axes.plot(place, 0, "_", clip_on=False, transform=axes.get_xaxis_transform(), **bar)
    if max(map(len, peers.values()), default=0) > 1:
        axes.set_xlabel(f"{axes.get_xlabel()}\nthose above a grey bar: all at its middle")
    return moved


def _draw_runs(axes: Axes, variant: _Variant, moved: float) -> None:
    """A variant's mean with its interval, and its runs as faint dots."""
    group, (mean, low, high) = variant.group, variant.interval
    at_place = _moved(axes, axes.transData, moved)
    if len(variant.y) > 1:
        # Runs of one cost would hide behind the interval.
        aside = -4 if variant.x.min() == variant.x.max() else 0
        faint = group.style(line=False, size=3.5) | {"alpha": 0.4, "markeredgewidth": 0}
        axes.plot(variant.x, variant.y, transform=_moved(axes, at_place, aside), **faint)
        ends = [float(low), float(high)]
        axes.plot([variant.place] * 2, ends, color=group.color, lw=1.6, transform=at_place)
    style = group.style(line=False, size=8)
    axes.plot(variant.place, mean, label=group.name, transform=at_place, **style)


def _draw_off_axis(axes: Axes, variant: _Variant, moved: float) -> None:
    """A variant's marker at the end of the axis that it is beyond, and an arrow there."""
    group, above = variant.group, variant.interval.center > np.mean(axes.get_ylim())
    end, inside, arrow = (1, 0.93, "^") if above else (0, 0.07, "v")
    transform = _moved(axes, axes.get_xaxis_transform(), moved)
    style: dict[str, Any] = {"color": group.color, "ms": 6, "zorder": 4, "clip_on": False}
    axes.plot(variant.place, end, arrow, transform=transform, **style)
    style = group.style(line=False, size=8)
    axes.plot(variant.place, inside, label=group.name, transform=transform, **style)
