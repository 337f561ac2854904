"""The forest plot: each variant's difference to the baseline, its interval and its verdict."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mnist_lab import looks

_VERDICTS = {
    "baseline": ("#000000", "D"),
    "better": ("#009E73", "^"),
    "worse": ("#D55E00", "v"),
    "equivalent": ("#0072B2", "s"),
    "inconclusive": ("#666666", "o"),
}


def differences(
    comparison: pd.DataFrame,
    by: str = "variant",
    metric: str = "test_accuracy",
    margin: float | None = None,
) -> Figure:
    """A forest plot of a comparison, a row a variant.

    What lies far beyond all others is cut off by an arrow at the axis' end; the numbers at the
    right are always complete.

    Args:
        comparison: as `comparison.compare` gives it: the `by` column, `n`, `failed`, `mean`,
            `pairs`, `difference`, `difference_low`, `difference_high`, `verdict`, `detectable`;
            the intervals are called by `attrs["level"]`, if it is there.
        by: the column that names the variant.
        metric: what was compared. Accuracies are shown in images of 10,000, others as they are.
        margin: the margin of equivalence, in the metric's units; it is shaded.
    """
    if comparison.empty:
        return looks.message("Nothing is compared.")
    scale, words = _difference_unit(metric)
    table = scale * comparison[["difference", "difference_low", "difference_high"]].apply(
        looks.floats
    )
    names = [
        f"{looks.label(row[by])}  {_n_and_pairs(row)}" for row in comparison.to_dict("records")
    ]
    texts = _texts(comparison, table, metric)
    figure = looks.figure_for(4, 1.5 + 0.3 * len(names), names, texts)
    axes = figure.subplots()
    width = scale * (margin or 0.0)
    cut = _fit(axes, table, width)
    if width:
        axes.axvspan(-width, width, color="#DDDDDD", lw=0)
    axes.axvline(0, color="black", lw=1)
    for position, (name, verdict) in enumerate(comparison[[by, "verdict"]].to_numpy()):
        _draw(axes, position, looks.label(name), verdict, *table.iloc[position])
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -1.4)  # the line of heads is above the first row
    axes.tick_params(axis="y", length=0, pad=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    for position, text in enumerate(texts, start=-1):
        axes.annotate(
            text,
            (1, position),
            xycoords=axes.get_yaxis_transform(),
            xytext=(10, 0),
            textcoords="offset points",
            va="center",
            family=looks.MONOSPACED,
            size=8.5,
            annotation_clip=False,
        )
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    notes = [f"difference to the baseline ({words})"]
    if width:
        notes.append(f"shaded: margin of equivalence, ±{width:.4g}")
    if cut:
        notes.append("arrows: goes on beyond the axis")
    axes.set_xlabel("\n".join(notes))
    return figure


def _difference_unit(metric: str) -> tuple[float, str]:
    """As `looks.unit`, but for differences, where a percentage would be misread as a ratio."""
    words = looks.unit(metric)[1]
    if not metric.endswith("accuracy"):
        return 1.0, words
    return 10_000.0, f"{words.removesuffix(' accuracy (%)')} images of 10,000"


def _n_and_pairs(row: Mapping[Hashable, Any]) -> str:
    """`n=10`, with the runs that failed, and the pairs where some have no partner."""
    texts = [f"n={row['n']}"]
    if row["failed"]:
        texts.append(f"{row['failed']} failed")
    if row["verdict"] != "baseline" and row["pairs"] != row["n"]:
        texts.append(f"{row['pairs']} pairs")
    return ", ".join(texts)


def _texts(comparison: pd.DataFrame, table: pd.DataFrame, metric: str) -> list[str]:
    """The numbers beside the rows, in columns for a monospaced font, below a line of heads."""
    accuracy, scale = metric.endswith("accuracy"), _difference_unit(metric)[0]
    form = ".1f" if accuracy else ".3g"
    level = comparison.attrs.get("level")
    interval = "interval" if level is None else f"{100 * (1 - level):g}% interval"
    rows = [("mean (%)" if accuracy else "mean", "difference", interval, "verdict")]
    for row, values in zip(comparison.to_dict("records"), table.to_numpy(), strict=True):
        mean = f"{100 * row['mean']:.2f}" if accuracy else f"{row['mean']:.3g}"
        difference, low, high = (_signed(value, form) for value in values)
        verdict = row["verdict"]
        if verdict == "inconclusive" and not pd.isna(row["detectable"]):
            verdict += f" (could show ±{scale * row['detectable']:{form}})"
        rows.append((mean.replace("nan", ""), difference, low and f"{low} to {high}", verdict))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"{mean:>{widths[0]}}  {difference:>{widths[1]}}  {interval:>{widths[2]}}   {verdict}"
        for mean, difference, interval, verdict in rows
    ]


def _signed(value: float, form: str) -> str:
    return "" if np.isnan(value) else f"{value:+{form}}".replace("-", "\N{MINUS SIGN}")


def _fit(axes: Axes, table: pd.DataFrame, margin: float) -> bool:
    """Fit the axis to all rows but the far ones; whether any row is cut off."""
    reach = table.abs().max(axis=1).to_numpy()
    far = looks.beyond(np.where(reach > 0, reach, np.nan), floor=margin)
    kept = [*table[~far].to_numpy().ravel(), -margin, 0.0, margin]
    low, high = np.nanmin(kept), np.nanmax(kept)
    room = 0.06 * (high - low) or 1.0
    axes.set_xlim(low - room, high + room)
    return bool(((table < low - room) | (table > high + room)).to_numpy().any())


def _draw(
    axes: Axes, position: int, name: str, verdict: str, difference: float, low: float, high: float
) -> None:
    """One row: the interval as far as the axis goes, and the verdict's marker."""
    color, marker = _VERDICTS[verdict]
    axes.plot([low, high], [position] * 2, color=color, lw=1.8)
    left, right = axes.get_xlim()
    # Without an interval, which is then NaN, the point stands for it.
    for end, arrow, cut in (
        (left, "<", np.fmin(low, difference) < left),
        (right, ">", np.fmax(high, difference) > right),
    ):
        if cut:
            axes.plot(end, position, arrow, color=color, ms=8, clip_on=False, zorder=4)
    style: dict[str, Any] = {"color": color, "ms": 8, "mew": 1.4, "zorder": 3}
    style["markerfacecolor"] = "white" if verdict in ("inconclusive", "baseline") else color
    place = 0.0 if verdict == "baseline" else difference
    axes.plot(place, position, marker, label=name, **style)
