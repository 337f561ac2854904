"""How figures look: each variant's colour, marker and line, what is far off, units and legends.

Every figure can be read without colour. Nothing of pyplot is used, so that drawing leaves no trace
in the caller's process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, Formatter, MaxNLocator, NullLocator

from mnist_lab.wording import plural

Floats = npt.NDArray[np.float64]

# Okabe and Ito, "Color Universal Design" (2008), without the yellow that white paper swallows.
PALETTE = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
# The three lengths share no factor, so that no two of 385 variants look alike.
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "*", "p")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))

GRID: dict[str, Any] = {"color": "#E5E5E5", "lw": 0.6}
MONOSPACED = "DejaVu Sans Mono"  # columns need equal widths; it ships with matplotlib
NAMELESS = "(no name)"
OFF_AXIS = "off the axis"

# Whatever lies this many times further out than all the rest leaves the axis, or it would
# squash what one came to see.
_FAR = 8.0


@dataclass(frozen=True)
class Group:
    """A variant: its name, its look, its rows of the table, and whether the legend names it."""

    name: str
    color: str
    marker: str
    dashes: Any
    rows: pd.DataFrame
    named: bool

    def style(self, line: bool, size: float = 6) -> dict[str, Any]:
        """Of the mean's line or markers; `size` in points."""
        style: dict[str, Any] = {"color": self.color, "marker": self.marker, "linestyle": "none"}
        if line:
            style |= {"linestyle": self.dashes, "lw": 1.5 if self.named else 0.8}
        return style | {
            "markersize": size * (1.6 if self.marker == "*" else 1),  # stars are drawn small
            "markeredgecolor": "white",
            "markeredgewidth": 0.6,
            "zorder": 3 if self.named else 2,
        }


def groups_of(
    table: pd.DataFrame, by: str, order: Sequence[str] = (), named: int | None = None
) -> list[Group]:
    """The variants that have rows, each in the look of its place in the order.

    Args:
        table: any, with a column `by`.
        by: the column that names the variant.
        order: the variants from the first; those that are not in it follow as they appear.
        named: so many from the first are coloured and named, the others grey; by default all.
    """
    names = names_of(table[by])
    looks = zip(cycle(PALETTE), cycle(MARKERS), cycle(DASHES), strict=False)
    groups = []
    for place, (name, look) in enumerate(zip(dict.fromkeys([*order, *names]), looks, strict=False)):
        rows = table[names == name]
        if rows.empty:
            continue
        if named is None or place < named:
            groups.append(Group(label(name), *look, rows, named=True))
        else:
            groups.append(Group(label(name), "#BBBBBB", ".", "-", rows, named=False))
    return groups


def names_of(column: pd.Series[Any]) -> pd.Series[str]:
    """The names in a column as text, with one for those that are missing."""
    return column.astype("string").fillna(NAMELESS)


def label(name: object) -> str:
    """A name as text: matplotlib reads `$` as mathematics and hides a leading underscore."""
    text = str(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def floats(column: pd.Series[Any]) -> Floats:
    """As float64, with NaN for whatever is missing or infinite."""
    values = pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def unit(metric: str) -> tuple[float, str]:
    """What a metric is multiplied by to be shown, and how its axis is called."""
    words = metric.replace("val_", "validation ").replace("_", " ")
    words = f"training {words}" if metric in ("loss", "accuracy") else words
    return (100.0, f"{words} (%)") if metric.endswith("accuracy") else (1.0, words)


def beyond(reach: Floats, floor: float) -> npt.NDArray[np.bool_]:
    """Which of them, at most half, lie many times further out than the next nearer one.

    Args:
        reach: (n,), how far from the middle each reaches; NaN is never beyond.
        floor: a reach that is near whatever the others are.
    """
    ordered = np.sort(reach[np.isfinite(reach)])
    for near, further in pairwise(ordered[max(0, (len(ordered) - 1) // 2) :]):
        if further > _FAR * max(near, floor):
            return np.asarray(reach > near)
    return np.zeros(len(reach), dtype=bool)


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis, at least four of them however short it is."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))))
    for digits in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        numbers = [digit * 10.0**power for power in powers for digit in digits]
        numbers = [number for number in [*numbers, 10.0**powers.stop] if low <= number <= high]
        if len(numbers) > 3:
            return numbers
    even = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [number for number in even if low <= number <= high]


def set_ticks(axis: Axis, ticks: Sequence[float], formatter: Formatter) -> None:
    """These ticks and no others."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(formatter)
    axis.set_minor_locator(NullLocator())


def figure_for(width: float, height: float, *texts: Iterable[str]) -> Figure:
    """A figure of `width` inches plus what columns of `texts` take, by their longest."""
    extra = sum(0.075 * max(map(len, column), default=0) for column in texts)
    return Figure(figsize=(width + extra, height), layout="constrained")


def message(text: str) -> Figure:
    """A figure of one sentence, for when there is nothing to draw."""
    figure = Figure(figsize=(5, 1.2), layout="constrained")
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def legend_height(groups: Sequence[Group]) -> float:
    """The inches that a legend of these takes."""
    return 1 + 0.21 * (sum(group.named for group in groups) + 1)


def add_legend(
    figure: Figure, groups: Sequence[Group], labels: Mapping[str, str], title: str, line: bool
) -> None:
    """A legend at the right: a row for each variant that is named, one for all others."""
    named = [group for group in groups if group.named]
    others = [group for group in groups if not group.named]
    texts = [labels[group.name] for group in named]
    if others:
        off = sum(labels[group.name].endswith(OFF_AXIS) for group in others)
        texts.append(plural(len(others), "other") + (f", {off} {OFF_AXIS}" if off else ""))
    figure.legend(
        [Line2D([], [], **group.style(line)) for group in (*named, *others[:1])],
        texts,
        title=title,
        loc="outside right center",
        frameon=False,
        alignment="left",
        fontsize=9,
        title_fontsize=9,
        handlelength=3.2 if line else 1.2,
    )
